"""What every test gets: real data, the firmware as a program, and the check that nothing is left behind."""

import atexit
import ctypes
import os
import shutil
import tempfile
from pathlib import Path

import ethostream.training  # noqa: F401, says how threads of torch wait, before a test loads torch
import pytest
from board_processes import compile_firmware
from hypothesis import HealthCheck, settings
from simulated_board import compile_simulated_board, load_simulated_board

pytest_plugins = ("leak_check",)

ROOT = Path(__file__).resolve().parents[1]

# A deadline or a health check on speed would be an assertion about the machine.
settings.register_profile("ethostream", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("ethostream")


def pytest_configure(config: pytest.Config) -> None:
    """Each of several test processes has temporary files of its own: rigs of one must not find those of another."""
    if hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="es-")  # short, since paths of sockets are
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def _own_shared_memory() -> None:
    """Rings of these tests lie in a folder of their own, before anything reads where they lie."""
    folder = tempfile.mkdtemp(prefix="ethostream-tests-", dir="/dev/shm")
    os.environ["ETHOSTREAM_SHM"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _own_cache() -> None:
    """What commands keep in the user's cache folder goes with the tests."""
    folder = tempfile.mkdtemp(prefix="ethostream-cache-")
    os.environ["XDG_CACHE_HOME"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


_own_shared_memory()
_own_cache()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real recordings; the test skips where it is not there."""
    folder = Path(os.environ.get("ETHOSTREAM_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; ETHOSTREAM_TEST_DATA may name the folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core of the boards' firmware as a program; the test skips where there is no C++ compiler."""
    program = compile_firmware(tmp_path_factory.mktemp("firmware"))
    if program is None:
        pytest.skip("no C++ compiler here: the firmware's core is not run")
    return program


@pytest.fixture(scope="session")
def simulated_board_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The same core in simulated time, for `simulated_board.SimulatedBoard`; the test skips as above."""
    library = compile_simulated_board(tmp_path_factory.mktemp("simulated_board"))
    if library is None:
        pytest.skip("no C++ compiler here: the firmware's core is not run")
    return load_simulated_board(library)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT
