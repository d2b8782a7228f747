"""A recording of one camera that a crash has left open: what the tests of its repair begin with."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

N = 150


def snapshot(rig: Any, folder: Path) -> Path:
    """The folder as a ``kill -9`` of the recorder at this moment would leave it."""
    shutil.copytree(rig.folder, folder)
    return folder


def record(rig: Any, n: int = N, *, lost: tuple[int, ...] = (40, 41)) -> None:
    camera = rig.cameras["cam0"]
    for seq in range(n):
        if seq in lost:
            continue
        header = camera.frame(seq, arrives=seq != 60)
        if seq == 60:
            # Lapped in the ring: the recorder declares it.
            camera.deliver(msgspec.structs.replace(header, generation=header.generation + 2))
        if seq % 25 == 0:
            camera.status()
            rig.turn()
    rig.turn()


@pytest.fixture(params=["h264_lossless", "ffv1", "raw"])
def torn(make_rig: Any, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """A recording of one camera that was cut off while it was written."""
    rig = make_rig(codec=request.param)
    record(rig)
    return rig, snapshot(rig, tmp_path / "torn-rec")
