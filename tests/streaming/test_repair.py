"""`repair` closes what a crash has left open: whole files, every lost frame declared, the torn files kept."""

import json
import os
import re
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from ethostream.deploy.cli import app
from ethostream.streaming.event_log import MAX_PENDING_BYTES, EventLog
from ethostream.streaming.folder_lock import LOCK_FILE
from ethostream.streaming.messages import FrameHeader, Gap, PipelineState
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.repair import repair
from ethostream.streaming.topics import FRAME, GAP, MIB, PIPELINE_STATE
from ethostream.streaming.verify import verify
from ethostream.streaming.video_tail import read_tail
from ethostream.sync.errors import ReportError
from mcap.reader import make_reader
from torn_recording import N, record, snapshot, torn
from typer.testing import CliRunner

__all__ = ["torn"]


def test_a_torn_recording_becomes_whole_and_says_what_is_missing(torn: tuple[Any, Path]) -> None:
    rig, folder = torn
    before = verify(folder)
    assert not before.ok and any("ethostream repair" in error for error in before.errors)
    result = repair(folder)
    assert result.state == "repaired" and result.note is not None
    after = verify(folder, decode=True)
    assert after.ok, after.errors
    assert after.closed and after.repaired == result.note
    cam = after.cameras["cam0"]
    n_torn = cam.declared.get("torn", 0)
    assert cam.n_device == N == cam.written + sum(cam.declared.values())
    assert n_torn == sum(run.n for run in result.note.missing.get("cam0", [])) > 0, "the muxer held nothing back"
    assert any("are not in this recording, which a crash ended" in line for line in after.warnings)
    assert any("frames" in line and "lost in the crash" in line for line in after.warnings)
    # What is there is what was captured, frame by frame.
    for header, image in Recording.open(folder).frames("cam0"):
        assert np.array_equal(image, rig.cameras["cam0"].images[0, header.seq])
    # Other tools read the log by its summary.
    with (folder / "events.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None and summary.statistics is not None
    assert summary.statistics.message_count == EventLog(folder / "events.mcap").count()


def test_the_torn_files_are_kept_and_a_second_repair_does_nothing(torn: tuple[Any, Path]) -> None:
    _, folder = torn
    originals = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    note = repair(folder).note
    assert note is not None and note.kept == "torn"
    for name in ("events.mcap", "cam0.mkv", "recording.json"):
        assert (folder / "torn" / name).read_bytes() == originals[name]
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = repair(folder)
    assert (again.state, again.note) == ("whole", note)
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOCK_FILE}
    assert sorted(path.name for path in folder.iterdir()) == ["cam0.mkv", "events.mcap", "recording.json", "torn"]


def test_messages_that_are_large_are_kept(make_rig: Any, tmp_path: Path) -> None:
    """More of them between two looks at the progress than a log holds in memory."""
    rig = make_rig()
    n, size = 20, 4 * MIB
    assert n * size > MAX_PENDING_BYTES
    for i in range(n):
        rig.deliver(PIPELINE_STATE, PipelineState(i, "bundle", bytes(size)))
        rig.turn(1)
    folder = snapshot(rig, tmp_path / "torn-rec")
    assert repair(folder).state == "repaired"
    states = [one.message for one in Recording.open(folder).messages([PIPELINE_STATE])]
    assert [one.set_id for one in states if isinstance(one, PipelineState)] == list(range(n))


def test_torn_files_can_be_deleted(torn: tuple[Any, Path]) -> None:
    _, folder = torn
    assert repair(folder, keep_torn=False).note.kept == ""  # pyright: ignore[reportOptionalMemberAccess]
    assert sorted(path.name for path in folder.iterdir()) == ["cam0.mkv", "events.mcap", "recording.json"]
    assert verify(folder).ok


def test_a_whole_recording_is_left_alone(make_rig: Any) -> None:
    rig = make_rig()
    record(rig)
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    assert repair(rig.folder).state == "whole"
    assert not (rig.folder / "torn").exists()
    assert verify(rig.folder).repaired is None


@pytest.mark.parametrize("tail", [b"", bytes(3000), b"\xff" * 3000], ids=["cut", "zeros", "rubbish"])
def test_cut_at_any_byte_it_becomes_whole(make_rig: Any, tmp_path: Path, tail: bytes) -> None:
    """Both files cut anywhere, as a disk that lost power may leave them, with what it may leave behind the cut."""
    rig = make_rig(codec="ffv1")
    record(rig)
    rng = np.random.default_rng(3)
    for n in range(12):
        folder = snapshot(rig, tmp_path / f"cut{n}")
        for name in ("events.mcap", "cam0.mkv"):
            data = (folder / name).read_bytes()
            at = int(rng.integers(0, len(data))) if n else 0
            (folder / name).write_bytes(data[:at] + tail)
        result = repair(folder)
        assert result.state == "repaired"
        after = verify(folder, decode=True)
        assert after.ok, (n, after.errors)
        cam = after.cameras["cam0"]
        assert cam.n_device == cam.written + sum(cam.declared.values())
        for header, image in Recording.open(folder).frames("cam0"):
            assert np.array_equal(image, rig.cameras["cam0"].images[0, header.seq])
        shutil.rmtree(folder)


def test_video_frames_without_a_header_are_left_out(make_rig: Any, tmp_path: Path) -> None:
    """A power cut may take headers whose frames the disk had; a frame without time and number is of no use."""
    rig = make_rig(codec="ffv1")
    record(rig)
    folder = snapshot(rig, tmp_path / "cut")
    log = EventLog(folder / "events.mcap")
    places = [one.place for one in log.messages([FRAME])]
    os.truncate(folder / "events.mcap", places[-40])
    note = repair(folder).note
    assert note is not None and 10 < note.cut_frames["cam0"] < 40
    assert note.missing == {}
    after = verify(folder, decode=True)
    assert after.ok and any("had no header" in line for line in after.warnings)


def test_events_only_is_repaired_too(make_rig: Any, tmp_path: Path) -> None:
    rig = make_rig(video=False)
    record(rig)
    folder = snapshot(rig, tmp_path / "cut")
    data = (folder / "events.mcap").read_bytes()
    (folder / "events.mcap").write_bytes(data[: len(data) - 1000])
    repair(folder)
    after = verify(folder)
    assert after.ok and not after.video, after.errors
    assert after.cameras["cam0"].n_device == after.cameras["cam0"].written + sum(
        after.cameras["cam0"].declared.values()
    )


def test_frames_that_nothing_declared_are_declared_by_the_repair(make_rig: Any, tmp_path: Path) -> None:
    """A hole between headers whose declaration was on its way when the recorder died."""
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in range(60):
        camera.frame(seq, arrives=seq not in (50, 51))
    rig.turn(20)
    folder = snapshot(rig, tmp_path / "cut")
    note = repair(folder).note
    assert note is not None
    gaps = [one.message for one in Recording.open(folder).messages([GAP]) if one.source == "repair"]
    lost = {(gap.source, gap.first_seq, gap.n) for gap in gaps if isinstance(gap, Gap)}
    assert ("bus", 50, 2) in lost
    assert verify(folder).ok


def test_what_a_crash_took_in_many_places_is_counted_to_the_last(make_rig: Any, tmp_path: Path) -> None:
    rig = make_rig(codec="raw")
    camera = rig.cameras["cam0"]
    for seq in range(60):
        camera.frame(seq, arrives=seq % 5 != 4)
    rig.turn(20)
    folder = snapshot(rig, tmp_path / "cut")
    note = repair(folder).note
    assert note is not None and len(note.missing["cam0"]) > 8
    result = verify(folder)
    assert result.ok
    told = [re.search(r"\((\d+)\) were taken|(\d+) more frame", line) for line in result.warnings]
    n_told = sum(int(one[1] or one[2]) for one in told if one is not None)
    assert n_told == sum(run.n for run in note.missing["cam0"]) == result.cameras["cam0"].declared["torn"]


@pytest.mark.parametrize("codec", ["h264", "h264_lossless", "ffv1", "mjpeg", "raw"])
def test_the_last_frame_of_a_camera_that_paused_is_there(make_rig: Any, tmp_path: Path, codec: str) -> None:
    """However long ago it came: it does not wait in memory for a frame that may never come."""
    rig = make_rig(codec=codec)
    camera = rig.cameras["cam0"]
    for n_frames, name in ((30, "once"), (60, "again")):
        for seq in range(n_frames - 30, n_frames):
            camera.frame(seq)
        rig.turn()
        while (tail := read_tail(rig.folder / "cam0.mkv")) is None or tail.pts_ms < (n_frames - 1) * 16:
            Event().wait(0.01)
        folder = snapshot(rig, tmp_path / name)
        note = repair(folder).note
        assert note is not None and note.missing == {}
        result = verify(folder, decode=True)
        assert result.ok, result.errors
        assert result.cameras["cam0"].written == result.cameras["cam0"].decoded_frames == n_frames
        assert not (folder / "cam0.mkv.tail").exists()
    last = list(Recording.open(folder).frames("cam0"))[-1]
    if codec in ("h264_lossless", "ffv1", "raw"):
        assert np.array_equal(last[1], camera.images[0, 59])
    camera.status(stopped=True)
    rig.close()
    assert not (rig.folder / "cam0.mkv.tail").exists()


def test_a_recording_of_the_first_release_is_read_and_repaired(make_rig: Any, tmp_path: Path) -> None:
    """Its ``recording.json`` knows nothing of parts, repairs and recordings without video."""
    rig = make_rig(codec="ffv1")
    record(rig)
    folder = snapshot(rig, tmp_path / "old")
    info = json.loads((folder / "recording.json").read_text())
    for key in ("video", "anchor_utc_ns", "anchor_monotonic_ns", "part", "continues", "continued_by", "repaired"):
        del info[key]
    (folder / "recording.json").write_text(json.dumps(info))
    (folder / LOCK_FILE).unlink()
    old = Recording.open(folder).info
    assert (old.video, old.part, old.continues, old.repaired) == (True, 1, None, None)
    assert repair(folder).state == "repaired"
    assert verify(folder, decode=True).ok


def test_headers_stay_the_same(torn: tuple[Any, Path]) -> None:
    _, folder = torn
    before = [one.body for one in EventLog(folder / "events.mcap").messages([FRAME])]
    repair(folder)
    log = EventLog(folder / "events.mcap")
    assert [one.body for one in log.messages([FRAME])] == before
    assert all(isinstance(one.message, FrameHeader) for one in log.messages([FRAME]))


def test_a_json_file_that_cannot_be_written_is_an_error_in_words(make_rig: Any, tmp_path: Path) -> None:
    rig = make_rig()
    record(rig)
    folder = snapshot(rig, tmp_path / "cut")
    done = CliRunner().invoke(app, ["repair", str(folder), "--json", str(tmp_path / "nowhere" / "result.json")])
    assert isinstance(done.exception, ReportError) and "cannot be written" in str(done.exception)
    assert verify(folder).ok, "it was repaired all the same"
