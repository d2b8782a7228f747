"""Crops every frame set and publishes the crops, for a model on another host.

The croppers are the model's own (`set_cropper.py`), fed as the model would feed them, so that what it decides from
these crops is what it would have decided here. A set that is passed over since a newer one has come, and one that is
lost on the way, show in the numbers that each message carries.
"""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..streaming.frames import FrameReceiver
from ..streaming.messages import Control, CroppedView, Crops, CropSession, FrameHeader, FrameSet, SyncPulse
from ..streaming.node import NodeContext
from ..streaming.publisher import Publisher
from ..streaming.topics import CONTROL, CROP_SESSION, CROPS, SYNC_PULSE
from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.closing import Closing
from ..sync.errors import ConfigError
from .bundled import look_up
from .cropper import Crop
from .gap import StepGrid
from .geometry import model_views
from .model_link import ModelLink
from .node_config import InferenceNodeConfig
from .pipeline import middle_ns
from .remote_config import RemoteModelConfig
from .set_cropper import CroppedSet, SetCropper
from .set_views import SetViews
from .state_bytes import pack_state

SETS_HELD = 32
"""Messages per connection and end: half a second of sets at 60 Hz. Who is further behind loses some, and sees it in the
numbers. A reader that wants commands in time has a second connection for them, with a queue of its own."""
_SAY_NS = 200 * NS_PER_MS
_STATE_AGAIN_NS = NS_PER_S
_END_NS = 12 * NS_PER_S
"""Longer than a model's process may take to close its actuators, and shorter than the supervisor waits for this one."""
_SAY_END_NS = 20 * NS_PER_MS
_N_SAY_END = 5
"""So often the end is said where no model is heard: one that is there, and silent, may hear it all the same."""
_POLL_MS = 20


class CropperNodeConfig(InferenceNodeConfig):
    """Options of the process that crops for a model on another host.

    Attributes:
        remote: the model's host.
    """

    remote: RemoteModelConfig


class CropOutlet(Closing):
    """Takes the frame sets in the place of a model. One thread.

    Args:
        context: of the node.
        config: the task as the model's process would get it, and where that is.

    Attributes:
        views: camera → shape of its frames, for those that are looked at.

    Raises:
        ConfigError: there is no model, or views do not suit it.
        BundleError, CalibrationError: the bundle's manifest or a calibration cannot be read.
        AddressError, KeysError: an address is in use or refused, or the other host is not in the allow-list.
    """

    def __init__(self, context: NodeContext, config: CropperNodeConfig) -> None:
        task = config.task
        if task.bundle is None:
            raise ConfigError("remote_model: there is nothing to crop for without a model: set bundle in the task file")
        manifest, self._bundle = look_up(task.bundle)
        shapes, disparity = model_views(config, manifest)
        self._context = context
        self._config = config
        self._shapes = shapes
        self._views = SetViews(shapes, disparity)
        self.views = {name: tuple(one) for name, one in config.views.items() if name in self._views.cameras}
        self._cropper = SetCropper(manifest, shapes)
        self._grid = StepGrid(manifest.rate_hz, config.rate_hz, manifest.other_rates)
        self._t_start_ns = context.spec.t_start_ns
        self._number = self._n_skipped = self._n_anew = 0
        self._n_controls, self._disarmed = 0, -1
        self._save = False
        self._state_ns = self._said_ns = 0
        self._link = ModelLink(context, config.remote)
        self._publisher = Publisher(context.zmq, context.spec.node, config.remote.crops, SETS_HELD, context.keys)

    @property
    def ready(self) -> bool:
        """The model is there, loaded, and heard."""
        return self._link.ready

    @property
    def needs_state(self) -> bool:
        """Asked for once a second at most, until the model has answered."""
        return self._link.needs_state and self._context.clock.now_ns() - self._state_ns >= _STATE_AGAIN_NS

    def step(
        self,
        frame_set: FrameSet,
        headers: Mapping[str, FrameHeader],
        images: Mapping[str, NDArray[np.uint8]],
        receiver: FrameReceiver,
        n_skipped: int,
        announce: Callable[[], None],
    ) -> bool:
        """Crop one set and publish it.

        Args:
            frame_set: its header.
            headers: camera → header of its frame.
            images: camera → its pixels.
            receiver: that they came from.
            n_skipped: sets before this one that were not cropped.
            announce: called before the rig hears of the crops.

        Returns:
            False: the rate rule of the model leaves the set out, or none of its views is there.

        Raises:
            FrameOverwrittenError: pixels changed while they were read; this object must be reset.
        """
        clock = self._context.clock
        t_taken_ns = clock.now_ns()
        sources = self._views.sources(frame_set)
        seen = self._views.images(sources, images)
        if not seen or self._grid.step(middle_ns(sources)) is None:
            return False
        state = pack_state(self._cropper.snapshot()) if self._save else b""
        cropped = self._cropper.step(seen)
        receiver.check_all(headers)
        self._n_skipped += n_skipped
        views = tuple(_view(self._cropper.views[place], crop) for place, crop in cropped.crops.items())
        crops = Crops(
            frame_set, self._context.spec.epoch, self._number, self._n_skipped, self._n_anew, views, t_taken_ns,
            clock.now_ns(), state,
        )  # fmt: skip
        self._publisher.publish(CROPS, crops, pixels=pixels_of(cropped))
        announce()
        self._context.publish(CROPS, msgspec.structs.replace(crops, state=b""))
        self._number += 1
        if state:
            self._save, self._state_ns = False, clock.now_ns()
            self._link.state_sent(frame_set.set_id)
        self._cropper.settle()
        return True

    def save_state(self, set_id: int) -> None:
        """The next set goes out with what the croppers remember; the model saves it with its own."""
        self._save = True

    def reset(self) -> None:
        """Forget everything: the model is told, and begins anew as well."""
        self._cropper.reset()
        self._grid.reset()
        self._n_anew += 1

    def control(self, message: Control) -> None:
        """Pass on the rig's common start, a person's wish, or the end of the run."""
        if message.command == "start":
            self._t_start_ns = message.t_start_ns
        elif message.command != "arm":
            self._disarmed = self._n_controls
        self._publisher.publish(CONTROL, message)
        self._n_controls += 1

    def pulse(self, pulse: SyncPulse) -> None:
        """Pass on an edge of the trigger board."""
        self._publisher.publish(SYNC_PULSE, pulse)

    def tick(self) -> None:
        """Hear the model, and say for whom it works."""
        self._link.turn()
        if self._context.clock.now_ns() - self._said_ns >= _SAY_NS:
            self._say(ends=False)

    def next_due_ns(self) -> int | None:
        """Nothing is awaited to the millisecond here."""
        return None

    def rest(self, reason: str) -> None:
        """The run ends: pass on what the model still says, until it has closed its actuators, or 12 s are over."""
        clock, link = self._context.clock, self._link
        link.ending = True
        end_ns = clock.now_ns() + _END_NS
        n_said = 0
        while (link.heard or n_said < _N_SAY_END) and clock.now_ns() < end_ns:
            if clock.now_ns() - self._said_ns >= _SAY_END_NS or not n_said:
                self._say(ends=True)
                n_said += 1
            link.turn(_POLL_MS)
            self._context.beat()

    def _say(self, *, ends: bool) -> None:
        config, spec = self._config, self._context.spec
        self._said_ns = self._context.clock.now_ns()
        said = CropSession(
            session=spec.session,
            epoch=spec.epoch,
            task=config.task.model_dump_json(),
            bundle=self._bundle,
            views=self._shapes,
            cameras=tuple(self.views),
            rate_hz=config.rate_hz,
            t_start_ns=self._t_start_ns,
            heard=self._link.heard,
            n_models=self._link.n_models,
            ends=ends,
            disarmed=self._disarmed,
            t_ns=self._said_ns,
        )
        self._publisher.publish(CROP_SESSION, said)

    def close(self) -> None:
        """Give back both addresses."""
        self._link.close()
        self._publisher.close()


def pixels_of(cropped: CroppedSet) -> bytes:
    """The crops of a set one after the other, in model order."""
    rows = {place: batch[row] for places, batch in cropped.batches for row, place in enumerate(places)}
    return b"".join(rows[place].data for place in cropped.crops)


def _view(name: str, crop: Crop) -> CroppedView:
    return CroppedView(
        name, crop.x_px, crop.y_px, crop.width_px, crop.height_px, crop.valid, float(crop.center_x_px),
        float(crop.center_y_px), float(crop.area_px), float(crop.elongation), float(crop.motion),
    )  # fmt: skip
