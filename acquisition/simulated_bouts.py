"""How behaviours follow each other in every simulated animal, and how each sets in and dies away."""

from collections.abc import Mapping

import numpy as np


def next_behavior(transitions: Mapping[str, Mapping[str, float]], behavior: str, rng: np.random.Generator) -> str:
    """Draw what comes after ``behavior``; ``transitions`` has P(next | this one)."""
    following = transitions[behavior]
    return str(rng.choice(list(following), p=list(following.values())))


def ease(u: float) -> float:
    """0 to 1 as ``u`` goes from 0 to 1, without a jump of speed at either end; held outside."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3.0 - 2.0 * u)
