"""The pose model: stepped, in blocks, over gaps, from snapshots; and the bundles that are refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle, write_bundle
from ethostream.inference.bundle_files import read_bundle_files
from ethostream.inference.graph_spec import HEAD_SEQUENCE_FILE, HEAD_STEP_FILE, HeadSpec
from ethostream.inference.manifest import MANIFEST_FILE, PARITY_FILE
from ethostream.inference.pose.pose_blocks import exposure_times, run_pose_blocks
from ethostream.inference.pose.pose_model import PoseModel, PoseStep
from ethostream.inference.pose.select import PointSelection
from ethostream.inference.stabilisation.config import StabiliserConfig
from ethostream.inference.state_bytes import pack_state, unpack_state
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import BundleError, ConfigError, LookAheadError, ParityError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pose_worlds import CLASSES, KEYPOINTS, RATE_HZ, animals_at, pose_fields, pose_input, write_pose_bundle
from pydantic import TypeAdapter

POINTS = animals_at(400, seed=21)


def model_of(bundle: Bundle, rate_hz: float = RATE_HZ, **options: Any) -> PoseModel:
    return PoseModel(bundle.manifest, bundle.head_step, rate_hz, FakeClock(), **options)


def play(
    model: PoseModel, points: NDArray[np.float32], rate_hz: float = RATE_HZ, frames: list[int] | None = None
) -> list[PoseStep | None]:
    times_ns = exposure_times(len(points), rate_hz)
    return [model.step(points[place], int(times_ns[place])) for place in frames or range(len(points))]


def answers(steps: list[PoseStep | None]) -> tuple[NDArray[np.float32], list[int]]:
    done = [step for step in steps if step is not None]
    return np.stack([step.p for step in done]), [CLASSES.index(one.label) if one.label else -1 for one in done]


def test_the_tiny_model_says_something(pose_bundle: Bundle) -> None:
    """Else nothing below would tell one way of running it from another."""
    p, labels = answers(play(model_of(pose_bundle), POINTS))
    assert len(set(labels) - {-1}) >= 2 and np.sort(np.ptp(p, axis=0))[1] > 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "thresholds"},
        {"kind": "sequential"},
        {"kind": "majority", "default": {"window_ms": 200.0, "share": 0.5}},
        {"kind": "hidden_markov", "smoothing_ms": 50.0, "close_gaps_ms": 100.0},
    ],
)
def test_blocks_answer_as_steps_do(pose_bundle: Bundle, options: dict[str, Any]) -> None:
    stabiliser = TypeAdapter[StabiliserConfig](StabiliserConfig).validate_python(options)
    p, labels = answers(play(model_of(pose_bundle, stabiliser=stabiliser), POINTS))
    found = run_pose_blocks(pose_bundle, POINTS, RATE_HZ, stabiliser)
    assert found.labels.tolist() == labels
    assert found.p == pytest.approx(p, abs=1e-6)
    assert found.frames.tolist() == list(range(len(POINTS)))


def test_blocks_follow_each_other_without_a_seam(pose_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run_pose_blocks(pose_bundle, POINTS, RATE_HZ)
    monkeypatch.setattr("ethostream.inference.pose.pose_blocks.BLOCK_FRAMES", 37)
    several = run_pose_blocks(pose_bundle, POINTS, RATE_HZ)
    assert several.labels.tolist() == one.labels.tolist()
    assert several.p == pytest.approx(one.p, abs=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_recordings_of_no_frame_and_of_one(pose_bundle: Bundle, n: int) -> None:
    found = run_pose_blocks(pose_bundle, POINTS[:n], RATE_HZ)
    assert found.p.shape == (n, 3) and found.labels.shape == found.frames.shape == (n,)
    assert len(found.of_their_frames().p) == n


def test_a_faster_source_is_subsampled_alike(pose_bundle: Bundle) -> None:
    twice = np.repeat(POINTS[:60], 2, axis=0)
    p, labels = answers(play(model_of(pose_bundle, 2 * RATE_HZ), twice, 2 * RATE_HZ))
    found = run_pose_blocks(pose_bundle, twice, 2 * RATE_HZ)
    assert found.frames.tolist() == list(range(0, 120, 2)) and found.labels.tolist() == labels
    assert found.p == pytest.approx(p, abs=1e-6)
    assert p == pytest.approx(run_pose_blocks(pose_bundle, POINTS[:60], RATE_HZ).p, abs=1e-6)
    for rate_hz in (25.0, 15.0):
        with pytest.raises(ConfigError, match="no whole multiple"):
            run_pose_blocks(pose_bundle, POINTS, rate_hz)


@given(lost=st.sets(st.integers(5, 55), max_size=30))
@settings(max_examples=10, deadline=None)
def test_a_lost_frame_is_one_in_which_nothing_was_seen(pose_bundle: Bundle, lost: set[int]) -> None:
    """As long as the gap rule bridges it: the probabilities are those of a tracker that saw nothing, bit for bit."""
    points = POINTS[:60]
    runs = "".join("x" if place in lost else "." for place in range(60)).split(".")
    if max(map(len, runs)) > 9:
        return
    kept = [place for place in range(60) if place not in lost]
    with_gaps = play(model_of(pose_bundle), points, frames=kept)
    blank = points.copy()
    blank[sorted(lost)] = [np.nan, np.nan, 0.0]
    seen = play(model_of(pose_bundle), blank)
    for place, step in zip(kept, with_gaps, strict=True):
        whole = seen[place]
        assert step is not None and whole is not None
        assert np.array_equal(step.x, whole.x) and np.array_equal(step.p, whole.p)
        assert not step.reset


def test_a_long_gap_forgets_everything(pose_bundle: Bundle) -> None:
    model = model_of(pose_bundle)
    before = play(model, POINTS[:40])
    later_ns = 10_000_000_000
    times_ns = exposure_times(30, RATE_HZ) + later_ns
    after = [model.step(POINTS[40 + place], int(times_ns[place])) for place in range(30)]
    fresh = model_of(pose_bundle)
    expected = [fresh.step(POINTS[40 + place], int(times_ns[place])) for place in range(30)]
    assert before[-1] is not None and before[-1].warm
    first = after[0]
    assert first is not None and first.reset and not first.warm and first.gap_frames > 200
    for one, other in zip(after, expected, strict=True):
        assert one is not None and other is not None
        assert np.array_equal(one.p, other.p) and one.label == other.label and one.warm == other.warm


def test_a_frame_that_is_not_newer_is_no_step(pose_bundle: Bundle) -> None:
    model = model_of(pose_bundle)
    assert model.step(POINTS[0], 5_000_000) is not None
    assert model.step(POINTS[1], 5_000_000) is None
    assert model.step(POINTS[1], 4_000_000) is None


@given(at=st.integers(0, 80))
@settings(max_examples=6, deadline=None)
def test_a_snapshot_goes_on_bit_for_bit(pose_bundle: Bundle, at: int) -> None:
    times_ns = exposure_times(80, RATE_HZ)
    model = model_of(pose_bundle)
    play(model, POINTS[:80], frames=list(range(at)) or [0])
    kept = unpack_state(pack_state(model.snapshot()))
    expected = [model.step(POINTS[place], int(times_ns[place])) for place in range(at, 80)]
    other = model_of(pose_bundle)
    play(other, POINTS[200:220])
    other.restore(kept)
    for place, one in zip(range(at, 80), expected, strict=True):
        found = other.step(POINTS[place], int(times_ns[place]))
        if one is None:
            assert found is None
            continue
        assert found is not None and np.array_equal(found.p, one.p) and found.label == one.label


def test_a_bundle_reproduces_its_outputs(pose_bundle: Bundle) -> None:
    assert set(pose_bundle.parity_errors) == {"x", "p", "head_sequence", "labels"}
    assert max(pose_bundle.parity_errors.values()) <= 1e-6
    with pytest.raises(BundleError, match="takes no video"):
        _ = pose_bundle.embedder
    with pytest.raises(BundleError, match="takes pose, and no video"):
        _ = pose_bundle.manifest.video


def rewritten(source: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy with another manifest."""
    folder.mkdir()
    for name, data in read_bundle_files(source).items():
        (folder / name).write_bytes(data)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def exchange(names: list[str]) -> None:
    names[0], names[1] = names[1], names[0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda one: exchange(one["classes"]), "classes are near, still, chase, and the model was made with still"),
        (lambda one: exchange(one["inputs"][0]["keypoints"]), "keypoints are neck, nose.*the manifest was changed"),
        (lambda one: one["inputs"][0]["keypoints"].append("ear"), "remembers past|keypoints are"),
        (lambda one: one["features"][2]["state"].pop(0), "pose_motion: remembers past"),
        (lambda one: one.update(rate_hz=60.0), "made for another rate"),
        (lambda one: one["features"][0].update(hash="0" * 64), "is not that of the training .*; train again"),
        (lambda one: one["features"][0].update(version=9), "pose_presence v9 is not known"),
        (lambda one: one["features"][4]["parameters"].update(group=False), "pose_spread: gives 2 numbers"),
        (lambda one: one["features"].pop(4), "head.dims"),
        (lambda one: one["head"]["state"].pop(), "takes state_0, of which the manifest says nothing"),
        (
            lambda one: one["inputs"].append({"kind": "signal", "channels": ["emg"], "rate_hz": 1000.0}),
            "takes pose, signal together",
        ),
        (lambda one: one["inputs"][0].pop("fill"), "missing key 'inputs.0.fill'"),
        (lambda one: one["inputs"][0]["scale"].pop("start_px"), "missing key"),
    ],
)
def test_manifests_that_do_not_belong_to_the_model_are_refused(
    pose_folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], fault: str
) -> None:
    with pytest.raises(BundleError, match=fault):
        Bundle.load(rewritten(pose_folder, tmp_path / "changed", change))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda one: one["inputs"][0]["fill"].update(max_fill_ms=0.0), "x"),
        (lambda one: one["inputs"][0].update(identity="tracker"), "x"),
        (lambda one: one["inputs"][0]["scale"].update(start_px=61.0), "x"),
        (lambda one: one["stabiliser"]["default"].update(min_dwell_ms=500.0), "labels"),
    ],
)
def test_what_would_give_other_answers_is_refused(
    pose_folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], what: str
) -> None:
    with pytest.raises(ParityError, match=f"{what} differs"):
        Bundle.load(rewritten(pose_folder, tmp_path / "changed", change))


def test_other_outputs_are_refused(pose_folder: Path, tmp_path: Path) -> None:
    files = read_bundle_files(pose_folder)
    manifest = json.loads(files.pop(MANIFEST_FILE))
    fields = {key: value for key, value in manifest.items() if key != "files"}
    with np.load(io.BytesIO(files[PARITY_FILE])) as archive:
        arrays = dict(archive)
    arrays["p"] = arrays["p"][:, ::-1]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bundle(tmp_path / "turned", fields, files | {PARITY_FILE: buffer.getvalue()})
    with pytest.raises(ParityError, match="p differs"):
        Bundle.load(tmp_path / "turned")


def test_a_parity_file_of_video_is_refused(pose_folder: Path, tmp_path: Path) -> None:
    files = read_bundle_files(pose_folder)
    manifest = json.loads(files.pop(MANIFEST_FILE))
    buffer = io.BytesIO()
    np.savez(buffer, frames=np.zeros(3))
    fields = {key: value for key, value in manifest.items() if key != "files"}
    write_bundle(tmp_path / "video", fields, files | {PARITY_FILE: buffer.getvalue()})
    with pytest.raises(BundleError, match="cannot be used"):
        Bundle.load(tmp_path / "video")


def test_a_head_that_is_not_causal_runs_over_recordings_alone(tmp_path: Path) -> None:
    folder = write_pose_bundle(tmp_path / "whole", causal=False)
    with pytest.raises(LookAheadError, match="without bound"):
        Bundle.load(folder)
    bundle = Bundle.load(folder, max_look_ahead_frames=None)
    assert HEAD_STEP_FILE not in bundle.manifest.files
    found = run_pose_blocks(bundle, POINTS, RATE_HZ)
    assert found.p.shape == (400, 3) and found.look_ahead_frames == 0
    with pytest.raises(BundleError, match="not causal"):
        model_of(bundle)


def test_look_ahead_is_refused_and_then_undone(tmp_path: Path) -> None:
    folder = write_pose_bundle(tmp_path / "late", look_ahead_frames=5)
    with pytest.raises(LookAheadError, match="needs 5 frames"):
        Bundle.load(folder)
    found = run_pose_blocks(Bundle.load(folder, max_look_ahead_frames=5), POINTS[:50], RATE_HZ)
    moved = found.of_their_frames()
    assert found.look_ahead_frames == 5 and moved.look_ahead_frames == 0
    assert np.array_equal(moved.p[:45], found.p[5:]) and (moved.labels[45:] == found.labels[-1]).all()


def test_a_manifest_knows_what_its_head_takes() -> None:
    fields = pose_fields([("pose_spread", 1, {})])
    assert fields["head"].dims == 4
    wrong = HeadSpec.build("other", 5, 3, [])
    with pytest.raises(BundleError, match=r"head\.dims: is 5, but inputs and features give 4"):
        write_bundle(Path("nowhere"), fields | {"head": wrong}, {HEAD_SEQUENCE_FILE: b"", PARITY_FILE: b""})


def test_keypoints_are_found_by_name() -> None:
    names = ["ear", *reversed(KEYPOINTS)]
    points = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    selection = PointSelection(["a", "b"], names, pose_input(), "the source")
    assert np.array_equal(selection.of(points), points[:, [4, 3, 2, 1]])
    assert np.array_equal(selection.of(points[None]), points[None][:, :, [4, 3, 2, 1]])
    assert PointSelection(["a", "b"], KEYPOINTS, pose_input(), "it").of(POINTS) is POINTS
    with pytest.raises(ConfigError, match=r"the source: has no keypoint hip, tail \(it has nose, neck"):
        PointSelection(["a", "b"], ["nose", "neck"], pose_input(), "the source")
    with pytest.raises(ConfigError, match=r"has 3 animal\(s\).*pose\.NAME\.animals"):
        PointSelection(["a", "b", "c"], KEYPOINTS, pose_input(), "the source")
    with pytest.raises(ConfigError, match="do not fit 2 animals with 5"):
        selection.of(POINTS)


def test_animals_without_a_keypoint_of_the_model_are_left_out() -> None:
    """DeepLabCut's unique body parts, and a track of another skeleton."""
    names = ["corner", *KEYPOINTS]
    there = np.ones((4, 5), bool)
    there[1, 1:] = there[3] = False
    selection = PointSelection(["a", "single", "b", "gone"], names, pose_input(), "it", there)
    points = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    assert np.array_equal(selection.of(points), points[:, [0, 2], 1:])
    assert selection.left_out == ["single", "gone"]
    there[3, 2] = True
    with pytest.raises(ConfigError, match=r"has 4 animal\(s\).*takes 2; use a bundle"):
        PointSelection(["a", "single", "b", "other"], names, pose_input(), "it", there)
    never = PointSelection(["a", "b"], names, pose_input(), "it", np.zeros((2, 5), bool))
    assert never.left_out == [], "an animal that was never seen is one all the same"
    assert never.of(points[:, :2]).shape == (2, 2, 4, 3)
