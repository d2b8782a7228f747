"""Feature steps: small causal measures beside the embedding, with explicit state per view.

A step is named by name and version, and its code by a hash: a bundle that was trained with other code is refused. To
change what a step computes, add a class with the next version and keep the old one.
"""

import hashlib
import inspect
import io
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..sync.errors import BundleError
from ..sync.strict import StrictModel, validate
from .cropper import Crop, State
from .graph_spec import FeatureStepSpec, StateTensor
from .pixel_features import (
    MotionEnergy,
    MotionEnergyParameters,
    OpticalFlow,
    OpticalFlowParameters,
    PixelStep,
)


class BoxStep(Protocol):
    """One causal measure of one view, from its box. It holds no state itself, so one object serves all views."""

    name: str
    version: int

    @property
    def dims(self) -> int:
        """How many numbers it gives."""
        ...

    def initial(self) -> State:
        """The state before the first frame."""
        ...

    def step(self, state: State, crop: Crop, dt_s: float) -> tuple[State, NDArray[np.float32]]:
        """Next state and (dims,) values. ``dt_s`` is the time since the last step of this view in whole steps."""
        ...


FeatureStep = BoxStep | PixelStep
Advance = Callable[[State, Crop, NDArray[np.uint8], float], tuple[State, NDArray[np.float32]]]
"""State, box, its pixels (h, w) and the time since the last step → next state, values."""


class BoxMotionParameters(StrictModel):
    """``scales_s``: time constants of the smoothing, one set of outputs for each."""

    scales_s: list[float] = Field(default=[0.1, 0.5], min_length=1)


class BoxMotion:
    """How the animal's blob moves and looks, smoothed causally at every scale.

    Per scale, in this order: speed of its centre (sides of the box per second), size (square root of its area over the
    side), logarithm of its elongation, motion energy in the box (mean absolute difference of grey levels over 16).
    """

    name = "box_motion"
    version = 1
    n_measures = 4
    motion_unit = 16.0

    def __init__(self, parameters: BoxMotionParameters) -> None:
        self.parameters = parameters
        self._scales_s = np.array(parameters.scales_s, np.float64)

    @property
    def dims(self) -> int:
        return self.n_measures * len(self._scales_s)

    def initial(self) -> State:
        return {
            "center": np.zeros(2, np.float64),
            "smoothed": np.zeros((len(self._scales_s), self.n_measures), np.float64),
            "n_seen": np.zeros(1, np.float64),
        }

    def step(self, state: State, crop: Crop, dt_s: float) -> tuple[State, NDArray[np.float32]]:
        center = np.array([crop.center_x_px, crop.center_y_px], np.float64)
        first = state["n_seen"][0] == 0.0
        moved = 0.0 if first else float(np.hypot(*(center - state["center"])))
        now = np.array(
            [
                moved / crop.width_px / dt_s,
                np.sqrt(crop.area_px) / crop.width_px,
                np.log(crop.elongation),
                crop.motion / self.motion_unit,
            ],
            np.float64,
        )
        weight = np.ones((len(self._scales_s), 1)) if first else (1.0 - np.exp(-dt_s / self._scales_s))[:, None]
        smoothed = state["smoothed"] + weight * (now - state["smoothed"])
        after = {"center": center, "smoothed": smoothed, "n_seen": state["n_seen"] + 1.0}
        return after, smoothed.astype(np.float32).ravel()


class BoxVelocity:
    """Which way the animal's blob moves, smoothed causally at every scale.

    Per scale: velocity of its centre to the right and down the image (sides of the box per second). For a camera that
    stays where it is above a belt or a wheel: an animal that is carried along is told from one that walks.
    """

    name = "box_velocity"
    version = 1

    def __init__(self, parameters: BoxMotionParameters) -> None:
        self.parameters = parameters
        self._scales_s = np.array(parameters.scales_s, np.float64)

    @property
    def dims(self) -> int:
        return 2 * len(self._scales_s)

    def initial(self) -> State:
        return {
            "center": np.zeros(2, np.float64),
            "smoothed": np.zeros((len(self._scales_s), 2), np.float64),
            "n_seen": np.zeros(1, np.float64),
        }

    def step(self, state: State, crop: Crop, dt_s: float) -> tuple[State, NDArray[np.float32]]:
        center = np.array([crop.center_x_px, crop.center_y_px], np.float64)
        first = state["n_seen"][0] == 0.0
        now = np.zeros(2) if first else (center - state["center"]) / crop.width_px / dt_s
        weight = (1.0 - np.exp(-dt_s / self._scales_s))[:, None]
        smoothed = state["smoothed"] + weight * (now - state["smoothed"])
        after = {"center": center, "smoothed": smoothed, "n_seen": state["n_seen"] + 1.0}
        return after, smoothed.astype(np.float32).ravel()


class BoxPositionParameters(StrictModel):
    """``n_octaves``: sines and cosines of so many octaves beside the position itself."""

    n_octaves: int = Field(default=2, ge=0, le=6)


class BoxPosition:
    """Where the animal's blob is in the image.

    Its centre from the left and from above, in sides of the box; then, per octave k, sine and cosine of each of them
    at a wavelength of 8 / 2^k sides.
    """

    name = "box_position"
    version = 1

    def __init__(self, parameters: BoxPositionParameters) -> None:
        self.parameters = parameters
        self._turns = 2.0 * np.pi / 8.0 * 2.0 ** np.arange(parameters.n_octaves)[:, None]

    @property
    def dims(self) -> int:
        return 2 + 4 * self.parameters.n_octaves

    def initial(self) -> State:
        return {}

    def step(self, state: State, crop: Crop, dt_s: float) -> tuple[State, NDArray[np.float32]]:
        center = np.array([crop.center_x_px / crop.width_px, crop.center_y_px / crop.height_px])
        angle = (self._turns * center).ravel()
        return state, np.concatenate([center, np.sin(angle), np.cos(angle)]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Known:
    """A feature step of this version: how it is made, from which parameters, and what it is called with."""

    make: Callable[[Any], FeatureStep]
    parameters: type[StrictModel]
    of_pixels: bool = False


_KNOWN: Final[dict[tuple[str, int], _Known]] = {
    (BoxMotion.name, BoxMotion.version): _Known(BoxMotion, BoxMotionParameters),
    (BoxVelocity.name, BoxVelocity.version): _Known(BoxVelocity, BoxMotionParameters),
    (BoxPosition.name, BoxPosition.version): _Known(BoxPosition, BoxPositionParameters),
    (MotionEnergy.name, MotionEnergy.version): _Known(MotionEnergy, MotionEnergyParameters, of_pixels=True),
    (OpticalFlow.name, OpticalFlow.version): _Known(OpticalFlow, OpticalFlowParameters, of_pixels=True),
}
_SKIPPED: Final = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def make_feature_step(name: str, version: int, parameters: Mapping[str, Any]) -> FeatureStep:
    """A feature step by name and version.

    Raises:
        BundleError: this version of ethostream has no such step.
        ConfigError: parameters that it does not know.
    """
    known = _KNOWN.get((name, version))
    if known is None:
        have = ", ".join(f"{one} v{number}" for one, number in _KNOWN)
        raise BundleError(
            f"feature step {name} v{version} is not known here (known: {have}); install a newer ethostream"
        )
    return known.make(validate(known.parameters, dict(parameters), f"feature step {name}"))


OPENCV: Final = "opencv"
"""What computes the steps that read pixels; its versions 4 and 5 differ in them. A manifest names it so, whichever
distribution brings it."""
OPENCV_PACKAGE: Final = "opencv-python-headless"
"""The distribution that ethostream asks for, by which older manifests name it."""


def reads_pixels(spec: FeatureStepSpec) -> bool:
    """Whether a feature step looks at the crop itself, and not at the measures of its box alone."""
    return _KNOWN[spec.name, spec.version].of_pixels


def advance_of(step: FeatureStep) -> Advance:
    """A step that reads its box alone, and one that reads its pixels, called alike."""
    if _KNOWN[step.name, step.version].of_pixels:
        return cast(PixelStep, step).look
    of_box = cast(BoxStep, step)

    def advance(state: State, crop: Crop, pixels: NDArray[np.uint8], dt_s: float) -> tuple[State, NDArray[np.float32]]:
        return of_box.step(state, crop, dt_s)

    return advance


def spec_of(name: str, version: int, parameters: Mapping[str, Any]) -> FeatureStepSpec:
    """What the manifest says of a feature step; for bundles that are being written."""
    step, model = make_feature_step(name, version, parameters), _KNOWN[name, version].parameters
    state = [
        StateTensor(
            name=key, shape=list(value.shape), dtype="uint8" if value.dtype == np.uint8 else "float64", initial=0.0
        )
        for key, value in step.initial().items()
    ]
    given = validate(model, dict(parameters), f"feature step {name}").model_dump(mode="json")
    return FeatureStepSpec(
        name=name, version=version, hash=code_hash(type(step)), parameters=given, dims=step.dims, state=state
    )


def open_feature_steps(specs: list[FeatureStepSpec]) -> list[FeatureStep]:
    """The feature steps of a bundle, compared with the code that it was trained with.

    Raises:
        BundleError: a step is unknown, or its code is not the code of the training.
    """
    steps: list[FeatureStep] = []
    for spec in specs:
        step = make_feature_step(spec.name, spec.version, spec.parameters)
        if code_hash(type(step)) != spec.hash:
            raise BundleError(
                f"feature step {spec.name} v{spec.version}: the code here (hash {code_hash(type(step))[:12]}) is not "
                f"that of the training ({spec.hash[:12]}); train again, or use the ethostream that trained it"
            )
        if step.dims != spec.dims:
            raise BundleError(f"feature step {spec.name}: gives {step.dims} numbers, the manifest says {spec.dims}")
        steps.append(step)
    return steps


@cache  # code does not change while it runs, and tokens take their time
def code_hash(step: Callable[..., object]) -> str:
    """SHA-256 of the tokens of a class or function: comments, layout and docstrings do not change it."""
    digest = hashlib.sha256()
    statement_begins = True
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(step)).readline):
        if token.type in _SKIPPED:
            statement_begins = statement_begins or token.type != tokenize.COMMENT
            continue
        if not (statement_begins and token.type == tokenize.STRING):
            digest.update(token.string.encode() + b"\0")
        statement_begins = False
    return digest.hexdigest()
