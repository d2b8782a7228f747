"""A decision as other programs read it: one JSON object."""

import msgspec

from ...streaming.messages import Decision

_ENCODER = msgspec.json.Encoder()


def firing_json(decision: Decision, actuator: str) -> bytes:
    """Rule, behaviour and chain of times of a firing, UTF-8 without a line break."""
    return _ENCODER.encode(
        {
            "actuator": actuator,
            "rule": decision.rule,
            "trial": decision.trial,
            "behavior": decision.behavior,
            "p": round(decision.p, 6),
            "animal": decision.animal,
            "set_id": decision.set_id,
            "t_exposure_ns": decision.t_exposure_ns,
            "t_decided_ns": decision.t_decided_ns,
            "t_due_ns": decision.t_due_ns,
        }
    )
