"""Pose messages in, behaviour and decisions out."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.pose.pose_blocks import run_pose_blocks
from ethostream.inference.pose.pose_pipeline import PosePipeline
from ethostream.streaming.messages import Behavior, Decision, Pose, SourceFrame
from ethostream.streaming.pose_format import PoseFormat, points_bytes
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import BundleError, ConfigError, WireError
from numpy.typing import NDArray
from pose_worlds import CLASSES, IN_ORDER, KEYPOINTS, RATE_HZ, Steps, animals_at, write_pose_bundle

START_NS = 1_700_000_000_000_000_000
ANIMALS = ["resident", "intruder"]
FORM = PoseFormat(rate_hz=RATE_HZ, animals=ANIMALS, keypoints=KEYPOINTS)
RULES: list[dict[str, Any]] = [
    {"name": f"on_{name}", "on_enter": name, "actuator": "log", "refractory_ms": 300.0} for name in CLASSES
]
TASK = TaskConfig.model_validate({"bundle": "tiny", "rules": RULES, "actuators": {"log": {"kind": "log"}}})
POINTS = animals_at(200, seed=33)
ALONE: Steps = [("pose_motion", 1, {"places": ["neck"]}), ("pose_spread", 1, {})]


def message(frame: NDArray[np.float32], seq: int, form: PoseFormat = FORM, **changes: Any) -> Pose:
    t_ns = START_NS + round(seq * 1e9 / RATE_HZ)
    pose = Pose(
        "tracker", 0, seq, t_ns, t_ns + 4_000_000, tuple(form.animals), tuple(form.keypoints), points_bytes(frame)
    )
    return msgspec.structs.replace(pose, **changes)


def pipeline_of(bundle: Bundle, form: PoseFormat = FORM, task: TaskConfig = TASK) -> PosePipeline:
    return PosePipeline(bundle, task, "tracker", form, FakeClock(START_NS), armed=True)


def play(pipeline: PosePipeline, points: NDArray[np.float32], first: int = 0) -> list[tuple[Behavior, list[Decision]]]:
    answers: list[tuple[Behavior, list[Decision]]] = []
    for seq in range(first, len(points)):
        pose = message(points[seq], seq)
        answer = pipeline.step(pose, 1000 + seq, t_decided_ns=pose.t_exposure_ns + 9_000_000)
        assert answer is not None
        answers.append(answer)
    return answers


def test_a_message_says_what_the_model_says(pose_bundle: Bundle) -> None:
    answers = play(pipeline_of(pose_bundle), POINTS)
    found = run_pose_blocks(pose_bundle, POINTS, RATE_HZ)
    labels = [CLASSES.index(one.label) if one.label else -1 for one, _ in answers]
    assert labels == found.labels.tolist()
    assert np.array([one.p for one, _ in answers]) == pytest.approx(found.p, abs=1e-6)
    behavior = answers[7][0]
    t_ns = START_NS + round(7e9 / RATE_HZ)
    assert behavior.sources == (SourceFrame("tracker", 0, 7, t_ns, 0, t_ns + 4_000_000),)
    assert (behavior.set_id, behavior.previous_set_id, behavior.t_exposure_ns) == (1007, 1006, t_ns)
    assert behavior.bundle == pose_bundle.identity and behavior.classes == tuple(CLASSES)
    assert behavior.t_decided_ns == t_ns + 9_000_000 and behavior.t_received_ns == t_ns + 4_000_000
    assert (behavior.status, behavior.missing, behavior.boxes) == ("complete", (), ())
    assert [one.reset for one, _ in answers[:3]] == [True, False, False]
    assert [one.warm for one, _ in answers[:3]] == [False, False, True]


def test_rules_decide_on_it(pose_bundle: Bundle) -> None:
    answers = play(pipeline_of(pose_bundle), POINTS)
    fired = [one for _, decisions in answers for one in decisions if one.action == "fired"]
    assert fired and all(one.rule == f"on_{one.behavior}" for one in fired)
    assert {one.set_id for one in fired} <= {one.set_id for one, _ in answers}


def test_a_frame_in_which_nothing_is_seen_is_partial_and_withholds(pose_bundle: Bundle) -> None:
    points = POINTS[:20].copy()
    points[10, :, :, :2] = np.nan
    points[11, 0, :, :2] = np.nan
    points[11, 1] = [5.0, 5.0, 0.9]
    # Whatever the model says, every frame from the fourth on is an opportunity.
    every = [{"name": name, "on_while": {"behavior": name, "every_ms": 1}, "actuator": "log"} for name in CLASSES]
    answers = play(pipeline_of(pose_bundle, task=TASK.model_validate(TASK.model_dump() | {"rules": every})), points)
    assert (answers[10][0].status, answers[10][0].missing) == ("partial", ("tracker",))
    assert answers[11][0].status == "complete"
    said = [[(one.action, one.reason) for one in decisions] for _, decisions in answers]
    assert said[9] and {action for action, _ in said[9]} == {"fired"}
    assert said[10] == [("withheld", "partial")]
    assert said[11] and {action for action, _ in said[11]} == {"fired"}


def test_a_snapshot_goes_on_bit_for_bit(pose_bundle: Bundle) -> None:
    expected = play(pipeline_of(pose_bundle), POINTS)
    first = pipeline_of(pose_bundle)
    play(first, POINTS[:90])
    kept = first.snapshot({"clock": np.arange(3)})
    second = pipeline_of(pose_bundle)
    play(second, POINTS[:13])
    assert second.restore(kept)["clock"].tolist() == [0, 1, 2]
    assert play(second, POINTS, first=90) == expected[90:]


def test_a_model_that_looks_ahead_says_of_which_message_it_speaks(tmp_path: Path) -> None:
    bundle = Bundle.load(write_pose_bundle(tmp_path / "late", look_ahead_frames=5), max_look_ahead_frames=5)
    answers = [one for one, _ in play(pipeline_of(bundle), POINTS[:20])]
    assert [one.t_spoken_of_ns for one in answers[5:]] == [one.t_exposure_ns for one in answers[:-5]]
    assert all(one.t_spoken_of_ns < START_NS for one in answers[:5])


def test_a_reset_says_so(pose_bundle: Bundle) -> None:
    pipeline = pipeline_of(pose_bundle)
    play(pipeline, POINTS[:10])
    pipeline.reset()
    pipeline.settle()
    answer = pipeline.step(message(POINTS[10], 10), 10)
    assert answer is not None and answer[0].reset and not answer[0].warm


def test_states_of_others_are_refused(pose_bundle: Bundle, tmp_path: Path) -> None:
    pipeline = pipeline_of(pose_bundle)
    elsewhere = PosePipeline(pose_bundle, TASK, "other", FORM, FakeClock(START_NS), armed=True)
    with pytest.raises(BundleError, match="for views other"):
        pipeline.restore(elsewhere.snapshot())
    ordered = pipeline_of(Bundle.load(write_pose_bundle(tmp_path / "ordered", IN_ORDER)))
    with pytest.raises(BundleError, match="differ in shape"):
        pipeline.restore(ordered.snapshot())
    with pytest.raises(BundleError, match="cannot be read"):
        pipeline.restore(b"nothing")


def test_sources_that_do_not_suit_the_model_are_refused(pose_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="pose source 'tracker': has no keypoint tail"):
        pipeline_of(pose_bundle, FORM.model_copy(update={"keypoints": KEYPOINTS[:3]}))
    with pytest.raises(ConfigError, match="the model takes 2"):
        pipeline_of(pose_bundle, FORM.model_copy(update={"animals": ["one"]}))
    with pytest.raises(ConfigError, match="no whole multiple"):
        pipeline_of(pose_bundle, FORM.model_copy(update={"rate_hz": 25.0}))


def test_keypoints_in_another_order_are_the_same_animals(pose_bundle: Bundle) -> None:
    form = PoseFormat(rate_hz=RATE_HZ, animals=ANIMALS, keypoints=["ear", *reversed(KEYPOINTS)])
    turned = np.concatenate([POINTS[:, :, :1], POINTS[:, :, ::-1]], axis=2)
    pipeline = pipeline_of(pose_bundle, form)
    found = [pipeline.step(message(turned[seq], seq, form), seq) for seq in range(40)]
    expected = play(pipeline_of(pose_bundle), POINTS[:40])
    assert [one[0].p for one in found if one is not None] == [one.p for one, _ in expected]


@pytest.mark.parametrize(
    "changes", [{"source": "other"}, {"keypoints": ("a", "b", "c", "d")}, {"points": b"\0" * 12}, {"animals": ("one",)}]
)
def test_messages_that_are_not_of_the_source_are_refused(pose_bundle: Bundle, changes: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="the source changed while it ran"):
        pipeline_of(pose_bundle).step(message(POINTS[0], 0, **changes), 0)


def test_a_single_animal_has_a_box_for_zones(tmp_path: Path) -> None:
    bundle = Bundle.load(write_pose_bundle(tmp_path / "one", ALONE, n_animals=1))
    form = PoseFormat(rate_hz=RATE_HZ, animals=["mouse"], keypoints=KEYPOINTS)
    zone = {"kind": "box_px", "view": "tracker", "x_px": [0, 1000], "y_px": [0, 1000]}
    rule = RULES[0] | {"when": {"zones": [{"zone": "all"}]}}
    task = TASK.model_validate(TASK.model_dump() | {"zones": {"all": zone}, "rules": [rule]})
    pipeline = pipeline_of(bundle, form, task)
    points = np.array([[[10.5, 20.0, 0.9], [30.0, 25.5, 0.9], [999.0, 5.0, 0.1], [np.nan, np.nan, 0.9]]], np.float32)
    seen = pipeline.step(message(points, 0, form), 0)
    points[..., 2] = 0.0
    hidden = pipeline.step(message(points, 1, form), 1)
    assert seen is not None and hidden is not None
    (box,), (none,) = seen[0].boxes, hidden[0].boxes
    assert (box.camera, box.x_px, box.y_px, box.width_px, box.height_px, box.valid) == ("tracker", 10, 20, 20, 6, True)
    assert not none.valid and hidden[0].status == "partial"


def test_zones_of_two_animals_are_refused(pose_bundle: Bundle) -> None:
    zone = {"kind": "box_px", "view": "tracker", "x_px": [0, 1000], "y_px": [0, 1000]}
    rule = RULES[0] | {"when": {"zones": [{"zone": "all"}]}}
    task = TASK.model_validate(TASK.model_dump() | {"zones": {"all": zone}, "rules": [rule]})
    with pytest.raises(ConfigError, match="which the model does not see"):
        pipeline_of(pose_bundle, task=task)
