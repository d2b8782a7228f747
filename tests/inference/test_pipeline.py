import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.crop_rule import FullCrop
from ethostream.inference.head import Head, run_sequence
from ethostream.inference.model import BehaviorModel, ModelStep
from ethostream.inference.parity import relative_error
from ethostream.inference.pipeline import BehaviorPipeline, middle_ns
from ethostream.streaming.messages import Behavior, Decision, FrameSet, SourceFrame
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import BundleError, ConfigError, FrameOverwrittenError, ProviderError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Writer = Callable[..., Path]
Scene = Callable[..., NDArray[np.uint8]]
PERIOD_NS = round(1e9 / 30.0)
START_NS = 1_700_000_000_000_000_000
SHAPE = (60, 80)
VIEWS = {"cam0": SHAPE, "cam1": SHAPE}
RULES: list[dict[str, Any]] = [
    {"name": f"on_{name}", "on_enter": name, "actuator": "log", "refractory_ms": 300.0, "require_complete": False}
    for name in ("still", "move", "rear")
]
TASK = TaskConfig.model_validate({"bundle": "tiny", "rules": RULES, "actuators": {"log": {"kind": "log"}}})


def set_of(step: int, cameras: list[str], rate_hz: float = 30.0) -> FrameSet:
    t_ns = START_NS + round(step * 1e9 / rate_hz)
    sources = tuple(SourceFrame(name, 0, step, t_ns, 2000, t_ns + 5_000_000) for name in cameras)
    missing = tuple(name for name in VIEWS if name not in cameras)
    return FrameSet(step, "partial" if missing else "complete", sources, missing, t_ns + 1_000_000, t_ns + 6_000_000)


def picture(scene: Scene, camera: str, step: int) -> NDArray[np.uint8]:
    # A slow change of ink makes the tiny model's probabilities wander through all classes.
    ink = round(80 + 75 * np.sin(step / 7.0))
    return scene(step * 2, SHAPE, seed=int(camera[-1]), ink=ink)


def make(bundle: Bundle, views: dict[str, tuple[int, ...]] | None = None, armed: bool = True) -> BehaviorPipeline:
    return BehaviorPipeline(bundle, TASK, views or dict(VIEWS), FakeClock(START_NS), 30.0, armed)


def play(
    pipeline: BehaviorPipeline, scene: Scene, plan: list[tuple[int, list[str]]]
) -> list[tuple[Behavior, list[Decision]]]:
    answers: list[tuple[Behavior, list[Decision]]] = []
    for step, cameras in plan:
        frame_set = set_of(step, cameras)
        images = {name: picture(scene, name, step) for name in cameras}
        answer = pipeline.step(frame_set, images, 0, t_decided_ns=frame_set.t_mid_ns + 20_000_000)
        assert answer is not None
        answers.append(answer)
    return answers


steps_st = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 1, 2, 4, 12]), st.sampled_from([["cam0", "cam1"]] * 4 + [["cam0"], ["cam1"]])),
    min_size=2,
    max_size=30,
)


def plan_of(moves: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    places = np.cumsum([n for n, _ in moves])
    return [(int(place), cameras) for place, (_, cameras) in zip(places, moves, strict=True)]


@pytest.fixture(scope="module", params=["mean", "max", "joined"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    write = request.getfixturevalue("write_module_bundle")
    return Bundle.load(write(tmp_path_factory.mktemp("bundle"), fusion=request.param, n_views=2))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=steps_st, cut=st.integers(0, 30))
def test_a_restored_pipeline_gives_the_same_bits(
    bundle: Bundle, scene: Scene, moves: list[tuple[int, list[str]]], cut: int
) -> None:
    plan = plan_of(moves)
    cut = min(cut, len(plan))
    whole, first, second = make(bundle), make(bundle), make(bundle)
    play(second, scene, plan_of([(3, ["cam0", "cam1"])] * 4))  # what it held before must not matter
    expected = play(whole, scene, plan)
    start = play(first, scene, plan[:cut])
    second.restore(first.snapshot())
    assert start + play(second, scene, plan[cut:]) == expected
    assert second.snapshot() == whole.snapshot()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=steps_st)
def test_reset_is_a_new_pipeline(bundle: Bundle, scene: Scene, moves: list[tuple[int, list[str]]]) -> None:
    used, plan = make(bundle), plan_of(moves)
    play(used, scene, plan)
    used.reset()
    # What the rules fired before is kept (a refractory time may be a safety limit): behaviours alone are as anew.
    again, anew = play(used, scene, plan), play(make(bundle), scene, plan)
    # So is the chain of sets, from which a reader sees that no answer is missing.
    first, *rest = [one[0] for one in again]
    expected = [one[0] for one in anew]
    assert first.previous_set_id == plan[-1][0]
    assert [msgspec.structs.replace(first, previous_set_id=-1), *rest] == expected


class Told:
    """The head and the gap rule by themselves: one view, and every missed step is told, not timed."""

    def __init__(self, bundle: Bundle) -> None:
        self.head = Head(bundle.head_step, bundle.manifest.head, 1)
        self.slot = np.zeros(1, np.intp)
        self.last: NDArray[np.float32] | None = None

    def step(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self.last = x
        return self.head.step(x, self.slot)

    def gap(self, n_missed: int) -> None:
        if self.last is None:
            return
        if n_missed * PERIOD_NS > 200_000_000:
            self.head.reset()
            return
        for _ in range(n_missed):
            self.head.step(self.last, self.slot)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.integers(0, 9), min_size=2, max_size=25))
def test_a_run_after_a_gap_equals_a_run_that_was_told_of_it(
    write_tiny_bundle: Writer, scene: Scene, gaps: list[int]
) -> None:
    bundle = loaded_once(write_tiny_bundle)
    model = BehaviorModel(bundle.manifest, bundle.embedder, bundle.head_step, {"cam0": SHAPE}, 30.0, FakeClock())
    told, step = Told(bundle), 0
    for n_missed in gaps:
        step += n_missed + 1
        answer = model.step({"cam0": picture(scene, "cam0", step)}, START_NS + step * PERIOD_NS)
        assert answer is not None
        told.gap(n_missed)
        assert np.array_equal(told.step(answer.x), answer.p_slots)
        assert answer.gap_frames == (n_missed if step > gaps[0] + 1 else 0)


_loaded: dict[str, Bundle] = {}


def loaded_once(write: Writer) -> Bundle:
    if "one" not in _loaded:
        _loaded["one"] = Bundle.load(write())
    return _loaded["one"]


def one_view(bundle: Bundle, **options: Any) -> BehaviorModel:
    return BehaviorModel(
        bundle.manifest, bundle.embedder, bundle.head_step, {"cam0": SHAPE}, options.get("rate", 30.0), FakeClock()
    )


def test_steps_equal_the_whole_sequence_over_ten_thousand_steps(write_tiny_bundle: Writer) -> None:
    bundle = Bundle.load(write_tiny_bundle())
    x = np.random.default_rng(3).normal(size=(2, 10_000, bundle.manifest.head.dims)).astype(np.float32)
    head = Head(bundle.head_step, bundle.manifest.head, 2)
    stepped = np.stack([head.step(x[:, t], np.arange(2)) for t in range(x.shape[1])], axis=1)
    assert relative_error(stepped, run_sequence(bundle.head_sequence, bundle.manifest.head, x)) <= 1e-5
    assert head.snapshot()["state_1"].tolist() == [[10_000.0], [10_000.0]]


def test_a_view_that_is_missing_keeps_its_state(write_tiny_bundle: Writer) -> None:
    bundle = Bundle.load(write_tiny_bundle())
    head = Head(bundle.head_step, bundle.manifest.head, 3)
    x = np.ones((3, bundle.manifest.head.dims), np.float32)
    head.step(x, np.arange(3))
    before = head.snapshot()
    head.step(x[:2], np.array([0, 2]))
    after = head.snapshot()
    assert np.array_equal(before["state_0"][1], after["state_0"][1])
    assert after["state_1"].ravel().tolist() == [2.0, 1.0, 2.0]


def test_the_message_carries_its_chain(write_tiny_bundle: Writer, scene: Scene) -> None:
    bundle = Bundle.load(write_tiny_bundle())
    pipeline = make(bundle)
    (behavior, _), (partial, _) = play(pipeline, scene, [(0, ["cam0", "cam1"]), (1, ["cam1"])])
    assert behavior.bundle == bundle.identity
    assert behavior.status == "complete"
    assert [one.camera for one in behavior.sources] == [box.camera for box in behavior.boxes] == ["cam0", "cam1"]
    assert behavior.t_exposure_ns == START_NS
    assert behavior.t_received_ns == START_NS + 5_000_000
    assert sum(behavior.p) == pytest.approx(1.0)
    assert behavior.raw == bundle.manifest.classes[int(np.argmax(behavior.p))]
    assert not behavior.warm
    assert (partial.status, partial.missing) == ("partial", ("cam0",))
    assert [box.camera for box in partial.boxes] == ["cam1"]


def test_a_frame_whose_time_is_not_believed_moves_no_step(write_tiny_bundle: Writer, scene: Scene) -> None:
    """Stamped by its arrival, which a busy machine shifts by more than a period; what it shows counts all the same."""
    right, rough = (make(Bundle.load(write_tiny_bundle())) for _ in range(2))
    for step in range(40):
        frame_set = set_of(step, list(VIEWS))
        images = {name: picture(scene, name, step) for name in VIEWS}
        late_ns = (PERIOD_NS * (step * 7 % 11)) // 5
        first, second = frame_set.sources
        shifted = msgspec.structs.replace(second, t_exposure_ns=second.t_exposure_ns + late_ns, believed=False)
        of_arrival = msgspec.structs.replace(frame_set, sources=(first, shifted))
        decided_ns = frame_set.t_mid_ns + 20_000_000
        expected = right.step(frame_set, images, 0, t_decided_ns=decided_ns)
        got = rough.step(of_arrival, images, 0, t_decided_ns=decided_ns)
        assert expected is not None and got is not None, step
        assert msgspec.structs.replace(got[0], sources=frame_set.sources) == expected[0]
        assert [one.reason for one in got[1]] == [one.reason for one in expected[1]]
        # All that replay knows of the set is its sources, as they were logged.
        logged = msgspec.msgpack.decode(msgspec.msgpack.encode(of_arrival), type=FrameSet)
        assert middle_ns(logged.sources) == middle_ns(of_arrival.sources) == middle_ns((first,))
    alone = msgspec.structs.replace(first, believed=False)
    assert middle_ns((alone,)) == middle_ns((first,)), "there is nothing better"


def test_every_onset_is_decided_and_labels_follow_the_stabiliser(write_tiny_bundle: Writer, scene: Scene) -> None:
    answers = play(make(Bundle.load(write_tiny_bundle())), scene, [(step, ["cam0", "cam1"]) for step in range(150)])
    onsets = [b.label for (a, _), (b, _) in itertools.pairwise(answers) if b.label != a.label]
    decisions = [one for _, made in answers for one in made]
    assert len(set(onsets)) >= 2
    assert [one.behavior for one in decisions] == onsets
    assert {one.action for one in decisions} >= {"fired"}


def test_a_disarmed_pipeline_withholds_everything(write_tiny_bundle: Writer, scene: Scene) -> None:
    pipeline = make(Bundle.load(write_tiny_bundle()), armed=False)
    decisions = [d for _, made in play(pipeline, scene, [(s, ["cam0", "cam1"]) for s in range(100)]) for d in made]
    assert decisions
    assert {(one.action, one.reason) for one in decisions} == {("withheld", "disarmed")}


def test_staleness_is_judged_by_the_clock_live_and_by_the_record_in_replay(
    write_tiny_bundle: Writer, scene: Scene
) -> None:
    bundle = Bundle.load(write_tiny_bundle())
    reasons: dict[bool, set[str]] = {}
    for live in (True, False):
        clock = FakeClock(START_NS + 3600 * 10**9)  # an hour later
        pipeline = BehaviorPipeline(bundle, TASK, VIEWS, clock, 30.0, armed=True)
        reasons[live] = set()
        for step in range(100):
            one = set_of(step, ["cam0", "cam1"])
            images = {name: picture(scene, name, step) for name in VIEWS}
            answer = pipeline.step(one, images, 0, None if live else one.t_mid_ns + 10**7)
            assert answer is not None
            reasons[live] |= {decision.reason for decision in answer[1]}
    assert "stale" in reasons[True]
    assert "onset" not in reasons[True]
    assert "stale" not in reasons[False]
    assert "onset" in reasons[False]


def test_check_runs_after_the_last_pixel_was_read(write_tiny_bundle: Writer, scene: Scene) -> None:
    bundle = Bundle.load(write_tiny_bundle())
    answers: list[ModelStep | None] = []
    for spoil in (True, False):
        model, images = one_view(bundle), {"cam0": picture(scene, "cam0", 0)}

        def check(image: NDArray[np.uint8] = images["cam0"], overwrite: bool = spoil) -> None:
            if overwrite:
                image[:] = 0

        answers.append(model.step(images, START_NS, check))
    first, second = answers
    assert first is not None
    assert second is not None
    assert np.array_equal(first.p, second.p)

    pipeline = make(bundle)

    def overwritten() -> None:
        raise FrameOverwrittenError("slot 3 was written again; raise the number of slots")

    with pytest.raises(FrameOverwrittenError):
        pipeline.step(set_of(0, ["cam0"]), {"cam0": picture(scene, "cam0", 0)}, 0, None, overwritten)


def test_sets_between_the_steps_are_left_out(write_tiny_bundle: Writer, scene: Scene) -> None:
    pipeline = BehaviorPipeline(Bundle.load(write_tiny_bundle()), TASK, VIEWS, FakeClock(), 60.0, armed=True)
    used = [
        pipeline.step(set_of(k, ["cam0"], 60.0), {"cam0": picture(scene, "cam0", k)}, 0) is not None for k in range(8)
    ]
    assert used == [True, False] * 4


def test_sets_of_other_cameras_are_left_out(write_tiny_bundle: Writer, scene: Scene) -> None:
    pipeline = make(Bundle.load(write_tiny_bundle()), {"cam1": SHAPE})
    assert pipeline.step(set_of(0, ["cam0"]), {"cam0": picture(scene, "cam0", 0)}, 0) is None
    answer = pipeline.step(set_of(1, ["cam0", "cam1"]), {"cam1": picture(scene, "cam1", 1)}, 2)
    assert answer is not None
    assert (answer[0].status, answer[0].n_skipped) == ("complete", 2)
    assert [one.camera for one in answer[0].sources] == ["cam1"]


def test_views_of_different_sizes_run_together(write_tiny_bundle: Writer, scene: Scene) -> None:
    bundle = Bundle.load(write_tiny_bundle(crop=FullCrop()))
    sizes = {"cam0": (60, 80), "cam1": (90, 120), "cam2": (60, 80)}
    model = BehaviorModel(bundle.manifest, bundle.embedder, bundle.head_step, sizes, 30.0, FakeClock())
    images = {name: scene(0, shape, seed=int(name[-1])) for name, shape in sizes.items()}
    step = model.step(images, START_NS)
    assert step is not None
    expected = [[image.mean() / 255, image.max() / 255, image.min() / 255] for image in images.values()]
    assert step.embeddings == pytest.approx(np.array(expected), rel=1e-5)


def test_what_does_not_suit_the_model_is_refused(write_tiny_bundle: Writer, scene: Scene) -> None:
    joined = Bundle.load(write_tiny_bundle(fusion="joined", n_views=2))
    with pytest.raises(ConfigError, match=r"takes 2 view\(s\)"):
        make(joined, {"cam0": SHAPE})
    with pytest.raises(ConfigError, match="50 Hz"):
        one_view(joined_to_one(write_tiny_bundle), rate=50.0)
    pipeline = make(joined)
    with pytest.raises(BundleError, match="cannot be read"):
        pipeline.restore(b"nonsense")
    other = make(joined, {"a": SHAPE, "b": SHAPE})
    with pytest.raises(BundleError, match="views a, b"):
        pipeline.restore(other.snapshot())
    mean = make(Bundle.load(write_tiny_bundle(name="mean", features=[], **without_features())))
    with pytest.raises(BundleError, match="does not fit"):
        mean.restore(pipeline.snapshot())


def joined_to_one(write: Writer) -> Bundle:
    return Bundle.load(write(name="single"))


def without_features() -> dict[str, Any]:
    from ethostream.inference.graph_spec import HeadSpec, StateTensor

    state = [
        StateTensor(name="state_0", shape=[5], dtype="float32", initial=0.0),
        StateTensor(name="state_1", shape=[1], dtype="float32", initial=0.0),
    ]
    return {"head": HeadSpec.build("other", 3, 3, state)}


def test_a_missing_runtime_says_what_to_install(write_tiny_bundle: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_bundle()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # how Python marks a module that cannot be imported
    with pytest.raises(ProviderError, match=r"pip install 'ethostream\[cpu\]'"):
        Bundle.load(folder)
