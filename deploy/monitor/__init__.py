"""The live web page and the node that serves it."""
