from pathlib import Path

import pytest
from ethostream.inference.bundle import Bundle
from pose_worlds import write_pose_bundle


@pytest.fixture(scope="session")
def pose_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle of two animals; do not change it."""
    return write_pose_bundle(tmp_path_factory.mktemp("pose") / "two")


@pytest.fixture(scope="session")
def pose_bundle(pose_folder: Path) -> Bundle:
    return Bundle.load(pose_folder)
