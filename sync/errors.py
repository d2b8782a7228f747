"""Every error that ethostream raises on purpose.

EthostreamError
├── ConfigError              a file or option that the user wrote is wrong
├── ClockError               a time that cannot be
├── BusError
│   ├── AddressError         port in use, or an address that is refused
│   ├── KeysError            CURVE keys that are missing, unreadable or open to others
│   ├── WireError            malformed, truncated, oversized or wrong-version message
│   ├── SharedMemoryError    a ring does not fit into /dev/shm, or cannot be attached
│   └── FrameOverwrittenError  a slot was written again while it was read
├── CameraError
│   ├── CameraOpenError      not there, not readable, wrong format
│   ├── CameraLostError      stopped delivering
│   ├── TriggerError         the trigger board is not there, lies or fell silent
│   └── CalibrationError     too few views, a board that does not fit, or a file that is no calibration
├── VideoError               a video file that cannot be read or written
├── BundleError
│   ├── BundleHashError      a file differs from its hash in the manifest
│   ├── ParityError          outputs differ from those stored with the model
│   ├── LookAheadError       the model needs frames of the future
│   ├── ScoreLossError       a quantised model is worse than was allowed
│   └── ProviderError        the execution provider asked for is not the one that runs
├── RecordingError
│   ├── RecordingTornError   not closed cleanly
│   ├── DiskFullError        no space left for video
│   ├── UndeclaredLossError  frames are missing and nothing says why
│   └── ReplayDiffersError   the same model on the same frames said something else
├── ReportError              a result that cannot be written
├── DataError                labels, pose or splits that do not fit
├── ActuatorError            an output that is not there, fails, or contradicts itself
└── NodeError                a process of the rig failed

A message names the thing, the value and the cure. ``exit_code`` is what the command line returns for the class.
"""


class EthostreamError(Exception):
    """Base of all. ``exit_code`` is the process exit status that the command line uses for it."""

    exit_code: int = 1


class ConfigError(EthostreamError):
    exit_code = 2


class ClockError(EthostreamError):
    exit_code = 3


class BusError(EthostreamError):
    exit_code = 4


class AddressError(BusError):
    pass


class KeysError(BusError):
    pass


class WireError(BusError):
    pass


class SharedMemoryError(BusError):
    pass


class FrameOverwrittenError(BusError):
    pass


class CameraError(EthostreamError):
    exit_code = 5


class CameraOpenError(CameraError):
    pass


class CameraLostError(CameraError):
    pass


class TriggerError(CameraError):
    pass


class CalibrationError(CameraError):
    pass


class VideoError(EthostreamError):
    exit_code = 6


class BundleError(EthostreamError):
    exit_code = 7


class BundleHashError(BundleError):
    pass


class ParityError(BundleError):
    pass


class LookAheadError(BundleError):
    pass


class ScoreLossError(BundleError):
    pass


class ProviderError(BundleError):
    pass


class RecordingError(EthostreamError):
    exit_code = 8


class RecordingTornError(RecordingError):
    pass


class DiskFullError(RecordingError):
    pass


class UndeclaredLossError(RecordingError):
    pass


class ReplayDiffersError(RecordingError):
    pass


class ReportError(EthostreamError):
    exit_code = 1


class DataError(EthostreamError):
    exit_code = 9


class ActuatorError(EthostreamError):
    exit_code = 11


class NodeError(EthostreamError):
    exit_code = 10
