"""Lab Streaming Layer in the rig file: what is sent out, and which streams are recorded."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from ..sync.strict import StrictModel

StreamName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
# LSL asks for streams in XPath, where a quote would end the value.
Wanted = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^'\"]+$")]


class LslInletConfig(StrictModel):
    """Which stream to record; all that is given has to fit, and one stream alone may fit.

    Attributes:
        name, type, source_id: as the sender calls them; at least one.
        buffer_s: how much the library holds while this process is held up; where the stream has no rate, hundreds of
            samples.
    """

    name: Wanted | None = None
    type: Wanted | None = None
    source_id: Wanted | None = None
    buffer_s: int = Field(default=10, ge=1, le=360)

    @model_validator(mode="after")
    def _asks_for_something(self) -> "LslInletConfig":
        if self.name is None and self.type is None and self.source_id is None:
            raise ValueError("give name, type or source_id of the stream")
        return self

    @property
    def predicate(self) -> str:
        """The question in LSL's form."""
        asked = {"name": self.name, "type": self.type, "source_id": self.source_id}
        return " and ".join(f"{key}='{value}'" for key, value in asked.items() if value is not None)


class LslConfig(StrictModel):
    """What the rig sends and takes.

    Attributes:
        outlet: send behaviour, decisions and frame times.
        inlets: streams to record, by the name that they get in the recording.
    """

    outlet: bool = False
    inlets: dict[StreamName, LslInletConfig] = Field(default_factory=dict, max_length=16)
