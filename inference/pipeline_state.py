"""What a pipeline remembers, as bytes: the model, its rules, and where it stands."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..sync.errors import BundleError
from .cropper import State
from .set_cropper import under
from .state_bytes import differing, pack_state, unpack_state

SNAPSHOT_FORMAT: Final = 1
NO_SET: Final = -1


@dataclass(frozen=True, slots=True)
class PipelineMemory:
    """What stands in a snapshot.

    Attributes:
        model: of the model.
        rules: of the rules.
        anew: nothing was answered since the last reset.
        last_set_id: the set that was answered last, `NO_SET` before the first.
        beside: what was kept with it.
    """

    model: State
    rules: State
    anew: bool
    last_set_id: int
    beside: State


def pack_pipeline(memory: PipelineMemory, views: list[str]) -> bytes:
    """An ``.npz`` without pickle.

    Args:
        memory: to keep.
        views: names of what the model sees.
    """
    state = {f"model.{key}": value for key, value in memory.model.items()}
    state["anew"] = np.array(memory.anew)
    state["last_set_id"] = np.array(memory.last_set_id)
    state |= {f"rules.{key}": value for key, value in memory.rules.items()}
    state |= {f"beside.{key}": value for key, value in memory.beside.items()}
    header = np.array([SNAPSHOT_FORMAT, len(views)], np.int64)
    return pack_state({"header": header, "views": np.array(views), **state})


def unpack_pipeline(payload: bytes, views: list[str], mine: State, identity: str) -> PipelineMemory:
    """The memory again.

    Args:
        payload: of `pack_pipeline`.
        views: names of what the model here sees.
        mine: a snapshot of the model here, which tells the form.
        identity: of its bundle, for messages.

    Raises:
        BundleError: it is no snapshot, or one of other views, of another model or another version.
    """
    state = unpack_state(payload)
    try:
        version, theirs = int(state["header"][0]), [str(name) for name in state["views"]]
    except (ValueError, KeyError) as error:
        raise BundleError(f"pipeline state of {len(payload)} bytes cannot be read ({error})") from error
    if version != SNAPSHOT_FORMAT or theirs != views:
        raise BundleError(
            f"pipeline state is of format {version} for views {', '.join(theirs)}; this pipeline is of format "
            f"{SNAPSHOT_FORMAT} for {', '.join(views)}: replay with the recorded task"
        )
    model = under(state, "model.")
    differs = differing(mine, model)
    if differs:
        raise BundleError(
            f"pipeline state does not fit bundle {identity} and these views: {', '.join(differs[:5])} "
            "differ in shape; it was saved with another bundle or image size"
        )
    # An older state does not tell which set was the last.
    last_set_id = int(state.get("last_set_id", NO_SET))
    return PipelineMemory(model, under(state, "rules."), bool(state["anew"]), last_set_id, under(state, "beside."))
