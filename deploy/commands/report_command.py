"""``ethostream report``: one page about a recording, or about a training."""

from pathlib import Path
from typing import Annotated

import typer

from .json_output import JsonOption, require_writable, to_stdout, write_result


def report(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A recording, the run folder of a training, or its bundle.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The page; default: report.html in that folder.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Draw a recording or a training on one page, which needs nothing beside it and can be mailed.

    Of a **recording**: the latency histogram that the recorder kept, what became of every frame, the bouts of each
    behaviour over time, and of each rule when it fired, was sham, or was withheld and why.

    Of a **training** (`BUNDLE.run`, or a bundle that has it beside it): scores with their intervals beside majority and
    other raters, what is taken for what, how true its probabilities are, truth and answer over time, bouts, delays,
    how it learnt, computing time, the command that repeats it, and what to know before believing a number.

    --json writes the same numbers.

    Examples: `ethostream report recordings/RECORDING --out session.html`, `ethostream report my-model.run`
    """
    from ..training_page.digest import run_folder_of

    run = run_folder_of(path)
    page = out or (run or path) / "report.html"
    if run is None:
        _recording(path, page, json_path)
    else:
        _training(run, page, json_path)
    if not to_stdout(json_path):
        typer.echo(str(page))


def _recording(path: Path, page: Path, json_path: Path | None) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from ...streaming.recording_info import INFO_FILE
    from ...streaming.recording_reader import Recording
    from ...sync.errors import ConfigError
    from ...training.run_files import EVALUATION_FILE, METRICS_FILE
    from ..calibration_report import write_page
    from ..recording_digest import digest_recording
    from ..recording_page import recording_page

    if not (path / INFO_FILE).is_file():
        raise ConfigError(
            f"{path}: is neither a recording (it holds no {INFO_FILE}) nor a training (no {EVALUATION_FILE} or "
            f"{METRICS_FILE}); give the folder of a recording, or BUNDLE.run beside a bundle"
        )
    opened = Recording.open(path)
    require_writable(page, "--out")
    require_writable(json_path)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        digest = digest_recording(opened, lambda part: bar.update(task, completed=part))
    write_page(page, recording_page(digest))
    if json_path is not None:
        bouts = {name: len(each) for name, each in digest.bouts.items()}
        write_result(json_path, {"page": str(page), "report": digest.report, "rules": digest.rules, "bouts": bouts})


def _training(run: Path, page: Path, json_path: Path | None) -> None:
    from ..calibration_report import write_page
    from ..training_page.digest import digest_training
    from ..training_page.page import training_page

    require_writable(page, "--out")
    require_writable(json_path)
    digest = digest_training(run)
    write_page(page, training_page(digest))
    if json_path is not None:
        write_result(json_path, {"page": str(page), "run": str(run), "evaluation": digest.evaluation})
