"""Places in the cage: boxes and polygons, in millimetres of the calibrated cage or in pixels of one view."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel

Point = tuple[float, float]
Span = tuple[float, float]
Points = Annotated[tuple[Point, ...], Field(min_length=3, max_length=256)]


class BoxMmConfig(StrictModel):
    """A box in the world of the calibration.

    Attributes:
        x_mm, y_mm: from, to.
        z_mm: from, to; null: at any height.
    """

    kind: Literal["box_mm"] = "box_mm"
    x_mm: Span
    y_mm: Span
    z_mm: Span | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_span("x_mm", self.x_mm)
        _check_span("y_mm", self.y_mm)
        _check_span("z_mm", self.z_mm)
        return self

    def holds(self, x: float, y: float, z: float) -> bool:
        """Whether a position lies in it, the edges included."""
        (x0, x1), (y0, y1) = self.x_mm, self.y_mm
        return x0 <= x <= x1 and y0 <= y <= y1 and (self.z_mm is None or self.z_mm[0] <= z <= self.z_mm[1])


class PolygonMmConfig(StrictModel):
    """A prism over a polygon on the floor of the calibrated cage.

    Attributes:
        points_mm: corners (x, y), in order round it.
        z_mm: from, to; null: at any height.
    """

    kind: Literal["polygon_mm"] = "polygon_mm"
    points_mm: Points
    z_mm: Span | None = None

    @model_validator(mode="after")
    def _an_area(self) -> Self:
        _check_area("points_mm", self.points_mm)
        _check_span("z_mm", self.z_mm)
        return self

    def holds(self, x: float, y: float, z: float) -> bool:
        """Whether a position lies in it."""
        return inside(self.points_mm, x, y) and (self.z_mm is None or self.z_mm[0] <= z <= self.z_mm[1])


class BoxPxConfig(StrictModel):
    """A box in one view, pixels of the full frame from its upper left corner.

    Attributes:
        view: the view, one that the model sees.
        x_px, y_px: from, to.
    """

    kind: Literal["box_px"] = "box_px"
    view: str
    x_px: Span
    y_px: Span

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_span("x_px", self.x_px)
        _check_span("y_px", self.y_px)
        return self

    def holds(self, x: float, y: float) -> bool:
        """Whether a pixel lies in it, the edges included."""
        return self.x_px[0] <= x <= self.x_px[1] and self.y_px[0] <= y <= self.y_px[1]


class PolygonPxConfig(StrictModel):
    """A polygon in one view, pixels of the full frame.

    Attributes:
        view: the view, one that the model sees.
        points_px: corners (x, y), in order round it.
    """

    kind: Literal["polygon_px"] = "polygon_px"
    view: str
    points_px: Points

    @model_validator(mode="after")
    def _an_area(self) -> Self:
        _check_area("points_px", self.points_px)
        return self

    def holds(self, x: float, y: float) -> bool:
        """Whether a pixel lies in it."""
        return inside(self.points_px, x, y)


ZoneMmConfig = BoxMmConfig | PolygonMmConfig
ZonePxConfig = BoxPxConfig | PolygonPxConfig
ZoneConfig = Annotated[BoxMmConfig | PolygonMmConfig | BoxPxConfig | PolygonPxConfig, Field(discriminator="kind")]


def inside(points: Sequence[Point], x: float, y: float) -> bool:
    """Whether (x, y) lies in a polygon: a ray to the right crosses its edges an odd number of times."""
    odd = False
    x1, y1 = points[-1]
    for x2, y2 in points:
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            odd = not odd
        x1, y1 = x2, y2
    return odd


def _check_span(name: str, span: Span | None) -> None:
    if span is not None and span[0] >= span[1]:
        raise ValueError(f"{name}: {span[0]:g} to {span[1]:g} is empty; give the smaller number first")


def _check_area(name: str, points: Sequence[Point]) -> None:
    shifted = (*points[1:], points[0])
    twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, shifted, strict=True))
    if twice == 0:
        raise ValueError(f"{name}: the corners enclose no area; give at least three that do not lie on one line")
