"""Joining a rig that is already running on this machine: what the supervisor leaves for others to find."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..streaming.node import NodeSpec, run_node
from ..streaming.process_identity import process_started
from ..streaming.ring import unlink_session_rings
from ..sync.errors import ConfigError, NodeError

CARD = "session.json"
_SESSION = re.compile(r"^[0-9a-z]{4,16}$")


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Say in the session's runtime folder who runs here and where its publishers are."""
    full = {**card, "pid": os.getpid(), "created": process_started(os.getpid())}
    (folder / CARD).write_text(json.dumps(full), encoding="utf-8")


def _cards() -> list[tuple[Path, dict[str, Any]]]:
    """Cards of this user's sessions. The temporary folder is everybody's: what is not a card of ours is passed over."""
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"ethostream-*/{CARD}")):
        try:
            if path.stat().st_uid != os.getuid():
                continue
            card: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # it is being written, or has just gone
        if isinstance(card, dict) and isinstance(card.get("pid"), int) and _SESSION.match(str(card.get("session"))):
            found.append((path.parent, card))
    return found


def _runs(card: Mapping[str, Any]) -> bool:
    """Whether the supervisor that wrote a card still runs; another process may have got its number since."""
    return bool(started := process_started(card["pid"])) and started == card.get("created")


def running_sessions() -> list[tuple[Path, dict[str, Any]]]:
    """Every rig of this user that runs now: its runtime folder and card."""
    return [(folder, card) for folder, card in _cards() if _runs(card)]


def remove_dead_sessions() -> list[str]:
    """Clear away what supervisors that were killed left behind: runtime folders and rings; returns their ids."""
    dead = [(folder, str(card["session"])) for folder, card in _cards() if not _runs(card)]
    for folder, session in dead:
        unlink_session_rings(session)
        shutil.rmtree(folder, ignore_errors=True)
    return [session for _, session in dead]


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
        lives_with_pid=card["pid"],
        keys=card.get("keys"),
        runtime=folder,
        config={
            "monitor": {"port": port},
            "rig": card["rig"],
            "cameras": card["cameras"],
            "poses": card.get("poses", []),
            "rate_hz": card["rate_hz"],
        },
    )
    if run_node(spec, in_terminal=True) != 0:
        raise NodeError("the monitor ended with an error, see above")
