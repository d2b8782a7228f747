"""What a replay hands to the inference node, in this order: read from the recording, ahead of what happened."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from .messages import Arming, Behavior, Crops, FrameSet, PipelineState, Pose, ReplaySet
from .pose_format import set_id_of, source_frame_of
from .recording_reader import Recording
from .topics import ARMING, BEHAVIOR, CROPS, FRAME_SET, PIPELINE_STATE, POSE

_SETS_REMEMBERED = 4096
"""Sets whose behaviour is looked for: it follows its set at once, but for what the model was late."""

Plan = ReplaySet | PipelineState | Arming


def exact_plan(recording: Recording, skip: Callable[[int, str], None]) -> Iterator[Plan]:
    """Saved states, what armed and disarmed, and the sets or poses that the live node stepped on after the first state.

    Where animals were tracked a set has all its views, also those that the model does not see: the tracker may.
    Where the model ran on another host, the sets that were cropped and that it did not take come as well, since
    its croppers remember them. After a behaviour that is missing, what the model remembered is not known: its
    sets are left out until the next state.

    Args:
        recording: opened.
        skip: told of each set that is left out, and why.
    """
    state_seen = False
    cropped: deque[FrameSet] = deque(maxlen=_SETS_REMEMBERED)
    last_set_id: int | None = None
    in_a_hole = False
    tracked = recording.info.config.get("task", {}).get("tracking") is not None
    sets: OrderedDict[int, FrameSet] = OrderedDict()
    topics = [PIPELINE_STATE, BEHAVIOR, ARMING, CROPS, *([FRAME_SET] if tracked else [])]
    for logged in recording.messages(topics):
        message = logged.message
        if isinstance(message, PipelineState):
            state_seen, last_set_id, in_a_hole = True, None, False
            cropped = deque((one for one in cropped if one.set_id >= message.set_id), _SETS_REMEMBERED)
            yield message
        elif isinstance(message, Crops):
            cropped.append(message.frame_set)
        elif isinstance(message, Arming):
            yield message
        elif isinstance(message, FrameSet):
            sets[message.set_id] = message
            if len(sets) > _SETS_REMEMBERED:
                sets.popitem(last=False)
        elif state_seen and isinstance(message, Behavior):
            if message.previous_set_id >= 0 and last_set_id not in (None, message.previous_set_id):
                in_a_hole = True
            if in_a_hole:
                skip(message.set_id, "a behaviour before it is not in the recording")
                continue
            last_set_id = message.set_id
            while cropped and cropped[0].set_id <= message.set_id:
                one = cropped.popleft()
                if one.set_id < message.set_id:
                    yield _crop_only(one)
            whole = sets.get(message.set_id, message)
            yield ReplaySet(
                message.set_id, whole.status, whole.sources, whole.missing, message.n_skipped, message.t_decided_ns
            )


def every_set(recording: Recording) -> Iterator[Plan]:
    """The start, then every recorded set; a decision is judged as if it had been made when the set closed."""
    started = False
    for logged in recording.messages([FRAME_SET, ARMING]):
        message = logged.message
        if isinstance(message, Arming) and not started:
            started = True
            yield message
        if isinstance(message, FrameSet):
            yield ReplaySet(message.set_id, message.status, message.sources, message.missing, 0, message.t_closed_ns)


def every_pose(recording: Recording, source: str) -> Iterator[Plan]:
    """The start, then every recorded pose of one source; a decision is judged as if made when the pose was received."""
    started = False
    for logged in recording.messages([POSE, ARMING]):
        message = logged.message
        if isinstance(message, Arming) and not started:
            started = True
            yield message
        if isinstance(message, Pose) and message.source == source:
            frame = source_frame_of(message)
            yield ReplaySet(set_id_of(message), "complete", (frame,), (), 0, message.t_received_ns)


def _crop_only(one: FrameSet) -> ReplaySet:
    return ReplaySet(one.set_id, one.status, one.sources, one.missing, 0, one.t_closed_ns, crop_only=True)
