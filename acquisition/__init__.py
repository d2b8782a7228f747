"""Cameras: one protocol, one file per kind, and the node that publishes their frames."""
