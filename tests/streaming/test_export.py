import csv
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ethostream.streaming.export import export_csv
from ethostream.streaming.messages import (
    Actuation,
    Arming,
    Behavior,
    CameraStatus,
    Decision,
    Gap,
    Pose,
    SourceFrame,
)
from ethostream.streaming.pose_format import PoseFormat, points_bytes
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import ACTUATION, ARMING, BEHAVIOR, CAMERA_STATUS, DECISION, GAP, POSE
from ethostream.sync.errors import RecordingError

PERIOD_NS = 16_666_667
START_NS = 1_700_000_000_000_000_000


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def behavior(set_id: int, p: tuple[float, ...], label: str) -> Behavior:
    raw = ("still", "groom", "rear")[max(range(3), key=p.__getitem__)]
    t = START_NS + set_id * PERIOD_NS
    source = SourceFrame("cam0", 0, set_id, t, 5000, t)
    return Behavior(
        set_id, "complete", (source,), (), "demo", p, raw, label, t, 0, 0, True, (), t, t, t, t, t, t, t,
        classes=("still", "groom", "rear"),
    )  # fmt: skip


@pytest.fixture
def recorded(make_rig: Any) -> Any:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    labels = ["", "still", "still", "groom", "groom", "groom", "still"]
    for seq in (0, 1, 2, 4, 5, 6):
        header = camera.frame(seq, arrives=seq != 5)
        if seq == 5:
            camera.deliver(msgspec.structs.replace(header, generation=header.generation + 2))
    for set_id, label in enumerate(labels):
        p = (0.25, 0.5, 0.25) if label == "groom" else (0.625, 0.125, 0.25)
        rig.deliver(BEHAVIOR, behavior(set_id, p, label), source="inference")
    t = START_NS + 3 * PERIOD_NS
    source = SourceFrame("cam0", 0, 3, t, 5000, t)
    decision = Decision("reward, once", 3, "fired", "entered", "groom", 0.5, "log", (source,), t, t, t, t)
    rig.deliver(ARMING, Arming(True, "start", t - 2_000_000_000), source="inference")
    rig.deliver(DECISION, decision, source="inference")
    sham = msgspec.structs.replace(decision, action="sham", trial=1, t_due_ns=t + 500_000_000, t_fired_ns=0)
    withheld = msgspec.structs.replace(decision, action="withheld", reason="stale", t_fired_ns=0)
    fired = msgspec.structs.replace(sham, action="fired", trial=2)
    for one in (sham, withheld, fired):
        rig.deliver(DECISION, one, source="inference")
    sent = Actuation("log", "reward, once", 3, 2, "sent", "", fired.t_due_ns, fired.t_due_ns + 1000)
    rig.deliver(ACTUATION, sent, source="inference")
    acknowledged = msgspec.structs.replace(sent, state="acknowledged", t_sent_ns=0, t_on_ns=sent.t_sent_ns + 7)
    rig.deliver(ACTUATION, acknowledged, source="inference")
    camera.status(stopped=True)
    rig.close()
    return rig


def test_tables(recorded: Any, tmp_path: Path) -> None:
    written = export_csv(recorded.folder, tmp_path / "out")
    assert [path.name for path in written] == [
        "frames.csv", "behavior.csv", "bouts.csv", "decisions.csv", "trials.csv"
    ]  # fmt: skip
    frames = rows(written[0])
    assert [(row["seq"], row["video_frame"]) for row in frames] == [
        ("0", "0"), ("1", "1"), ("2", "2"), ("4", "3"), ("5", ""), ("6", "4"), ("3", "")
    ]  # fmt: skip
    assert frames[4]["reason"] == "recorder: overwritten in shared memory before it was encoded"
    assert frames[6]["reason"] == "device: counter jumped"
    assert frames[1]["t_exposure_ns"] == str(START_NS + PERIOD_NS)
    assert frames[1]["time_s"] == "0.016667"
    told = [
        (row["time_source"], row["exposure_us"], row["trigger_id"], row["ticks"], row["line_status"]) for row in frames
    ]
    assert told == [("simulated", "5000", "", "", "")] * 6 + [("",) * 5]
    behaviors = rows(written[1])
    assert len(behaviors) == 7
    assert behaviors[3]["label"] == behaviors[3]["raw"] == "groom"
    assert (behaviors[3]["p_still"], behaviors[3]["p_groom"], behaviors[3]["p_rear"]) == ("0.25", "0.5", "0.25")
    bouts = rows(written[2])
    assert [(row["behavior"], row["n_sets"]) for row in bouts] == [("still", "2"), ("groom", "3"), ("still", "1")]
    assert bouts[1]["start_ns"] == str(START_NS + 3 * PERIOD_NS)
    assert bouts[1]["stop_ns"] == str(START_NS + 6 * PERIOD_NS)
    assert bouts[1]["duration_s"] == "0.050000"
    decisions = rows(written[3])
    assert len(decisions) == 4
    assert (decisions[0]["session_s"], decisions[1]["action"], decisions[2]["trial"]) == ("2.000000", "sham", "-1")
    trials = rows(written[4])
    assert [(row["action"], row["trial"], row["due_s"], row["became"]) for row in trials] == [
        ("fired", "-1", "2.000000", ""), ("sham", "1", "2.500000", ""), ("fired", "2", "2.500000", "acknowledged"),
    ]  # fmt: skip
    fired = trials[2]
    assert [int(fired[name]) - int(fired["t_due_ns"]) for name in ("t_sent_ns", "t_on_ns")] == [1000, 1007]
    assert (decisions[0]["rule"], decisions[0]["frames"]) == ("reward, once", "cam0/0/3")


def test_what_the_device_told_stands_beside_each_frame(make_rig: Any, tmp_path: Path) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in range(3):
        header = camera.frame(seq, arrives=False)
        camera.deliver(
            msgspec.structs.replace(
                header, time_source="device", trigger_id=seq + 4, ticks=10**15 + seq, line_status=0 if seq else 5
            )
        )
    camera.status(stopped=True)
    rig.close()
    export_csv(rig.folder, tmp_path / "out")
    names = ("time_source", "exposure_us", "trigger_id", "ticks", "line_status")
    assert [tuple(row[name] for name in names) for row in rows(tmp_path / "out" / "frames.csv")] == [
        ("device", "5000", "4", "1000000000000000", "5"),
        ("device", "5000", "5", "1000000000000001", "0"),
        ("device", "5000", "6", "1000000000000002", "0"),
    ]


def pose(seq: int, source: str = "top", epoch: int = 0) -> Pose:
    t = START_NS + seq * PERIOD_NS
    points = np.array([[[seq + 0.5, 2, 0.25], [np.nan, np.nan, 0]]], np.float32)
    return Pose(source, epoch, seq, t, t + 9, ("m1",), ("nose", "tail"), points_bytes(points))


def test_keypoints_and_what_is_missing_of_them(make_rig: Any, tmp_path: Path) -> None:
    """Every point of every source in the order of arrival; what never came stands at the end, with its reason."""
    form = PoseFormat(rate_hz=60.0, animals=["m1"], keypoints=["nose", "tail"])
    rig = make_rig(cameras=(), poses={"top": form, "side": form}, video=False)
    for seq in (0, 1, 1, 4):
        rig.deliver(POSE, pose(seq), "top", "pose.top")
        rig.deliver(POSE, pose(seq, "side"), "side", "pose.side")
    rig.deliver(GAP, Gap("device", "side", 0, 2, 2, "the file lacks them", START_NS), "side", "pose.side")
    # The recorder finds out that it did not get two of them.
    rig.deliver(CAMERA_STATUS, CameraStatus("top", 0, "stopped", 0, 4, 5, 0, 0, 60.0, START_NS, 0, "poses"), "top")
    rig.deliver(CAMERA_STATUS, CameraStatus("side", 0, "stopped", 0, 4, 3, 2, 0, 60.0, START_NS, 0, "poses"), "side")
    rig.close()
    written = export_csv(rig.folder, tmp_path / "out")
    assert [path.name for path in written] == [
        "frames.csv", "poses.csv", "behavior.csv", "bouts.csv", "decisions.csv", "trials.csv"
    ]  # fmt: skip
    assert rows(written[0]) == []
    found = rows(written[1])
    there = [(row["source"], row["seq"], row["keypoint"]) for row in found if not row["reason"]]
    assert there == [(one, seq, at) for seq in "014" for one in ("top", "side") for at in ("nose", "tail")]
    assert found[4] == {
        "source": "top", "epoch": "0", "seq": "1", "t_exposure_ns": str(START_NS + PERIOD_NS),
        "t_received_ns": str(START_NS + PERIOD_NS + 9), "time_s": "0.016667", "animal": "m1", "keypoint": "nose",
        "x_px": "1.5", "y_px": "2.0", "likelihood": "0.25", "reason": "",
    }  # fmt: skip
    assert (found[5]["keypoint"], found[5]["x_px"], found[5]["y_px"], found[5]["likelihood"]) == ("tail", "", "", "0.0")
    missing = [(row["source"], row["epoch"], row["seq"], row["reason"], row["x_px"]) for row in found if row["reason"]]
    lost = "bus: lost between pose source and recorder"
    assert missing == [
        ("side", "0", "2", "device: the file lacks them", ""), ("side", "0", "3", "device: the file lacks them", ""),
        ("top", "0", "2", lost, ""), ("top", "0", "3", lost, ""),
    ]  # fmt: skip


def test_frames_that_were_only_estimated_are_one_row(make_rig: Any, tmp_path: Path) -> None:
    """Hours at a high rate would be millions, with numbers that no device has given."""
    form = PoseFormat(rate_hz=60.0, animals=["m1"], keypoints=["nose", "tail"])
    rig = make_rig(cameras=("cam0",), poses={"top": form})
    camera = rig.cameras["cam0"]
    later_ns = START_NS + 3_600_000_000_000
    camera.frame(0)
    rig.deliver(POSE, pose(0), "top", "pose.top")
    camera.restart()
    camera.frame(0, t_ns=later_ns)
    rig.deliver(POSE, msgspec.structs.replace(pose(0, epoch=1), t_exposure_ns=later_ns), "top", "pose.top")
    camera.status(stopped=True)
    rig.deliver(CAMERA_STATUS, CameraStatus("top", 1, "stopped", 0, 0, 1, 0, 0, 60.0, START_NS, 0, "poses"), "top")
    rig.close()
    frames, poses = (rows(path) for path in export_csv(rig.folder, tmp_path / "out")[:2])
    words = "was away for 3600.000 s and came back; 215999 frames at 60 Hz"
    assert [(row["epoch"], row["seq"], row["reason"]) for row in frames if row["reason"]] == [
        ("0", "", f"device: estimated: the camera {words}")
    ]
    assert [(row["epoch"], row["seq"], row["reason"]) for row in poses if row["reason"]] == [
        ("0", "", f"device: estimated: the pose source {words}")
    ]
    assert len(frames) == 3 and len(poses) == 5


def test_a_late_frame_within_an_estimate_has_its_own_reason(make_rig: Any, tmp_path: Path) -> None:
    """The estimate is said first and spans it; that frame has come, and why it is not in the video is known."""
    rig = make_rig()
    camera = rig.cameras["cam0"]
    camera.frame(0)
    late = camera.frame(1, arrives=False)
    camera.restart()
    camera.frame(0, t_ns=START_NS + 3_600_000_000_000)
    camera.status()
    rig.turn()
    camera.deliver(msgspec.structs.replace(late, generation=late.generation + 2))
    camera.status(stopped=True)
    rig.close()
    gaps = [one.message for one in Recording.open(rig.folder).messages([GAP])]
    assert [(one.first_seq, one.n) for one in gaps if isinstance(one, Gap)] == [(1, 215_999), (1, 1)]
    frames = rows(export_csv(rig.folder, tmp_path / "out")[0])
    assert [(row["epoch"], row["seq"], row["reason"]) for row in frames if row["seq"] and not row["video_frame"]] == [
        ("0", "1", "recorder: overwritten in shared memory before it was encoded")
    ]


def test_torn_recording_is_exported_up_to_the_tear(recorded: Any, tmp_path: Path) -> None:
    path = recorded.folder / "events.mcap"
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"reward")])
    written = export_csv(recorded.folder, tmp_path / "out")
    assert len(rows(written[1])) == 7
    assert not rows(written[3])


def test_folder_that_cannot_be_written(recorded: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="give another folder"):
        export_csv(recorded.folder, tmp_path / "file")


def test_bouts_of_a_model_that_looks_ahead_lie_where_they_were(make_rig: Any, tmp_path: Path) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for set_id, label in enumerate(["", "", "", "groom", "groom", "groom", "still"]):
        camera.frame(set_id)
        said = behavior(set_id, (0.25, 0.5, 0.25), label)
        rig.deliver(
            BEHAVIOR, msgspec.structs.replace(said, t_label_ns=said.t_exposure_ns - 2 * PERIOD_NS), source="inference"
        )
    camera.status(stopped=True)
    rig.close()
    export_csv(rig.folder, tmp_path)
    bouts = rows(tmp_path / "bouts.csv")
    assert [(one["behavior"], one["start_ns"], one["stop_ns"]) for one in bouts] == [
        ("groom", str(START_NS + PERIOD_NS), str(START_NS + 4 * PERIOD_NS)),
        ("still", str(START_NS + 4 * PERIOD_NS), str(START_NS + 4 * PERIOD_NS)),
    ]
    said_of = [(one["t_exposure_ns"], one["t_label_ns"]) for one in rows(tmp_path / "behavior.csv")]
    assert said_of[3] == (str(START_NS + 3 * PERIOD_NS), str(START_NS + PERIOD_NS))
