"""What the tests of the house look at: the files of the tree."""

import subprocess
from pathlib import Path

import pytest

LAYERS = ("acquisition", "deploy", "inference", "streaming", "sync", "training")


@pytest.fixture(scope="session")
def tracked(repository: Path) -> list[Path]:
    """Every file that git tracks and that is there, relative to the root."""
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a git checkout: {error}")
    paths = [Path(name) for name in listing.decode().split("\0") if name]
    return [path for path in paths if (repository / path).is_file()]


@pytest.fixture(scope="session")
def package_files(repository: Path) -> list[Path]:
    """Every Python file of the package, relative to the root, tracked or not."""
    found = [path for layer in LAYERS for path in (repository / layer).rglob("*.py")]
    return [Path("__init__.py"), *sorted(path.relative_to(repository) for path in found)]


@pytest.fixture(scope="session")
def pages(repository: Path) -> list[Path]:
    """Every page of prose, relative to the root."""
    found = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md"), *(repository / "examples").rglob("*.md")]
    return sorted(path.relative_to(repository) for path in found)
