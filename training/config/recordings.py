"""The training file's entries under ``data``: recordings of video or of keypoints with their labels; simulated ones."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...inference.manifest import Name
from ...sync.strict import StrictModel
from ..label_files.label_file import FrameConvention, LabelKind
from ..splits import Part


class RaterLabels(StrictModel):
    """The labels of another rater; a path alone means that file, its format recognised and its only stream.

    Attributes:
        labels: the label file, which may be that of the recording itself, with another stream.
        label_kind, frames, stream, behaviors: as for the recording's own labels; nothing of these is taken from there.
    """

    labels: Path
    label_kind: LabelKind | None = None
    frames: FrameConvention | None = None
    stream: str | None = None
    behaviors: list[str] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"labels": value} if isinstance(value, str | Path) else value


class LabelledData(StrictModel):
    """What entries of recordings with label files have in common.

    Attributes:
        name: of the recording; the default is the file name without its ending.
        labels: the label file; relative paths start at the data folder.
        label_kind: its format (`label_files`); None: recognised by its content.
        frames: how it counts frames, where the format leaves that open; None: as its format does.
        stream: which of several streams of labels in it; None: the only one, or, of a file with one label per
            recording, that of this name.
        behaviors: the columns that are behaviours, for SimBA's CSV; None: as its project says.
        compare: labels of other raters by name: scored against, never trained on.
        group: what the recording belongs to, such as an animal or a day.
        part: with ``split.by: recording``, the part that this recording belongs to.
    """

    name: Name | None = None
    labels: Path
    label_kind: LabelKind | None = None
    frames: FrameConvention | None = None
    stream: str | None = None
    behaviors: list[str] | None = Field(default=None, min_length=1)
    compare: dict[Name, RaterLabels] = Field(default_factory=dict)
    group: str | None = None
    part: Part | None = None


class VideoData(LabelledData):
    """One recording on disk.

    Attributes:
        path: one video; relative paths start at the data folder.
        views: several synchronised videos by camera name, instead of ``path``.
        pixel_format: as the rig's camera delivers it; ``mono8`` of a colour file is its luma plane.
    """

    kind: Literal["video"]
    path: Path | None = None
    views: dict[Name, Path] = Field(default_factory=dict)
    pixel_format: Literal["mono8", "bgr8"] = "mono8"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (not self.views):
            raise ValueError("give either 'path' (one video) or 'views' (camera: video), and not both")
        return self

    @property
    def videos(self) -> dict[str, Path]:
        """Camera name → path, as written."""
        return {"video": self.path} if self.path is not None else dict(self.views)

    @property
    def recording_name(self) -> str:
        """``name``, or the stem of the first video."""
        return self.name or next(iter(self.videos.values())).stem


class PoseData(LabelledData):
    """One recording of a tracker.

    Attributes:
        path: what DeepLabCut or SLEAP wrote; relative paths start at the data folder.
        video: the video that was tracked: only its frames are counted, and compared with the rows.
        rate_hz: frames per second; None: the file says.
        rate_assumed: nobody stated that rate: it is printed and recorded as an assumption.
    """

    kind: Literal["pose"]
    path: Path
    video: Path | None = None
    rate_hz: float | None = Field(default=None, gt=0.0)
    rate_assumed: bool = False

    @property
    def recording_name(self) -> str:
        """``name``, or the stem of the file."""
        return self.name or self.path.stem


class SimulatedData(StrictModel):
    """Sessions of the simulated mouse; each seed is one recording.

    Attributes:
        seeds: one session each.
        n_frames: per session.
        rate_hz: frames per second.
        views: how many of the eight cameras, or which; ``anywhere``: one camera per session, placed at random, from
            beside the cage to straight above it, near or far.
        behaviors: ``basic``; ``extended`` by rearing at a wall, turning and drinking, for views from ``anywhere``.
        width, height: of the images, pixels.
        noise: standard deviation of the sensor noise, grey levels.
        noise_everywhere: fresh noise in the whole image and not only around the animal.
        light_drift: relative amplitude of a slow change of the light.
        brightness: of the light, for views from ``anywhere``.
        negative: a light animal on dark ground, for views from ``anywhere``.
        group: what these sessions belong to.
        part: with ``split.by: recording``, the part that these sessions belong to.
    """

    kind: Literal["simulated"]
    name: Name = "simulated"
    seeds: list[int] = Field(min_length=1)
    n_frames: int = Field(ge=2)
    rate_hz: float = Field(default=30.0, gt=0.0)
    views: Annotated[int, Field(ge=1, le=8)] | Annotated[list[str], Field(min_length=1)] | Literal["anywhere"] = 8
    behaviors: Literal["basic", "extended"] = "basic"
    width: int = Field(default=640, ge=64)
    height: int = Field(default=480, ge=64)
    noise: float = Field(default=2.0, ge=0.0)
    noise_everywhere: bool = False
    light_drift: float = Field(default=0.0, ge=0.0, lt=1.0)
    brightness: float = Field(default=1.0, gt=0.0, le=4.0)
    negative: bool = False
    group: str | None = None
    part: Part | None = None

    @model_validator(mode="after")
    def _fits_its_views(self) -> Self:
        # A resolved file gives every key, as in the run folder.
        fields, names = type(self).model_fields, ("behaviors", "brightness", "negative")
        given = [name for name in names if getattr(self, name) != fields[name].default]
        if self.views != "anywhere" and given:
            raise ValueError(f"{', '.join(given)}: goes with views: anywhere")
        return self


DataEntry = Annotated[VideoData | SimulatedData | PoseData, Field(discriminator="kind")]
