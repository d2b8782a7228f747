"""``ethostream rules``: a task's rules in words, tried on a recording, and the trials that a recording holds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ...sync.errors import ConfigError
from .json_output import JsonOption, require_writable, to_stdout, write_result

rules_app = typer.Typer(
    help="Say what a task's rules do, and try them on a recording, before an animal is in the cage.",
    no_args_is_help=True,
)
TaskArgument = Annotated[Path, typer.Argument(metavar="TASK.yaml", help="The task file.")]


@rules_app.command()
def explain(task: TaskArgument, json_path: JsonOption = None) -> None:
    """Say in plain words what each rule of a task does.

    One paragraph per rule: when it fires, what must hold, what withholds it, what limits it, what happens with shams.
    Names of behaviours are checked against the model, where the task names one.

    Example: `ethostream rules explain task.yaml`
    """
    from ...inference.bundled import look_up
    from ...inference.rules.explanation import explain_arming, explain_rule
    from ..config import load_task
    from ..run_checks import check_rules, fixed_task

    require_writable(json_path)
    config = load_task(task)
    look_ahead = ""
    if config.bundle is not None:
        _named(task, lambda: check_rules(fixed_task(config), None, None))
        manifest = look_up(config.bundle)[0]
        if manifest.look_ahead_frames:
            delay_ms = 1000.0 * manifest.look_ahead_frames / manifest.rate_hz
            look_ahead = (
                f"The model waits for {manifest.look_ahead_frames} frames of the future: every decision comes "
                f"{delay_ms:g} ms later than the behaviour."
            )
    explained = [explain_rule(rule, config.zones) for rule in config.rules]
    arming = explain_arming(config.arming)
    if json_path is not None:
        result = {"arming": arming, "look_ahead": look_ahead, "rules": [one.to_json() for one in explained]}
        write_result(json_path, result)
    if to_stdout(json_path):
        return
    paragraphs = [one.text for one in explained] or ["The task has no rules: nothing is decided."]
    typer.echo("\n\n".join([part for part in (*paragraphs, arming, look_ahead) if part]))


@rules_app.command()
def test(
    task: TaskArgument,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording in which a model ran.")],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Be armed when the live run was, with its seeds, and compare with what its rules decided."
        ),
    ] = False,
    rows: Annotated[int, typer.Option(min=0, help="Decisions shown; the JSON has all.")] = 40,
    json_path: JsonOption = None,
) -> None:
    """Try a task's rules on what the model of a recording said: what would have fired, or not, and why.

    The engine that runs live is told the recorded behaviours, tracks and board pulses in their order. No model runs, no
    actuator is opened. Without --compare the rules count as armed by a person from the start; the task's schedule and
    input line hold.

    Example: `ethostream rules test task.yaml recordings/RECORDING --compare`
    """
    from rich.console import Console
    from rich.progress import Progress

    from ...inference.rules.rehearsal import decision_row, rehearse
    from ...streaming.recording_reader import Recording
    from ..config import load_task
    from ..rules_table import print_rehearsal

    require_writable(json_path)
    opened = Recording.open(recording)
    config = load_task(task, opened.info.config.get("task", {}).get("bundle"))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        step = bar.add_task("rules", total=1.0)
        found = _named(
            task,
            lambda: rehearse(
                opened, config, as_recorded=compare, on_progress=lambda part: bar.update(step, completed=part)
            ),
        )
    compared = found.compare() if compare else None
    if json_path is not None:
        write_result(
            json_path,
            {
                "recording": str(recording),
                "task": str(task),
                "seconds": round(found.seconds, 6),
                "behaviors": found.n_behaviors,
                "decisions": [decision_row(one, found.zero_ns) for one in found.decisions],
                "totals": found.totals(),
                "compared": compared,
            },
        )
    if not to_stdout(json_path):
        print_rehearsal(found, compared, rows)


def _named(task: Path, check: Any) -> Any:
    """What ``check`` returns; a fault of the rules names the file."""
    try:
        return check()
    except ConfigError as error:
        raise ConfigError(f"{task}: {error}") from error
