"""ethostream: see, record and act on animal behaviour while it happens."""

__version__ = "0.1.0"
