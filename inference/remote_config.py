"""A model on another host, in the rig file."""

from ..streaming.time_config import TcpAddress
from ..sync.strict import StrictModel


class RemoteModelConfig(StrictModel):
    """Where the crops go, and where the model's answers come from.

    Attributes:
        crops: address of this host at which the crops are published.
        model: address of the other host at which its model publishes.
        host: name of that host's keys, where the allow-list holds several.
    """

    crops: TcpAddress
    model: TcpAddress
    host: str | None = None
