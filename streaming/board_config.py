"""Where a microcontroller board is."""

from pydantic import Field

from ..sync.strict import StrictModel


class BoardConfig(StrictModel):
    """A microcontroller on a serial port that runs the sketch of ``deploy/firmware``.

    Attributes:
        port: of the operating system; a name under ``/dev/serial/by-id`` stays the same when boards are added.
        baud: bits per second; boards with USB of their own (Teensy) ignore it.
        open_timeout_s: how long the board may take to answer for the first time; boards that restart when their port
            is opened take two seconds.
    """

    port: str = Field(min_length=1)
    baud: int = Field(default=115_200, ge=9600, le=4_000_000)
    open_timeout_s: float = Field(default=5.0, gt=0, le=60)
