"""Options of the monitor page; they stand in the rig file under ``monitor``."""

import ipaddress

from pydantic import Field, field_validator

from ...sync.strict import StrictModel


class MonitorConfig(StrictModel):
    """The page that shows a run in a browser.

    Attributes:
        enabled: serve it.
        host: loopback addresses only; the page has no login.
        port: 0: any free port.
        tile_width: pixels of each view on the page.
        tile_rate_hz: pictures per second and view.
        jpeg_quality: 1 to 95.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    tile_width: int = Field(default=320, ge=32, le=1920)
    tile_rate_hz: float = Field(default=10.0, gt=0, le=60)
    jpeg_quality: int = Field(default=70, ge=1, le=95)

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, host: str) -> str:
        cure = "use 127.0.0.1, and from another machine `ssh -L 8765:127.0.0.1:8765 RIG`"
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError as error:
            raise ValueError(f"{host!r} is not an address; {cure}") from error
        if not address.is_loopback:
            raise ValueError(f"{host}: the page has no login and is served on loopback only; {cure}")
        return host
