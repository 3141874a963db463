"""The live page: a simulated robot in the browser that people watch, talk to and take over."""
