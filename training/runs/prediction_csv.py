"""The CSV of a prediction: its head, and that it is there whole or not at all."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ...sync.errors import ConfigError


@contextmanager
def prediction_csv(out: Path, classes: Sequence[str]) -> Generator[TextIO]:
    """A file to add rows to, whose head is written; it takes its place where the block ends well.

    Args:
        out: the CSV; its folder is made.
        classes: names, in the order of the probabilities.

    Raises:
        ConfigError: it cannot be written; nothing is left of it.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(["frame", "time_s", "behaviour", *(f"p_{name}" for name in classes)]) + "\n")
            yield file
        part.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); give another file with --out") from error
    finally:
        part.unlink(missing_ok=True)
