"""Long recordings: one pass over the event log for all cameras, little memory per frame."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.streaming.recording_reader import Recording
from ethostream.sync.errors import RecordingError

MakeRig = Any
N = 3000


@pytest.fixture
def folder(make_rig: MakeRig) -> Path:
    """Two cameras, 3000 frames each; the second loses every 100th."""
    rig = make_rig(cameras=("a", "b"), shape=(4, 8))
    for seq in range(N):
        rig.cameras["a"].frame(seq)
        if seq % 100:
            rig.cameras["b"].frame(seq)
        if seq % 400 == 399:
            rig.turn()
    for camera in rig.cameras.values():
        camera.status(stopped=True)
    rig.close()
    return rig.folder


def test_one_pass_serves_all_cameras(folder: Path) -> None:
    fresh = {camera: Recording.open(folder).index(camera) for camera in ("a", "b")}
    recording = Recording.open(folder)
    recording.index("a")
    (folder / "events.mcap").unlink()
    (folder / "a.mkv").unlink()
    for camera, (index, pairing) in fresh.items():
        again_index, again_pairing = recording.index(camera)
        assert (again_index.seqs, again_index.times) == (index.seqs, index.times)
        assert again_pairing == pairing
        assert again_pairing.exact
    assert [len(index.seqs) for index, _ in fresh.values()] == [N, N - N // 100]


def test_loading_tells_of_its_progress_and_is_done_once(folder: Path) -> None:
    recording = Recording.open(folder)
    calls: list[int] = []
    recording.load_indices(lambda: calls.append(1))
    n = len(calls)
    assert n >= 2 * N // 4096 + 2 * N // 64
    (folder / "events.mcap").rename(folder / "away")
    recording.load_indices(lambda: calls.append(1))
    assert len(calls) == n
    (folder / "away").rename(folder / "events.mcap")
    for camera in ("a", "b"):
        headers = [header for header, _ in recording.frames(camera)]
        assert headers == list(recording.headers(camera))
        assert [header.seq for header in headers] == list(recording.index(camera)[0].seqs)


def test_an_index_takes_little_memory(folder: Path) -> None:
    recording = Recording.open(folder)
    list(Recording.open(folder).messages())  # what is read once per process
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        recording.load_indices()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 64 * 2 * N


def test_cameras_are_read_side_by_side(folder: Path) -> None:
    recording = Recording.open(folder)
    times = {"a": 0, "b": 0}
    for (one, image), (other, _) in zip(recording.frames("a"), recording.frames("b"), strict=False):
        assert one.camera == "a"
        assert other.camera == "b"
        assert image.dtype == np.uint8
        assert one.t_exposure_ns > times["a"]
        assert other.t_exposure_ns > times["b"]
        times = {"a": one.t_exposure_ns, "b": other.t_exposure_ns}


def test_an_unknown_camera_is_named(folder: Path) -> None:
    recording = Recording.open(folder)
    for read in (recording.index, lambda camera: list(recording.headers(camera))):
        with pytest.raises(RecordingError, match=r"has no camera 'zoo'; it has a, b"):
            read("zoo")


def test_an_event_log_that_was_changed_behind_its_back_is_an_error_in_words(folder: Path) -> None:
    recording = Recording.open(folder)
    recording.load_indices()
    path = folder / "events.mcap"
    whole = path.read_bytes()
    for damaged in (b"", whole[:2000], whole[: len(whole) // 2], bytes(len(whole))):
        path.write_bytes(damaged)
        with pytest.raises(RecordingError, match="changed since it was indexed"):
            list(recording.frames("a"))
