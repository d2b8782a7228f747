"""``ethostream arm`` and ``ethostream disarm``: whether the rules of a running rig may fire."""

from typing import Annotated, Any

import typer

from ...sync.errors import ConfigError, NodeError
from .json_output import JsonOption, to_stdout, write_result

SessionOption = Annotated[
    str | None, typer.Option(metavar="ID", help="Session id, where several rigs run on this machine.")
]


def arm(
    session: SessionOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Say that nobody is in the way: required.")] = False,
    json_path: JsonOption = None,
) -> None:
    """Allow the rules of a running rig to fire, as a person's decision.

    Needed where the task says `arming: {at_start: false}`, after `ethostream disarm`, and after the model's process had
    to be started again, which never arms itself. Schedule and input line of the task have to agree besides; the answer
    says where one of them still holds the rules back.

    Example: `ethostream arm --yes`
    """
    if not yes:
        raise ConfigError("arm: rules may drive lasers, valves and shockers; look, then say so with --yes")
    _tell([_one(session)], "arm", json_path)


def disarm(session: SessionOption = None, json_path: JsonOption = None) -> None:
    """Stop the rules of every running rig of yours (or of one: --session) from firing, now.

    Every actuator is released and what waits for its time is cancelled. A model that does not answer within three
    seconds is ended; it comes back disarmed. Behaviour goes on to be recorded, with every decision withheld as
    `disarmed`.
    """
    sessions = _sessions(session)
    if not sessions:
        raise ConfigError("no rig runs on this machine: there is nothing to disarm")
    _tell(sessions, "disarm", json_path)


def _sessions(session: str | None) -> list[tuple[Any, dict[str, Any]]]:
    from ..attach import running_sessions

    return [one for one in running_sessions() if session in (None, one[1]["session"])]


def _one(session: str | None) -> tuple[Any, dict[str, Any]]:
    sessions = _sessions(session)
    if not sessions:
        raise ConfigError("no such rig runs on this machine; start one with: ethostream run RIG.yaml --task TASK.yaml")
    if len(sessions) > 1:
        listed = ", ".join(f"{card['session']} ({card['rig']})" for _, card in sessions)
        raise ConfigError(f"several rigs run on this machine; name one with --session: {listed}")
    return sessions[0]


def _tell(sessions: list[tuple[Any, dict[str, Any]]], command: Any, json_path: Any) -> None:
    from ..arming_socket import ask

    answers: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    for folder, card in sessions:
        name = f"{card['rig']} ({card['session']})"
        try:
            answers[card["session"]] = answer = ask(folder, command)
        except NodeError as error:
            failed.append(f"{name}: {error}")
            continue
        if not answer["ok"]:
            failed.append(f"{name}: {answer['words']}")
        elif not to_stdout(json_path):
            typer.echo(f"{name}: {answer['words']}")
    if json_path is not None:
        write_result(json_path, {"sessions": answers, "failed": failed})
    if failed:
        raise NodeError("\n".join(failed))
