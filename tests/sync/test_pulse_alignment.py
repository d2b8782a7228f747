"""Alignment over generated worlds: never a wrong pair, and a refusal where the data cannot say."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.sync.pulse_alignment import Alignment, align
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A train of triggers as the camera and another device saw it; ``*_id``: which trigger it was, -1 a glitch."""

    frame_s: Floats
    frame_id: NDArray[np.int64]
    pulse_s: Floats
    pulse_id: NDArray[np.int64]
    drift_ppm: float
    jitter_s: float

    def wrong(self, found: Alignment) -> int:
        paired = found.pulse_of_frame >= 0
        return int((self.pulse_id[found.pulse_of_frame[paired]] != self.frame_id[paired]).sum())

    def overlooked(self, found: Alignment) -> int:
        there = np.isin(self.frame_id, self.pulse_id[self.pulse_id >= 0])
        return int((there & (found.pulse_of_frame < 0)).sum())


@dataclass(frozen=True)
class Recipe:
    seed: int
    n: int = 300
    rate_hz: float = 60.0
    train: str = "pauses"
    drop_frames: float = 0.01
    drop_pulses: float = 0.01
    glitches: float = 0.0
    jitter: float = 0.005
    drift_ppm: float = 50.0
    late: tuple[float, float] = (0.0, 0.0)
    early: tuple[float, float] = (0.0, 0.0)
    extra: dict[str, float] = field(default_factory=dict)

    def make(self) -> World:
        rng = np.random.default_rng(self.seed)
        period, n = 1 / self.rate_hz, self.n
        steps = np.full(n, period)
        if self.train == "pauses":
            places = rng.choice(np.arange(5, n - 5), 4, replace=False)
            steps[places] = rng.uniform(6, 100, 4) * period
        elif self.train == "jittered":
            steps *= 1 + 0.1 * rng.uniform(-1, 1, n)
        elif self.train == "blocks":
            steps[40::40] = 30 * period
        elif self.train == "code":
            steps = np.resize(period * (1 + 0.2 * rng.uniform(-1, 1, 40)), n)
        times, ids = np.cumsum(steps), np.arange(n)
        sigma = self.jitter * period
        frames, pulses = rng.random(n) >= self.drop_frames, rng.random(n) >= self.drop_pulses
        for mask, late, early in ((frames, self.late[0], self.early[0]), (pulses, self.late[1], self.early[1])):
            mask[: int(late * n)] = False
            mask[n - int(early * n) :] = False
        frame_s = times + rng.uniform(-1, 1, n) * sigma
        pulse_s = times + rng.uniform(-1, 1, n) * sigma
        n_glitches = int(self.glitches * n)
        base = rng.integers(int(self.late[1] * n), n - 1 - int(self.early[1] * n), n_glitches)
        glitch_s = times[base] + period * rng.uniform(0.35, 0.65, n_glitches)
        every = np.concatenate([pulse_s[pulses], glitch_s])
        every_id = np.concatenate([ids[pulses], np.full(n_glitches, -1)])
        order = np.argsort(every, kind="stable")
        on_other = 4711.0 + every[order] * (1 + self.drift_ppm * 1e-6)
        distinct = np.concatenate([[True], np.diff(on_other) > 0])
        return World(
            frame_s[frames] - frame_s[frames][0], ids[frames], on_other[distinct], every_id[order][distinct],
            self.drift_ppm, sigma,
        )  # fmt: skip


SHARES = st.floats(0, 0.25)
RECIPES = st.builds(
    Recipe,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(60, 300),
    rate_hz=st.sampled_from([25.0, 60.0, 500.0]),
    train=st.sampled_from(["periodic", "pauses", "jittered", "blocks", "code"]),
    drop_frames=st.sampled_from([0.0, 0.01, 0.04]),
    drop_pulses=st.sampled_from([0.0, 0.01, 0.04]),
    glitches=st.sampled_from([0.0, 0.02, 0.05]),
    jitter=st.sampled_from([1e-4, 0.003, 0.03]),
    drift_ppm=st.floats(-200, 200),
    late=st.tuples(SHARES, SHARES),
    early=st.tuples(SHARES, SHARES),
)


@given(RECIPES)
@settings(max_examples=70)
def test_there_is_never_a_wrong_pair(recipe: Recipe) -> None:
    """Of every world that is not refused, each pair is right, nothing that was there is overlooked, the drift fits."""
    world = recipe.make()
    try:
        found = align(world.frame_s, world.pulse_s)
    except DataError:
        return
    several = recipe.n >= 160  # repeats of 40 pulses
    assert recipe.train in ("pauses", "jittered") or (not several and recipe.train != "periodic"), "aligned by guessing"
    assert world.wrong(found) == 0
    assert world.overlooked(found) == 0
    assert found.n_paired == (found.frame_of_pulse >= 0).sum()
    span = np.ptp(world.frame_s[found.pulse_of_frame >= 0])
    assert abs(found.drift_ppm - world.drift_ppm) < 1 + 3e6 * world.jitter_s / span


LONG_JITTERED = RECIPES.map(
    lambda one: Recipe(**{**vars(one), "train": "jittered", "jitter": min(one.jitter, 0.003), "n": one.n + 140})
)


@given(LONG_JITTERED)
@settings(max_examples=25)
def test_a_jittered_train_is_always_aligned(recipe: Recipe) -> None:
    """Where a hundred pulses or more are common to both; thirty may be too few to tell, and are then refused."""
    world = recipe.make()
    found = align(world.frame_s, world.pulse_s)
    assert world.wrong(found) == world.overlooked(found) == 0
    lone = world.pulse_id[(found.frame_of_pulse < 0) & found.pulse_inside]
    assert not np.isin(lone[lone >= 0], world.frame_id).any()
    assert set(np.flatnonzero(world.pulse_id < 0)) <= set(np.flatnonzero(found.frame_of_pulse < 0)), (
        "a glitch has a frame"
    )


@given(RECIPES, st.booleans())
@settings(max_examples=25)
def test_a_true_anchor_solves_every_train(recipe: Recipe, tell_lie: bool) -> None:
    recipe = Recipe(
        **{**vars(recipe), "late": (recipe.late[0], 0.0), "drop_pulses": 0.0, "jitter": 0.003, "early": (0, 0)}
    )
    world = recipe.make()
    anchor = int(np.flatnonzero(world.pulse_id == world.frame_id[0])[0])
    found = align(world.frame_s, world.pulse_s, first_frame_pulse=anchor)
    assert found.declared and world.wrong(found) == world.overlooked(found) == 0
    if tell_lie and recipe.train == "jittered":
        with pytest.raises(DataError, match="declared"):
            align(world.frame_s, world.pulse_s, first_frame_pulse=anchor + 7)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(1, train="pauses", drop_frames=0.0, drop_pulses=0.0, n=1000),
        Recipe(2, train="pauses", late=(0.0, 0.2), n=1000),
        Recipe(3, train="pauses", early=(0.0, 0.1), glitches=0.01, n=1500),
        Recipe(4, train="jittered", late=(0.3, 0.0), early=(0.0, 0.3)),
        Recipe(5, train="jittered", drop_frames=0.1, drop_pulses=0.1, glitches=0.05),
        Recipe(6, train="jittered", drift_ppm=-200.0, n=5000, jitter=0.03),
    ],
    ids=["clean", "began late", "stopped early", "half overlap", "much lost", "long and drifting"],
)
def test_worlds_that_must_be_aligned(recipe: Recipe) -> None:
    world = recipe.make()
    found = align(world.frame_s, world.pulse_s)
    assert world.wrong(found) == world.overlooked(found) == 0
    span = np.ptp(world.frame_s[found.pulse_of_frame >= 0])
    assert found.drift_ppm == pytest.approx(world.drift_ppm, abs=1 + 1e6 * world.jitter_s / span)


def test_one_frame_missing_in_the_middle_is_named() -> None:
    world = Recipe(11, train="jittered", drop_frames=0.0, drop_pulses=0.0).make()
    found = align(np.delete(world.frame_s, 150), world.pulse_s)
    assert np.flatnonzero(found.frame_of_pulse < 0).tolist() == [150]
    assert found.pulse_of_frame[149:151].tolist() == [149, 151]
    assert found.pulse_time_s[150] == pytest.approx(world.frame_s[150], abs=3e-4)


def test_one_pulse_missing_in_the_middle_is_named_and_its_frame_has_a_time() -> None:
    world = Recipe(12, train="jittered", drop_frames=0.0, drop_pulses=0.0).make()
    found = align(world.frame_s, np.delete(world.pulse_s, 150))
    assert np.flatnonzero(found.pulse_of_frame < 0).tolist() == [150]
    assert np.isnan(found.residual_us[150]) and found.inside[150] and not found.ambiguous[150]
    assert found.frame_time_s[150] == pytest.approx(world.pulse_s[150], abs=3e-4)


def test_two_pulses_that_could_both_be_it_leave_the_frame_without_one() -> None:
    world = Recipe(13, train="jittered", drop_frames=0.0, drop_pulses=0.0, jitter=0.02).make()
    twin = world.pulse_s[100] + 0.2 * world.jitter_s
    found = align(world.frame_s, np.sort(np.append(world.pulse_s, twin)))
    assert found.ambiguous[100] and found.pulse_of_frame[100] == -1
    assert found.ambiguous.sum() == 1


@pytest.mark.parametrize("train", ["periodic", "blocks", "code"])
def test_a_train_that_repeats_itself_is_refused_with_what_to_do(train: str) -> None:
    world = Recipe(14, train=train, n=600, late=(0.1, 0.0), early=(0.0, 0.1)).make()
    with pytest.raises(DataError, match=r"more than one way.*--first-frame-is-pulse N"):
        align(world.frame_s, world.pulse_s)


def test_equal_counts_are_no_proof() -> None:
    world = Recipe(15, train="periodic", drop_frames=0.0, drop_pulses=0.0).make()
    assert len(world.frame_s) == len(world.pulse_s)
    with pytest.raises(DataError, match="more than one way"):
        align(world.frame_s, world.pulse_s)
    found = align(world.frame_s, world.pulse_s, first_frame_pulse=0)
    assert found.pulse_of_frame.tolist() == list(range(300))


def test_times_rounded_to_milliseconds_are_no_evidence() -> None:
    """Both devices round: the pattern of 16 and 17 ms looks like jitter that both saw, and is not."""
    n = np.arange(2000)
    frame_s, pulse_s = np.round(n / 60, 3), np.round(100 + (n + 3) / 60 * (1 + 40e-6), 3)
    with pytest.raises(DataError, match="more than one way"):
        align(frame_s, pulse_s)


def test_other_rates_and_other_trains_are_refused() -> None:
    rng = np.random.default_rng(0)
    frame_s = np.arange(500) / 60
    with pytest.raises(DataError, match="pulses come at 30 Hz and frames at 60 Hz"):
        align(frame_s, np.arange(500) / 30)
    unrelated = np.cumsum(rng.uniform(0.8, 1.2, 500) / 60)
    with pytest.raises(DataError):
        align(np.cumsum(rng.uniform(0.8, 1.2, 500) / 60), unrelated)


def test_scatter_of_half_a_period_is_refused() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(np.full(600, 1 / 60))
    arrivals = np.sort(times + rng.uniform(0, 0.011, 600))
    with pytest.raises(DataError, match="scatter by 3"):
        align(arrivals, times, first_frame_pulse=0)


@pytest.mark.parametrize("times", [[0.0, 1.0], [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9], [0, 1, 2, np.nan, 4, 5, 6, 7, 8, 9]])
def test_times_that_cannot_be_are_refused(times: list[float]) -> None:
    good = np.arange(20.0)
    with pytest.raises(DataError, match="frames:"):
        align(np.array(times, float), good)
    with pytest.raises(DataError, match="pulses:"):
        align(good, np.array(times, float))


@pytest.mark.parametrize("anchor", [-1, 300, 10_000])
def test_an_anchor_that_is_not_there_is_refused(anchor: int) -> None:
    world = Recipe(16, drop_pulses=0.0).make()
    with pytest.raises(DataError, match="there are pulses 0 to"):
        align(world.frame_s, world.pulse_s, first_frame_pulse=anchor)


def test_a_drop_on_either_side_is_no_sign_of_a_common_cause() -> None:
    """One frame lost here, one pulse lost there: the shift that lays both gaps upon each other is wrong."""
    rng = np.random.default_rng(17)
    times = np.arange(180) / 25
    frame_s = np.delete(times + rng.uniform(-4e-7, 4e-7, 180), 60)
    pulse_s = np.delete(100 + times + rng.uniform(-4e-7, 4e-7, 180), 90)
    with pytest.raises(DataError, match="more than one way"):
        align(frame_s, pulse_s)


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_a_code_that_comes_again_is_not_taken_for_another_of_its_comings(seed: int) -> None:
    """At a wrong shift more of the two trains overlaps than at the true one, and all of it fits."""
    n = 90 + 2 * seed
    recipe = Recipe(seed, train="code", n=n, drop_frames=0.0, drop_pulses=0.0, late=(0.3, 0.0), early=(0.0, 0.3))
    world = recipe.make()
    with pytest.raises(DataError, match="more than one way"):
        align(world.frame_s, world.pulse_s)
