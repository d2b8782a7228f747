"""What a run folder keeps of every epoch: a line of ``metrics.jsonl``, and curves for TensorBoard."""

import json
from pathlib import Path
from typing import Any

from ...sync.errors import ConfigError
from ...sync.whole_file import write_whole
from ..run_files import CURVES_FOLDER, METRICS_FILE
from .checkpoint import unwritable


class EpochLog:
    """The log of one stage. Lines of other stages in the same file stay.

    Args:
        run: the run folder; made if it is not there.
        stage: name, stands in every line and names the curves.
        history: lines of this stage that a fit before has written, when it goes on; the file then holds just these.

    Raises:
        ConfigError: tensorboardX is not installed.
        DiskFullError, DataError: the folder cannot be written.
    """

    def __init__(self, run: Path, stage: str, history: list[dict[str, Any]]) -> None:
        self._path = run / METRICS_FILE
        self._stage = stage
        self.history = list(history)
        try:
            run.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, "".join(f"{json.dumps(line)}\n" for line in [*self._others(), *history]))
        except OSError as error:
            raise unwritable(self._path, error, "the log of the fit") from error
        self._writer = _open_writer(run / CURVES_FOLDER / stage, len(history))

    def add(self, line: dict[str, Any]) -> None:
        """Add one epoch: ``epoch`` and numbers by name, those of ``validation`` one level down.

        Raises:
            DiskFullError, DataError: it cannot be written.
        """
        self.history.append(line)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
        except OSError as error:
            raise unwritable(self._path, error, "the log of the fit") from error
        values = {**line, **{f"validation/{name}": value for name, value in (line.get("validation") or {}).items()}}
        for name, value in values.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, line["epoch"])

    def close(self) -> None:
        """Write what TensorBoard still waits for."""
        self._writer.close()

    def _others(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines: list[dict[str, Any]] = []
        for text in self._path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:  # cut short by a crash; its epoch is run again
                continue
        return [line for line in lines if line.get("stage") != self._stage]


def _open_writer(folder: Path, first_epoch: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboardX is not installed; training needs the extra: pip install ethostream[train]"
        ) from error
    # Curves of a fit that goes on drop what came after its checkpoint.
    return SummaryWriter(str(folder), purge_step=first_epoch if first_epoch else None, write_to_disk=True)
