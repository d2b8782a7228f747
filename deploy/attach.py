"""Joining a rig that is already running on this machine: what the supervisor leaves for others to find."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from ..streaming.node import NodeSpec, run_node
from ..sync.errors import ConfigError, NodeError

CARD = "session.json"


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Say in the session's runtime folder who runs here and where its publishers are."""
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def running_sessions() -> list[tuple[Path, dict[str, Any]]]:
    """Every rig of this user that runs now: its runtime folder and card."""
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"ethostream-*/{CARD}")):
        try:
            card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue  # it is being written, or has just gone
        if psutil.pid_exists(int(card["pid"])):
            found.append((path.parent, card))
    return found


def attach_monitor(session: str | None, port: int) -> None:
    """Serve the monitor page of a running rig until Ctrl-C or until the rig ends.

    Raises:
        ConfigError: none runs, or several and none was named.
        AddressError: the port is in use.
    """
    sessions = [one for one in running_sessions() if session in (None, one[1]["session"])]
    if not sessions:
        raise ConfigError("no rig runs on this machine; start one with: ethostream run RIG.yaml")
    if len(sessions) > 1:
        listed = ", ".join(f"{card['session']} ({card['rig']})" for _, card in sessions)
        raise ConfigError(f"several rigs run on this machine; name one with --session: {listed}")
    folder, card = sessions[0]
    node = f"monitor-{os.getpid()}"
    spec = NodeSpec(
        node=node,
        entry="ethostream.deploy.monitor.monitor_node:main",
        session=card["session"],
        anchor_utc_ns=card["anchor_utc_ns"],
        anchor_monotonic_ns=card["anchor_monotonic_ns"],
        endpoints={**card["endpoints"], node: f"ipc://{folder}/{node}"},
        parent_pid=os.getppid(),
        config={
            "monitor": {"port": port},
            "rig": card["rig"],
            "cameras": card["cameras"],
            "rate_hz": card["rate_hz"],
        },
    )
    if run_node(spec, in_terminal=True) != 0:
        raise NodeError("the monitor ended with an error, see above")
