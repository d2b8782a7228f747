"""Which recordings a search may see, and the training that a variant is judged by."""

from collections.abc import Sequence
from typing import Any

from ...sync.errors import ConfigError
from ..config.export import ExportConfig
from ..config.recordings import SimulatedData
from ..config.training_file import TrainConfig
from ..data.entries import Entry, name_of, single_recordings
from ..splits import GroupSplit, KFoldSplit, LeaveOneOutSplit, RecordingSplit, TimeBlockSplit


def name_and_group(entry: Entry) -> tuple[str, str | None]:
    """What an entry with one recording is called, and what it belongs to."""
    return name_of(entry), entry.group


def seen_entries(config: TrainConfig, leave_out: Sequence[str]) -> list[Entry]:
    """The recordings of a training file without those that are left out, an entry each.

    Args:
        config: the training file.
        leave_out: names of recordings or groups.

    Raises:
        ConfigError: the split tears recordings apart, or there is none of that name.
    """
    if isinstance(config.split, TimeBlockSplit):
        raise ConfigError(
            "split: {by: time_block} leaves blocks of every recording to the test part, and a search leaves out whole "
            "recordings; use `by: recording`, `group`, `k_fold` or `leave_one_out`"
        )
    entries = single_recordings(config.data)
    known = {name for one in entries for name in name_and_group(one) if name is not None}
    if absent := [name for name in leave_out if name not in known]:
        raise ConfigError(
            f"--leave-out {absent[0]}: is neither a recording nor a group of the training file; there are "
            f"{', '.join(sorted(known))}"
        )
    return [one for one in entries if not set(name_and_group(one)) & set(leave_out)]


def is_test(config: TrainConfig, entry: Entry) -> bool:
    """Whether an entry belongs to the test part."""
    match config.split:
        case RecordingSplit():
            return entry.part == "test"
        case GroupSplit(test=test):
            return entry.group in test
        case _:
            return False


def not_seen(config: TrainConfig) -> list[str]:
    """Names of the recordings of the test part."""
    return [name_of(one) for one in single_recordings(config.data) if is_test(config, one)]


def for_fits(config: TrainConfig, objective: str) -> TrainConfig:
    """The training of a variant: without the test part, and without what has no say in the objective.

    The raw answers, the most probable class of each frame, do not depend on temperature and stabiliser: for a score of
    these neither is chosen. The folds inside the training part are left out where they have nothing left to choose.

    Args:
        config: the variant.
        objective: the score that is searched by.
    """
    entries: list[Entry] = [one for one in single_recordings(config.data) if not is_test(config, one)]
    update: dict[str, Any] = {"data": entries}
    if not config.is_pose:
        return config.model_copy(update=update | {"export": ExportConfig()})
    choose, fit = config.choose, config.fit
    if objective.startswith("raw.") and "pr_auc" not in objective:
        fit = fit.model_copy(update={"temperature": False})
    if objective.startswith("raw.") and choose is not None:
        choose = choose.model_copy(update={"stabiliser": False, "target": None})
    idle = choose is not None and not choose.epochs and not choose.stabiliser and not fit.temperature
    if idle and isinstance(config.split, KFoldSplit | LeaveOneOutSplit):
        update["data"] = [one if isinstance(one, SimulatedData) else _learnt(one) for one in entries]
        update["split"] = RecordingSplit()
    return config.model_copy(update=update | {"choose": choose, "fit": fit})


def _learnt(entry: Entry) -> Entry:
    return entry.model_copy(update={"part": "train"})
