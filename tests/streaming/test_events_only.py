"""A recording without video: every frame's header and every message, and an account that is as strict."""

from typing import Any

import msgspec
import pytest
from ethostream.streaming.export import export_csv
from ethostream.streaming.messages import RecordingStatus
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.verify import verify
from ethostream.sync.errors import RecordingError


@pytest.fixture
def rig(make_rig: Any) -> Any:
    """200 frames of each of two cameras, closed; of ``cam0`` two were dropped by the device and one by the bus."""
    one = make_rig(cameras=("cam0", "cam1"), video=False)
    for seq in range(200):
        for name, camera in one.cameras.items():
            if name == "cam0" and seq in (40, 41):
                continue
            header = camera.frame(seq, arrives=not (name == "cam0" and seq == 60))
            if seq == 50:
                camera.deliver(header)
            if seq == 100:
                # Whatever the ring holds: nobody looks at it.
                camera.deliver(msgspec.structs.replace(header, ring="ethostream-not-there"))
        if seq % 50 == 0:
            one.turn()
    for camera in one.cameras.values():
        camera.status(stopped=True)
    one.close()
    return one


def test_every_frame_is_recorded_or_declared(rig: Any) -> None:
    result = verify(rig.folder, decode=True)
    assert result.ok, result.errors
    assert not result.video and any("events only" in line for line in result.warnings)
    cam0, cam1 = result.cameras["cam0"], result.cameras["cam1"]
    assert (cam0.n_device, cam0.written, cam0.declared, cam0.duplicates) == (200, 197, {"device": 2, "bus": 1}, 2)
    assert (cam1.n_device, cam1.written, cam1.declared) == (200, 200, {})
    assert not list(rig.folder.glob("*.mkv"))
    states = [one.state for one in rig.of(RecordingStatus)]
    assert states[0] == "started" and states[-1] == "stopped"
    assert rig.of(RecordingStatus)[-1].written == {"cam0": 197, "cam1": 200}


def test_a_removed_header_is_found(rig: Any) -> None:
    path = rig.folder / "recording.json"
    path.write_text(path.read_text().replace('"cam1": 200', '"cam1": 201'))
    assert any("headers of 200 frames, 201 were written" in error for error in verify(rig.folder).errors)


def test_what_needs_pixels_says_why_not(rig: Any) -> None:
    recording = Recording.open(rig.folder)
    assert sum(1 for _ in recording.headers("cam0")) == 197
    with pytest.raises(RecordingError, match=r"events only.*recording\.video"):
        next(recording.frames("cam0"))


def test_replay_refuses(rig: Any) -> None:
    from contextlib import nullcontext

    from ethostream.deploy.replay_run import run_replay

    with pytest.raises(RecordingError, match=r"events only.*cannot be replayed"):
        run_replay(rig.folder, nullcontext(), None, None, None, False, None)  # pyright: ignore[reportArgumentType]


def test_tables_are_exported_without_video_frames(rig: Any, tmp_path: Any) -> None:
    frames = export_csv(rig.folder, tmp_path / "csv")[0].read_text().splitlines()
    kept = [line for line in frames[1:] if line.split(",")[3]]
    assert len(kept) == 397 and all(line.endswith(",,") for line in kept)
