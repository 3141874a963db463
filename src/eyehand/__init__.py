"""eyehand: a robot sees camera images, reads a sentence, and acts."""

__version__ = "0.1.0"
