"""Random numbers of a rule: each is a pure function of seed, rule, purpose and trial.

No generator is carried along, so that the number of trials is its whole state, and every draw of a session can be
repeated from its recording alone: `uniform` is the 53 top bits of the first eight bytes, low byte first, of the BLAKE2b
hash of ``seed/rule/purpose/trial``.
"""

from hashlib import blake2b
from typing import Final

from .config import RuleConfig

_TOP_53: Final = 11


def uniform(seed: int, rule: str, purpose: str, trial: int) -> float:
    """A number of [0, 1), the same for the same arguments on every machine."""
    digest = blake2b(f"{seed}/{rule}/{purpose}/{trial}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> _TOP_53) * 2.0**-53


class Chance:
    """The draws of one rule. Stateless.

    Args:
        config: its seed must be set where it draws.
        first_trial: number of the first trial; blocks begin there.
    """

    def __init__(self, config: RuleConfig, first_trial: int) -> None:
        self._rule = config.name
        self._seed = config.seed or 0
        self._jitter_ms = config.jitter_ms
        self._sham = config.sham
        self._first = first_trial

    def jitter_ms(self, trial: int) -> float:
        """What comes on top of the delay at this trial, milliseconds."""
        return self._jitter_ms * uniform(self._seed, self._rule, "jitter", trial) if self._jitter_ms else 0.0

    def is_sham(self, trial: int) -> bool:
        """Whether nothing acts at this trial."""
        sham = self._sham
        if sham is None:
            return False
        if sham.block is None:
            return uniform(self._seed, self._rule, "sham", trial) < sham.fraction
        begin = trial - (trial - self._first) % sham.block
        block = range(begin, begin + sham.block)
        drawn = sorted(block, key=lambda one: (uniform(self._seed, self._rule, "sham", one), one))
        return trial in drawn[: round(sham.fraction * sham.block)]
