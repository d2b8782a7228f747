"""Streams of behaviour for the tests of rules, and rules of every kind to run on them."""

from random import Random
from typing import Any

from ethostream.inference.rules.arming_config import ArmingConfig
from ethostream.inference.rules.config import RuleConfig
from ethostream.inference.rules.engine import Rules
from ethostream.inference.rules.zones import BoxMmConfig, BoxPxConfig
from ethostream.streaming.messages import AnimalTrack, Behavior, Box, Decision, SourceFrame, SyncPulse, Tracks
from hypothesis import strategies as st

CLASSES = ["still", "groom", "rear"]
MS = 1_000_000
S = 1_000 * MS
Event = Behavior | Tracks | SyncPulse | tuple[bool, int]
"""What the engine is told, in order; a pair is a person who arms or disarms at a time."""
RULE = RuleConfig(name="puff", on_enter="groom", actuator="valve", refractory_ms=500.0, max_age_ms=50.0)
"""Its limits are what the tests of one rule count on."""


def behavior(label: str, t_ms: float = 0, **changes: Any) -> Behavior:
    """One answer of a model, exposed at ``t_ms`` and decided 9 ms later."""
    t_ns = round(t_ms * MS)
    fields: dict[str, Any] = {
        "set_id": round(t_ms),
        "status": "complete",
        "sources": (SourceFrame("cam0", 0, 1, t_ns, 1000, t_ns),),
        "missing": (),
        "bundle": "tiny@0",
        "p": (0.1, 0.8, 0.1),
        "raw": "groom",
        "label": label,
        "label_since_ns": t_ns,
        "n_skipped": 0,
        "gap_frames": 0,
        "warm": True,
        "boxes": (Box("cam0", 10, 10, 20, 20, True),),
        "t_exposure_ns": t_ns,
        "t_received_ns": t_ns + 5 * MS,
        "t_taken_ns": t_ns + 5 * MS,
        "t_cropped_ns": t_ns + 6 * MS,
        "t_embedded_ns": t_ns + 7 * MS,
        "t_head_ns": t_ns + 8 * MS,
        "t_decided_ns": t_ns + 9 * MS,
        "classes": tuple(CLASSES),
    }
    return Behavior(**(fields | changes))


def tracks(t_ms: float, x: float, y: float = 50.0, *, valid: bool = True) -> Tracks:
    """One animal at (x, y, 20) mm."""
    animal = AnimalTrack(0, (x, y, 20.0), (0.0, 0.0, 0.0), 3, 0.5, (), valid)
    return Tracks(round(t_ms), round(t_ms * MS), (animal,))


def pulse(t_ms: float, line: str = "in0", *, rising: bool = True, n_lost: int = 0) -> SyncPulse:
    """An edge of the board, and how many messages of it were lost before."""
    return SyncPulse("board", 0, line, 0, round(t_ms * 1000), round(t_ms * MS), rising, n_lost)


ZONES = {
    "nest": BoxMmConfig(x_mm=(0.0, 100.0), y_mm=(0.0, 100.0)),
    "left": BoxPxConfig(view="cam0", x_px=(0.0, 50.0), y_px=(0.0, 50.0)),
}
LIMITS: dict[str, Any] = {
    "refractory_ms": 150.0,
    "max_count": 25,
    "max_per_min": 12,
    "max_duty": {"share": 0.1, "over_s": 5.0, "pulse_ms": 50.0},
    "max_age_ms": 50.0,
    "delay_ms": 20.0,
    "jitter_ms": 300.0,
    "seed": 5,
    "sham": {"fraction": 0.3},
    "max_gap_frames": 2,
}
TRIGGERS: dict[str, dict[str, Any]] = {
    "enter": {"on_enter": "groom"},
    "enter_after": {"on_enter": {"behavior": "groom", "after_ms": 90}},
    "exit": {"on_exit": "groom", "when": {"dwell": {"min_ms": 60}}},
    "lasting": {"on_while": {"behavior": "groom", "every_ms": 70}, "when": {"zones": [{"zone": "nest"}]}},
    "sequence": {
        "on_sequence": {"steps": [{"behavior": "still"}, {"behavior": "groom", "within_ms": 400}]},
        "when": {"rules": [{"rule": "enter", "not_within_ms": 200}]},
    },
    "rate": {"on_rate": {"behavior": "rear", "n": 3, "within_s": 2}, "when": {"zones": [{"zone": "left"}]}},
    "times": {"on_times": {"session_s": [0.2, 0.21, 0.6, 1.5, 3.0]}, "when": {"session": {"from_s": 0.25}}},
    "sure": {"on_enter": "rear", "when": {"probability": {"min": 0.5}, "label": ["rear"]}},
}
"""One rule of each kind, each with every limit."""
ARMING = ArmingConfig.model_validate(
    {"windows": [{"from_s": 0.1, "to_s": 2.0}, {"from_s": 2.5}], "line": {"kind": "level", "line": "in0"}}
)


def rule(**changes: Any) -> RuleConfig:
    """A rule without limits, but for what is given."""
    return RuleConfig.model_validate({"name": "puff", "actuator": "valve", **changes})


def bouts(*parts: tuple[str, int], step_ms: int = 10) -> list[Behavior]:
    """Behaviours of so many ms each, one step every ``step_ms``."""
    found: list[Behavior] = []
    t_ms = 0
    for label, length_ms in parts:
        found += [behavior(label, t_ms + k * step_ms, label_since_ns=t_ms * MS) for k in range(length_ms // step_ms)]
        t_ms += length_ms
    return found


def reasons(rules: Rules, stream: list[Behavior]) -> list[tuple[int, str, str]]:
    """(set, action, reason) of every decision over a stream."""
    return [(one.set_id, one.action, one.reason) for each in stream for one in rules.step(each)]


def all_rules(**changes: Any) -> list[RuleConfig]:
    """A rule of every kind."""
    return [
        RuleConfig.model_validate({"name": name, "actuator": "valve", **LIMITS, **trigger, **changes})
        for name, trigger in TRIGGERS.items()
    ]


def engine(*, armed: bool = True, arming: ArmingConfig | None = None, **changes: Any) -> Rules:
    """All of them at work."""
    rules = Rules(all_rules(**changes), CLASSES, armed, zones=ZONES, arming=arming)
    rules.begin(0)
    return rules


def tell(rules: Rules, event: Event) -> list[Decision]:
    """One event; the decisions that follow."""
    if isinstance(event, Behavior):
        return rules.step(event)
    if isinstance(event, Tracks):
        rules.tracked(event)
    elif isinstance(event, SyncPulse):
        rules.pulse(event)
    else:
        rules.set_armed(event[0], "person", event[1])
    return []


def stream(seed: int, n: int, faults: float = 0.3, jumps: float = 0.0) -> list[Event]:
    """Behaviour that changes at nearly every step, with gaps, partial, stale and cold sets, tracks, pulses, a person.

    Args:
        seed: of everything.
        n: steps.
        faults: share of steps that are not to be trusted, or stand for a person or an edge.
        jumps: share of steps that come seconds after the one before.
    """
    random = Random(seed)
    events: list[Event] = []
    t_ms, since_ms, label = 0.0, 0.0, ""
    kinds = ["gap", "partial", "stale", "cold", "person", "line"]
    for _ in range(n):
        t_ms += random.randint(1000, 20_000) if random.random() < jumps else random.randint(5, 60)
        kind = random.choice(kinds) if random.random() < faults else "good"
        changes: dict[str, Any] = {"t_decided_ns": round((t_ms + random.randint(5, 45)) * MS)}
        if kind == "person":
            events.append((random.random() < 0.7, round(t_ms * MS)))
            continue
        if kind == "line":
            events.append(pulse(t_ms, random.choice(["in0", "trigger"]), rising=random.random() < 0.8))
            continue
        if random.random() < 0.6:
            label, since_ms = random.choice(CLASSES), t_ms
        if kind == "gap":
            missed = random.randint(1, 5)
            changes |= {"gap_frames": missed, "reset": missed > 3, "warm": missed <= 3}
        elif kind == "partial":
            changes |= {"status": "partial", "missing": ("cam1",)}
        elif kind == "stale":
            changes = {"t_decided_ns": round((t_ms + 51) * MS)}
        elif kind == "cold":
            changes |= {"warm": False}
        changes["boxes"] = (Box("cam0", random.choice([0, 0, 40]), 0, 20, 20, random.random() < 0.9),)
        changes["p"] = random.choice([(0.1, 0.8, 0.1), (0.2, 0.2, 0.6)])
        events.append(behavior(label, t_ms, label_since_ns=round(since_ms * MS), **changes))
        if random.random() < 0.7:
            events.append(tracks(t_ms, random.choice([50.0, 50.0, 150.0]), valid=random.random() < 0.9))
    return events


def streams() -> st.SearchStrategy[list[Event]]:
    """Streams of every length and trust."""
    return st.builds(
        stream, st.integers(0, 2**32), st.integers(1, 150), st.sampled_from([0.1, 0.4]), st.sampled_from([0.0, 0.05])
    )
