"""Time between hosts, in the rig file."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from ..sync.strict import StrictModel

TcpAddress = Annotated[str, StringConstraints(pattern=r"^tcp://[^\s/]+:\d{1,5}$")]


class TimeConfig(StrictModel):
    """Whom this rig's clock is held against.

    Attributes:
        source: ``exchange``: nothing is believed; other hosts measure by exchanging messages. ``chrony`` or ``ptp``:
            what that daemon says of this host's clock is believed, published, and required at the start.
        serve: address at which other hosts may ask for rig time.
        follow: address of another rig's time server; how this rig's time relates to it is published.
        server: name of that rig's keys, where the allow-list holds several.
        rate_hz: questions per second to it.
        max_offset_us: with ``chrony`` or ``ptp``: further off than this is an alarm.
    """

    source: Literal["exchange", "chrony", "ptp"] = "exchange"
    serve: TcpAddress | None = None
    follow: TcpAddress | None = None
    server: str | None = None
    rate_hz: float = Field(default=2.0, ge=1.0, le=4.0)
    max_offset_us: float = Field(default=1000.0, gt=0)
