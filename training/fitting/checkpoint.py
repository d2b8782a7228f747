"""What a fit needs to go on after it was killed: one file per stage, replaced as a whole after every epoch."""

import errno
import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError  # only the name of what a damaged file raises: weights_only loads no code
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ...sync.errors import DataError, DiskFullError

STAGES: Final = ("frozen", "joint", "head")
"""Stages of a fit, each with a checkpoint of its own; where one stands here is part of its random seeds."""
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCHEMA: Final = 1


def checkpoint_path(run: Path, stage: str) -> Path:
    """Where a stage keeps its checkpoint."""
    return run / ("checkpoint.ckpt" if stage == "head" else f"checkpoint_{stage}.ckpt")


def forget_checkpoints(run: Path) -> None:
    """Remove the checkpoints of a run whose result is safe elsewhere."""
    for stage in STAGES:
        checkpoint_path(run, stage).unlink(missing_ok=True)


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; whoever reads it sees the old one or the new, a crash in between included.

    Args:
        path: of the file.
        content: tensors, numbers, text, and lists and dicts of these.

    Raises:
        DiskFullError: no room for it; the checkpoint before it is still there.
        DataError: it cannot be written for another reason.
    """
    buffer = io.BytesIO()  # torch's own writer says only that it failed, and not that the disk is full
    torch.save({"schema": _SCHEMA, **content}, buffer)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(path, error, f"the checkpoint ({len(buffer.getbuffer()) / 1e6:.1f} MB)") from error


def unwritable(path: Path, error: OSError, what: str) -> DiskFullError | DataError:
    """The error for a file of a run folder that could not be written."""
    if error.errno in _NO_ROOM:
        return DiskFullError(
            f"{path}: no room for {what} ({error.strerror}); free some space and give the same command again, it goes "
            "on after the last epoch that was kept"
        )
    return DataError(f"{path}: {what} cannot be written ({error.strerror}); check the folder and its rights")


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None: there is none.

    Raises:
        DataError: it cannot be read, is damaged, or of another version.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    except (UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{path}: is no checkpoint that can be read ({type(error).__name__}: {reason:.120}); delete it to train "
            "from the beginning"
        ) from error
    if not isinstance(content, dict) or cast(dict[str, Any], content).get("schema") != _SCHEMA:
        raise DataError(f"{path}: is a checkpoint of another version; delete it to train from the beginning")
    return cast(dict[str, Any], content)


def fingerprint(parts: Iterable[str | bytes | NDArray[Any]]) -> str:
    """SHA-256 of everything that a fit depends on, so that a checkpoint of another fit is told apart."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.shape} {part.dtype}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()
