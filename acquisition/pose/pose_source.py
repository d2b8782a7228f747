"""A file of keypoints as a live source: frame i when frame i would have been exposed."""

import logging
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...streaming.messages import Pose
from ...streaming.pose_format import PoseFormat, points_bytes
from ...streaming.topics import POSE
from ...streaming.wire import encode
from ...sync.clock import NS_PER_S, Clock
from ...sync.errors import ConfigError, WireError
from .config import PoseSourceConfig
from .pose_files import read_pose
from .pose_table import PoseTable

_MOST: Final = 2**63 - 1
"""The longest number on the wire."""

log = logging.getLogger(__name__)


class PoseFrame(NamedTuple):
    """One frame: its number, when it was exposed (rig time), and its points [animals, keypoints, 3]."""

    seq: int
    t_exposure_ns: int
    points: NDArray[np.float32]


class FilePoseSource:
    """Plays a `PoseTable` at its rate. One thread.

    Frame i is ``seq`` i and is exposed at the rig's common start plus i periods. A host that is late gives every frame,
    late, with its own time. Only a process that was started again passes over what lies before now: ``seq`` then
    begins there, and the recorder says how much the source was away.

    Args:
        name: of the source.
        config: its settings.
        clock: rig time.
        again: its process was started before in this session.

    Raises:
        ConfigError: see `format_of`.
        DataError: see `read_pose`.
    """

    def __init__(self, name: str, config: PoseSourceConfig, clock: Clock, *, again: bool = False) -> None:
        table = read_pose(config.path)
        self.format = format_of(name, config, table)
        places = [table.animals.index(one) for one in self.format.animals]
        self._points = table.points if config.animals is None else table.points[:, places]
        self._config = config
        self._name = name
        self._clock = clock
        self._again = again
        self._rate = Fraction(str(self.format.rate_hz)).limit_denominator(1_000_000)
        self._t_start_ns = 0
        self._seq = 0

    def start(self, t_start_ns: int) -> None:
        """Frame 0 is exposed at ``t_start_ns``."""
        self._t_start_ns = t_start_ns
        self._seq = 0
        late_ns = self._clock.now_ns() - t_start_ns
        if self._again and late_ns > 0:
            self._seq = late_ns * self._rate.numerator // (NS_PER_S * self._rate.denominator) + 1
            log.warning(
                "pose source %s: started again, and %d frames of its file are passed over", self._name, self._seq
            )

    def next_ns(self) -> int | None:
        """When the next frame is exposed; None: the file has ended."""
        if self._seq >= len(self._points) and not self._config.loop:
            return None
        return self._t_start_ns + self._seq * NS_PER_S * self._rate.denominator // self._rate.numerator

    def read(self) -> PoseFrame | None:
        """The next frame, whatever the time is; None: the file has ended."""
        t_exposure_ns = self.next_ns()
        if t_exposure_ns is None:
            return None
        seq, self._seq = self._seq, self._seq + 1
        return PoseFrame(seq, t_exposure_ns, self._points[seq % len(self._points)])


def format_of(name: str, config: PoseSourceConfig, table: PoseTable) -> PoseFormat:
    """What a source of these settings delivers.

    Raises:
        ConfigError: nobody says at which rate the frames come, an animal is named that is not there or twice, or the
            points of a frame are more than one message holds.
    """
    rate_hz = config.rate_hz or table.rate_hz
    if rate_hz is None:
        raise ConfigError(
            f"pose.{name}.rate_hz: {config.path} does not say how many frames per second it has; set it to the rate of "
            "its video"
        )
    animals = list(table.animals) if config.animals is None else config.animals
    have = ", ".join(table.animals)
    if absent := [one for one in animals if one not in table.animals]:
        raise ConfigError(
            f"pose.{name}.animals: {', '.join(absent)} is not in {config.path}, which has {have}; correct the name"
        )
    if twice := sorted({one for one in animals if animals.count(one) > 1}):
        raise ConfigError(f"pose.{name}.animals: {', '.join(twice)} stands there twice; name each animal once")
    form = PoseFormat(rate_hz=rate_hz, animals=animals, keypoints=list(table.keypoints))
    _check_fits(name, config, form)
    return form


def _check_fits(name: str, config: PoseSourceConfig, form: PoseFormat) -> None:
    """Better refused now than by the bus at the first frame, and at that of every process that is started again."""
    n_animals, n_keypoints = len(form.animals), len(form.keypoints)
    points = points_bytes(np.zeros((n_animals, n_keypoints, 3), np.float32))
    largest = Pose(name, _MOST, _MOST, _MOST, _MOST, tuple(form.animals), tuple(form.keypoints), points)
    try:
        encode(POSE, f"pose.{name}", _MOST, largest)
    except WireError as error:
        raise ConfigError(
            f"pose.{name}: {config.path} holds {n_animals} animals with {n_keypoints} keypoints, and a message of the "
            f"points of one frame {POSE.max_bytes} bytes at most; track it again, so that each animal is one track, or "
            "name the animals that are meant under pose.NAME.animals"
        ) from error
