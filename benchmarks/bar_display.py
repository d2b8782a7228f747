"""What the watches of the benchmarks share: a progress bar that runs as long as the rig does."""

from typing import Self

from rich.progress import Progress


class BarDisplay:
    """The part of a `Display` that comes and goes; a watch adds what it does with messages and ticks."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()
