"""A bundle that is scored before its manifest can hold the scores."""

import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...inference.bundle import Bundle, write_bundle

_FOLDER: Final = "draft"


@contextmanager
def drafted_bundle(run: Path, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> Generator[Bundle]:
    """A bundle in a run folder, as far as it stands; it is gone afterwards, whatever happens.

    Args:
        run: the folder.
        fields: of the manifest, as for `write_bundle`.
        files: likewise.

    Raises:
        BundleError: it cannot be written, or does not load.
    """
    folder = run / _FOLDER
    try:
        write_bundle(folder, fields, files)
        yield Bundle.load(folder, max_look_ahead_frames=None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
