"""Numbers of what a model is asked about: a frame set, or a pose of the source that it takes."""

from typing import Final

SETS_PER_EPOCH: Final = 1_000_000_000
"""Who numbers them begins here times its epoch: after a new start of its process a number still names one thing."""
