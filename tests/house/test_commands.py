"""Every command and file that the pages show is valid, and every command has a help page and a place in the README."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from ethostream.deploy import cli
from typer.testing import CliRunner

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

COMMANDS = [
    "demo",
    "run",
    "replay",
    "verify",
    "repair",
    "report",
    "profile",
    "resume",
    "export",
    "infer",
    "align",
    "train",
    "evaluate",
    "predict",
    "crossval",
    "search",
    "tune",
    "quantise",
    "engines",
    "features",
    "bundle info",
    "bundle export",
    "monitor",
    "arm",
    "disarm",
    "rules explain",
    "rules test",
    "calibrate",
    "cameras",
    "doctor",
    "latency",
    "keys make",
    "keys allow",
    "keys show",
    "time serve",
    "time follow",
    "version",
]


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(text) if language in languages]


def shell_lines(repository: Path, pages: list[Path], program: str) -> list[tuple[str, list[str]]]:
    """Commands of ``program`` in the pages' shell blocks, with the page, comments stripped."""
    found: list[tuple[str, list[str]]] = []
    for page in pages:
        for block in blocks((repository / page).read_text(), "bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and Path(words[0]).name == program:
                    found.append((f"{page}: {line}", words[1:]))
    return found


def test_make_targets_shown_exist(repository: Path, pages: list[Path]) -> None:
    makefile = (repository / "Makefile").read_text()
    shown = shell_lines(repository, pages, "make")
    assert {"demo", "test"} <= {words[0] for _, words in shown}
    for where, words in shown:
        assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), where


def find_command(words: list[str], where: str) -> tuple[Any, list[str]]:
    """The command that ``words`` name, by walking the app, and the words after it."""
    command: Any = typer.main.get_command(cli.app)
    rest = list(words)
    while subcommands := getattr(command, "commands", None):
        assert rest and rest[0] in subcommands, f"{where}: no such command"
        command = subcommands[rest.pop(0)]
    return command, rest


def test_commands_shown_exist(repository: Path, pages: list[Path]) -> None:
    shown = shell_lines(repository, pages, "ethostream")
    assert len(shown) > 10
    for where, words in shown:
        command, rest = find_command(words, where)
        options = {name: one for one in command.params for name in one.opts if name.startswith("-")}
        n_arguments = 0
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                n_arguments += 1
                continue
            name, _, value = word.partition("=")
            assert name in options, f"{where}: {command.name} has no option {name}"
            if not options[name].is_flag and not value:
                assert rest, f"{where}: {name} wants a value"
                rest.pop(0)
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        n_required = sum(one.required for one in arguments)
        assert n_required <= n_arguments <= len(arguments), f"{where}: {n_arguments} arguments"
        missing = {name for name, one in options.items() if one.required} - set(words)
        assert not missing, f"{where}: {missing} must be given"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches(name: str) -> None:
    done = CliRunner().invoke(cli.app, [*name.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output


@pytest.mark.parametrize(
    "group", [[], *([name] for name in sorted({one.split()[0] for one in COMMANDS if " " in one}))]
)
def test_a_group_without_a_command_shows_what_it_has(group: list[str]) -> None:
    said = CliRunner().invoke(cli.app, group).output
    assert "Usage:" in said and "Missing command" not in said


def test_the_list_of_commands_is_whole(repository: Path) -> None:
    top: Any = typer.main.get_command(cli.app)
    names: set[str] = set()
    for name, command in top.commands.items():
        names |= {f"{name} {sub}" for sub in getattr(command, "commands", {})} or {name}
    assert names == set(COMMANDS)
    readme = (repository / "README.md").read_text()
    assert not [name for name in names if f"ethostream {name}" not in readme]


def test_the_first_rig_of_the_readme_is_valid(repository: Path, tmp_path: Path) -> None:
    from ethostream.deploy.config import load_run

    rig, task = blocks((repository / "README.md").read_text(), "yaml")
    assert len(rig.strip().splitlines()) + len(task.strip().splitlines()) <= 10
    for name, text in (("rig", rig), ("task", task)):
        (tmp_path / f"{name}.yaml").write_text(text)
    run = load_run(tmp_path / "rig.yaml", tmp_path / "task.yaml")
    assert list(run.rig.cameras) == list(yaml.safe_load(rig)["cameras"])
    assert run.rig.recording.codec == "h264_lossless"
    assert [rule.name for rule in run.task.rules] == ["reward_rear"]
