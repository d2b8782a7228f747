"""Worlds of one camera with a clock of its own, generated from a seed: what a fit is given, and the truth of it."""

from dataclasses import dataclass, field

import numpy as np
from ethostream.sync.tick_fit import TickFit
from ethostream.sync.tick_window import window_frames
from numpy.typing import NDArray
from world_score import WorldScore

T0_NS = 1_700_000_000_000_000_000
RATES_HZ = (30.0, 50.0, 60.0, 100.0, 120.0, 200.0)
STAMP_NOISE_NS = 200_000.0
N_CLOCK_FAULTS = 2


@dataclass(frozen=True)
class Jump:
    """The device's clock jumps before the frame at place ``at`` of the arrays."""

    at: int
    kind: str
    by_ns: float


@dataclass(frozen=True)
class TickWorld:
    """Frames as they come, in order.

    Attributes:
        seed: it follows from this alone.
        rate_hz: of the camera.
        tick_hz: nominal rate of its clock.
        tick_bits: width of its counter.
        drift_ppm: how much faster the clock runs.
        transport_ns: least delay from the end of exposure.
        seq: frame numbers; what is missing was dropped.
        ticks: stamps, noise and wraps included.
        true_ticks: what the clock truly read at the start of exposure, in the same wrap as the stamp.
        t_true_ns: start of exposure, rig time.
        exposure_ns: length of exposure.
        t_arrival_ns: arrival at the host.
        jumps: steps and resets.
        stalled: places of frames that a stalled host took late.
    """

    seed: int
    rate_hz: float
    tick_hz: float
    tick_bits: int
    drift_ppm: float
    transport_ns: int
    seq: list[int]
    ticks: list[int]
    true_ticks: list[int]
    t_true_ns: list[int]
    exposure_ns: list[int]
    t_arrival_ns: list[int]
    jumps: list[Jump]
    stalled: list[int]


def tick_world(seed: int, n_frames: int = 2400, stamp_noise_ns: float = STAMP_NOISE_NS) -> TickWorld:
    """One world: rate, drift to 200 ppm, queues to a third of a period, and every fault that a clock or a host has."""
    rng = np.random.default_rng(seed)
    rate_hz = float(rng.choice(RATES_HZ))
    period_ns = 1e9 / rate_hz
    drift = rng.uniform(-200e-6, 200e-6)
    tick_hz = float(rng.choice([1e9, 125e6, 1e6]))
    tick_bits = int(rng.choice([64, 64, 64, 48, 32])) if tick_hz != 1e9 else 64
    at_ns = np.arange(n_frames) * period_ns + rng.uniform(0.0, period_ns)
    jumps, clock_ns = _clock(rng, at_ns, period_ns, drift, tick_bits, tick_hz)
    exposure_ns = _exposures(rng, n_frames, period_ns)
    transport_ns = int(rng.uniform(0.0, 2.0 * period_ns))
    arrival_ns = at_ns + exposure_ns + transport_ns + _queue(rng, n_frames, period_ns / 3.0)
    dropped = rng.random(n_frames) < rng.choice([0.0, 0.002, 0.02])
    for _ in range(rng.integers(0, 3)):
        first = rng.integers(0, n_frames)
        dropped[first : first + rng.integers(2, 60)] = True
    stalled = np.zeros(n_frames, bool)
    for _ in range(rng.integers(0, 4)):
        begins = at_ns[rng.integers(0, n_frames)]
        ends = begins + rng.uniform(0.05e9, 2.5e9)
        held = (arrival_ns > begins) & (arrival_ns < ends)
        stalled |= held
        arrival_ns = np.where(held, ends + np.cumsum(held) * 40_000.0, arrival_ns)
    arrival_ns = np.maximum.accumulate(arrival_ns)
    noise_ns = rng.normal(0.0, stamp_noise_ns, n_frames) if stamp_noise_ns else np.zeros(n_frames)
    # One stamp in a while is nonsense: a corrupt chunk.
    noise_ns += np.where(rng.random(n_frames) < 0.0003, rng.choice([-1.0, 1.0], n_frames) * 0.4 * period_ns, 0.0)
    keep = np.flatnonzero(~dropped)
    clock_ns = clock_ns[keep]
    whole = 1 << tick_bits
    true_ticks = _integers(clock_ns * (tick_hz / 1e9))
    ticks = _integers((clock_ns + noise_ns[keep]) * (tick_hz / 1e9))
    place = np.searchsorted(keep, [jump.at for jump in jumps])
    return TickWorld(
        seed,
        rate_hz,
        tick_hz,
        tick_bits,
        drift * 1e6,
        transport_ns,
        (keep + int(rng.integers(0, 1000))).tolist(),
        [one % whole for one in ticks],
        [one % whole for one in true_ticks],
        [T0_NS + one for one in _integers(at_ns[keep])],
        _integers(exposure_ns[keep]),
        [T0_NS + one for one in _integers(arrival_ns[keep])],
        [Jump(int(at), jump.kind, jump.by_ns) for at, jump in zip(place, jumps, strict=True)],
        np.flatnonzero(stalled[keep]).tolist(),
    )


def _integers(values: NDArray[np.float64]) -> list[int]:
    return np.rint(values).astype(np.int64).tolist()


def _clock(
    rng: np.random.Generator, at_ns: NDArray[np.float64], period_ns: float, drift: float, bits: int, tick_hz: float
) -> tuple[list[Jump], NDArray[np.float64]]:
    """The device's clock at each exposure, with up to `N_CLOCK_FAULTS` jumps, an eighth of the world apart or so."""
    n = len(at_ns)
    wander = np.cumsum(rng.normal(0.0, 2e-10, n)) * period_ns  # a crystal in a room: some hundredths of a ppm a minute
    clock_ns = at_ns * (1.0 + drift) + np.cumsum(wander)
    # As much uptime as float64 keeps to a nanosecond, and as much as makes a short counter wrap in this world.
    clock_ns += rng.uniform(1e9, 1e14) if bits == 64 else ((1 << bits) / tick_hz * 1e9) - rng.uniform(0.0, at_ns[-1])
    jumps: list[Jump] = []
    if rng.random() < 0.5:
        places = rng.choice(np.arange(n // 8, n - 40, n // 8), rng.integers(1, N_CLOCK_FAULTS + 1), replace=False)
        for at in sorted(places):
            first = int(at) + int(rng.integers(0, 30))
            if rng.random() < 0.4:
                by_ns, kind = -float(clock_ns[first]) + rng.uniform(0.0, 1e9), "reset"
            else:
                # A short counter hides jumps of about its whole range; steps here stay well below that.
                largest = min(1e12, 0.2 * (1 << bits) / tick_hz * 1e9)
                by_ns = float(np.exp(rng.uniform(np.log(5e6), np.log(largest)))) * rng.choice([-1.0, 1.0])
                by_ns, kind = max(by_ns, 1.0 - float(clock_ns[first])), "step"
            range_ns = (1 << bits) / tick_hz * 1e9
            if abs((by_ns + range_ns / 2) % range_ns - range_ns / 2) < 5e6:
                continue  # a short counter begun anew just where it would have wrapped: nobody could tell
            clock_ns[first:] += by_ns
            jumps.append(Jump(first, kind, by_ns))
    return jumps, clock_ns


def _exposures(rng: np.random.Generator, n: int, period_ns: float) -> NDArray[np.float64]:
    exposure = np.full(n, rng.uniform(0.02, 0.5) * period_ns)
    if rng.random() < 0.3:
        exposure[rng.integers(0, n) :] = rng.uniform(0.02, 0.5) * period_ns
    return np.rint(exposure / 1000.0) * 1000.0


def _queue(rng: np.random.Generator, n: int, most_ns: float) -> NDArray[np.float64]:
    """What queues add, at most ``most_ns``: evenly spread, mostly short, or seldom quite without any."""
    shape = rng.integers(0, 3)
    if shape == 0:
        return rng.uniform(0.0, most_ns, n)
    if shape == 1:
        return np.minimum(rng.exponential(most_ns / 5.0, n), most_ns)
    return np.minimum(rng.gamma(2.0, most_ns / 10.0, n), most_ns)


DETECTED_WITHIN = 10
"""Frames within which a jump of the device's clock must be declared."""
LEARNT_WITHIN, PACE_DOUBT = 32, 0.05
"""Frames of a fit that has just begun, in which a jump of less than a period, and less than this share of what was
dropped before it, may pass as the camera's own pace."""
_EVERY = 5


@dataclass
class TickScore(WorldScore):
    """What became of one world or many.

    Attributes:
        jumps: steps and resets that were there.
        missed: of these, not declared within `DETECTED_WITHIN` frames.
        false_steps: declared where there was none.
        backwards: times that did not rise while the fit was locked.
        leaps: corrections of the line faster than it may slew, while the fit was locked.
        error_ns: of the line, at the true tick value, sampled while locked.
        frame_error_ns: the same at the stamp that the device gave.
        lock_frames, lock_s: frames and seconds until a fit locked.
    """

    jumps: int = 0
    missed: int = 0
    false_steps: int = 0
    backwards: int = 0
    leaps: int = 0
    never_locked: int = 0
    error_ns: list[int] = field(default_factory=list)
    frame_error_ns: list[int] = field(default_factory=list)
    lock_frames: list[int] = field(default_factory=list)
    lock_s: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.missed or self.false_steps or self.backwards or self.leaps)


def play(world: TickWorld) -> TickScore:
    """Give a world to a fit, frame by frame, and score what it says."""
    fit = TickFit(world.tick_hz, world.transport_ns, world.tick_bits, window_frames(world.rate_hz))
    score = TickScore(worlds=1, frames=len(world.seq), jumps=len(world.jumps))
    declared: list[int] = []
    locked, last_ns, last_error = False, 0, 0
    w = world
    rows = zip(w.seq, w.ticks, w.true_ticks, w.t_true_ns, w.exposure_ns, w.t_arrival_ns, strict=True)
    for place, (seq, ticks, true_ticks, t_true_ns, exposure_ns, t_arrival_ns) in enumerate(rows):
        if fit.add(seq, ticks, exposure_ns, t_arrival_ns):
            declared.append(place)
        if fit.state != "locked" or fit.suspicious:
            locked = locked and fit.state == "locked"
            continue
        if not locked:
            score.lock_frames.append(fit.n_frames_to_lock)
            score.lock_s.append(fit.ns_to_lock / 1e9)
        if place % _EVERY and locked:
            continue
        t_ns = fit.at(true_ticks)
        error = t_ns - t_true_ns
        if locked:
            score.backwards += t_ns <= last_ns
            # The line may be corrected by 500 ppm, and turn by as much as its drift was wrong.
            score.leaps += abs(error - last_error) > 1000 + (t_ns - last_ns) * 700e-6
        score.error_ns.append(error)
        score.frame_error_ns.append(fit.at(ticks) - t_true_ns)
        locked, last_ns, last_error = True, t_ns, error
    left = list(declared)
    for before, jump in zip([None, *world.jumps], world.jumps, strict=False):
        found = [place for place in left if 0 <= place - jump.at < DETECTED_WITHIN]
        left = [place for place in left if place not in found[:1]]
        score.missed += not found and _must_be_found(world, jump, before)
    score.false_steps = len(left)
    score.never_locked = not score.lock_frames
    if not score.clean:
        score.failed_seeds.append(world.seed)
    return score


def _must_be_found(world: TickWorld, jump: Jump, before: Jump | None) -> bool:
    since = jump.at - (before.at if before else 0)
    if before and since < DETECTED_WITHIN:
        return False  # what was dropped between them makes one of two
    if jump.at + DETECTED_WITHIN > len(world.seq):
        return False  # the world ends
    if since >= LEARNT_WITHIN + (DETECTED_WITHIN if before else 0):
        return True
    n_periods = world.seq[jump.at] - world.seq[jump.at - 1] if jump.at else 1
    return abs(jump.by_ns) >= (1.0 + PACE_DOUBT * n_periods) * 1e9 / world.rate_hz
