"""Use: a server that drives any robot over the wire, and a page to talk to one."""
