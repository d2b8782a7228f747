"""Worlds of two to eight cameras, generated from a seed: frames as they arrive, and the truth of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ethostream.sync.frameset import ClosedSet, FrameSetAssembler
from world_score import WorldScore

PERIOD = 1_000_000
TOLERANCE = PERIOD // 4


class Frame(NamedTuple):
    """One delivery. ``rough``: its time is that of its arrival, since the camera's clock has just jumped."""

    camera: int
    instant: int
    copy: int
    epoch: int
    seq: int
    t_mid_ns: int
    t_arrival_ns: int
    trigger_id: int
    rough: bool


class Word(NamedTuple):
    """A camera is known to be gone, or to be back."""

    camera: int
    t_arrival_ns: int
    lost: bool


@dataclass
class SetWorld:
    """What an assembler is given; ``agreeing``: clocks agree, or ids do, so sets must be complete."""

    seed: int
    n_cameras: int
    n_instants: int
    deadline_ns: int
    with_ids: bool
    agreeing: bool
    events: list[Frame | Word]


@dataclass
class SetScore(WorldScore):
    """What became of one world or many."""

    sets: int = 0
    complete: int = 0
    mispaired: int = 0
    unaccounted: int = 0
    in_time: int = 0
    in_time_incomplete: int = 0
    past_deadline: int = 0

    @property
    def clean(self) -> bool:
        return not (self.mispaired or self.unaccounted or self.in_time_incomplete or self.past_deadline)


@dataclass
class _Mode:
    """How the cameras of a world agree, all in nanoseconds."""

    offset: float
    jitter: float
    exposure: float
    with_ids: bool
    agreeing: bool
    raw_steps: bool = False
    """A clock that jumps is believed at once. Nobody then tells where a camera belongs whose ids begin anew as well."""


def _mode(rng: np.random.Generator) -> _Mode:
    kind = rng.integers(0, 3)
    if kind == 0:  # without ids, clocks agree: two frames of one instant lie within the tolerance
        offset, jitter, exposure = rng.dirichlet((1.0, 1.0, 1.0)) * (TOLERANCE / 2 - 2)
        return _Mode(offset, jitter, exposure, False, True)
    if kind == 1:  # without ids, any two clocks differ by less than half a period: no set may mix instants
        offset, jitter, exposure = rng.dirichlet((3.0, 1.0, 1.0)) * (PERIOD / 4 - 2)
        return _Mode(offset, jitter, exposure, False, False)
    offset, raw_steps = float(rng.uniform(0.0, 3.0 * PERIOD)), bool(rng.random() < 0.3)
    return _Mode(offset, TOLERANCE / 8, TOLERANCE / 16, True, True, raw_steps)


def set_world(seed: int, n_instants: int = 0) -> SetWorld:
    """One world: some cameras agree by their clocks, some by trigger ids alone, and everything fails now and then."""
    rng = np.random.default_rng(seed)
    n_cameras = int(rng.integers(2, 9))
    mode = _mode(rng)
    # Ids of a camera that returns are aligned by what was learnt before: some dozen sets.
    n = n_instants or int(rng.integers(44 if mode.with_ids else 20, 61))
    # Shifted clocks are learnt from sets, so sets must come about where nothing else is known.
    deadline = int(rng.uniform(1.5 if mode.with_ids else 0.25, 3.0) * PERIOD)
    events: list[Frame | Word] = []
    for camera in range(n_cameras):
        events += _camera(rng, camera, n, mode)
    if rng.random() < 0.2:
        # The host itself stood still: whatever came meanwhile is taken at once, in any order.
        begins = rng.uniform(0.0, n * PERIOD)
        ends = begins + rng.uniform(1.0, 10.0) * PERIOD
        events = [one._replace(t_arrival_ns=int(ends)) if begins < one.t_arrival_ns < ends else one for one in events]
        rng.shuffle(events)  # pyright: ignore[reportArgumentType]
        # A camera that went and came back meanwhile is never known to have been gone.
        gone, back = (
            {one.camera: one.t_arrival_ns for one in events if isinstance(one, Word) and one.lost is lost}
            for lost in (True, False)
        )
        events = [one for one in events if isinstance(one, Frame) or gone.get(one.camera) != back.get(one.camera)]
    # Of what is taken at once a camera's return comes before its frames, and its end after them.
    events.sort(key=lambda one: (one.t_arrival_ns, 2 * one.lost if isinstance(one, Word) else 1))
    return SetWorld(seed, n_cameras, n, deadline, mode.with_ids, mode.agreeing, events)


def _camera(rng: np.random.Generator, camera: int, n: int, mode: _Mode) -> list[Frame | Word]:
    instants = np.arange(n)
    drift = rng.uniform(-200e-6, 200e-6)
    true = instants * float(PERIOD)
    stamp = true + true * drift + rng.uniform(-mode.offset, mode.offset) + rng.uniform(-mode.jitter, mode.jitter, n)
    if rng.random() < 0.3:  # a longer exposure from here on: its middle comes later
        stamp[rng.integers(0, n) :] += rng.uniform(-mode.exposure, mode.exposure)
    transport = rng.uniform(0.0, PERIOD)
    queue = rng.uniform(0.0, PERIOD / 3.0, n)
    arrival = true + transport + queue
    # Every fault in some of the worlds, several in most.
    dropped = rng.random(n) < (rng.choice([0.02, 0.2]) if rng.random() < 0.3 else 0.0)
    if rng.random() < 0.2:
        first = rng.integers(0, n)
        dropped[first : first + rng.integers(2, 12)] = True
    if rng.random() < 0.2:
        late = rng.random(n) < 0.1
        arrival = arrival + late * rng.uniform(0.0, 6.0 * PERIOD, n)
    if rng.random() < 0.2:
        arrival = arrival + (rng.random(n) < 0.1) * (PERIOD + 1000.0)  # behind its successor
    if rng.random() < 0.2:
        begins = rng.uniform(0.0, n * PERIOD)
        ends = begins + rng.uniform(1.0, 10.0) * PERIOD
        arrival = np.where((arrival > begins) & (arrival < ends), ends + instants * 50.0, arrival)
    epoch, first_of = np.zeros(n, np.int64), np.zeros(n, np.int64)
    rough = np.zeros(n, bool)
    words: list[Frame | Word] = []
    kind = rng.choice(["none", "none", "none", "unplug", "reset", "step"])
    if (mode.raw_steps and kind in ("unplug", "reset")) or (not mode.agreeing and kind == "step"):
        kind = "none"  # with the queues on top, clocks would differ by more than half a period
    at = int(rng.integers(n // 2, n - 4))
    if kind == "unplug":
        back = min(n, at + int(rng.integers(1, 20)))
        dropped[at:back] = True
        epoch[back:], first_of[back:] = 1, back
        gone = float(arrival[:at].max(initial=0.0))
        gone += rng.uniform(0.1, 2.0) * PERIOD
        if back < n:
            returns = int(arrival[back:].min()) - 1
            words.append(Word(camera, returns, False))
            gone = min(gone, returns - 1)
        words.append(Word(camera, int(gone), True))
    elif kind == "reset":
        epoch[at:], first_of[at:] = 1, at
    elif kind == "step":
        if mode.raw_steps:
            stamp[at:] += rng.uniform(-50.0, 50.0) * PERIOD
        else:
            # The jump was found and declared: until the fit is new, times are those of the arrival, queues and all.
            until = at + int(rng.integers(8, 30))
            stamp[at:until] = stamp[at:until] + queue[at:until]
            rough[at:until] = True
    duplicated = rng.random(n) < (0.1 if rng.random() < 0.3 else 0.0)
    again = arrival + rng.uniform(0.0, 3.0 * PERIOD, n)
    frames: list[Frame | Word] = []
    rows: tuple[list[int], ...] = (
        stamp.astype(np.int64).tolist(),
        arrival.astype(np.int64).tolist(),
        epoch.tolist(),
        (instants - first_of).tolist(),
        again.astype(np.int64).tolist(),
    )
    gone_list, twice, rough_list = dropped.tolist(), duplicated.tolist(), rough.tolist()
    for k, (t_mid, t_arrival, of, seq, t_again) in enumerate(zip(*rows, strict=True)):
        if gone_list[k]:
            continue
        one = Frame(camera, k, 0, of, seq, t_mid, t_arrival, seq if mode.with_ids else -1, rough_list[k])
        frames.append(one)
        if twice[k]:
            frames.append(one._replace(copy=1, t_arrival_ns=t_again))
    return frames + words


def play(world: SetWorld, check: Callable[[ClosedSet[Frame]], None] | None = None) -> SetScore:
    """Give a world to an assembler and score what comes out."""
    names = [f"cam{place}" for place in range(world.n_cameras)]
    assembler: FrameSetAssembler[Frame] = FrameSetAssembler(names, PERIOD, deadline_ns=world.deadline_ns)
    closed: list[ClosedSet[Frame]] = []
    score = SetScore(worlds=1)
    first: dict[int, dict[int, int]] = {}
    rough: set[int] = set()
    lost_from: dict[int, int] = {}
    lost_to: dict[int, int] = {}
    n_distinct = 0
    last_ns = 0
    for one in world.events:
        last_ns = one.t_arrival_ns
        if isinstance(one, Word):
            closed += assembler.set_lost(names[one.camera], one.lost)
            (lost_from if one.lost else lost_to).setdefault(one.camera, last_ns)
            continue
        score.frames += 1
        key = (one.epoch, one.seq, one.t_mid_ns)
        closed += assembler.add(names[one.camera], key, one.t_mid_ns, last_ns, one, one.trigger_id, one.epoch)
        arrivals = first.setdefault(one.instant, {})
        if one.camera not in arrivals:
            arrivals[one.camera] = last_ns
            n_distinct += 1
        if one.rough:
            rough.add(one.instant)
        due = assembler.next_deadline_ns()
        score.past_deadline += due is not None and due <= last_ns
    closed += assembler.tick(last_ns + world.deadline_ns)
    score.past_deadline += assembler.next_deadline_ns() is not None
    in_sets = 0
    seen: set[tuple[int, int]] = set()
    complete: set[int] = set()
    for one in closed:
        frames = [frame for frame in one.items if frame is not None]
        in_sets += len(frames)
        seen.update((frame.camera, frame.instant) for frame in frames)
        score.mispaired += len({frame.instant for frame in frames}) != 1
        score.mispaired += any(item is not None and item.camera != place for place, item in enumerate(one.items))
        if one.complete:
            complete.add(frames[0].instant)
        if check is not None:
            check(one)
    counts = assembler.counts
    score.sets, score.complete = len(closed), counts.complete
    score.unaccounted += abs(score.frames - in_sets - counts.frames_duplicate - counts.frames_late)
    score.unaccounted += abs(in_sets - counts.frames_complete - counts.frames_partial)
    score.unaccounted += abs(in_sets - len(seen))  # none in two sets
    score.unaccounted += abs(counts.frames_duplicate - (score.frames - n_distinct))
    if world.agreeing:
        for instant, arrivals in first.items():
            if len(arrivals) < world.n_cameras or instant in rough:
                continue
            begins, ends = min(arrivals.values()), max(arrivals.values())
            if any(begins <= lost_to.get(camera, ends) and lost_from[camera] <= ends for camera in lost_from):
                continue  # a camera that is known to be gone is not waited for
            if ends < begins + world.deadline_ns:
                score.in_time += 1
                score.in_time_incomplete += instant not in complete
    if not score.clean:
        score.failed_seeds.append(world.seed)
    return score
