"""``ethostream monitor`` joins a rig that is already running, and leaves it alone."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time  # noqa: TID251 - only to bound the wait for a real process
import urllib.request
from pathlib import Path

import psutil
import pytest
import yaml
from ethostream.deploy.attach import attach_monitor, remove_dead_sessions, running_sessions, write_card
from ethostream.sync.errors import ConfigError

CLI = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()"]


def test_without_a_rig_it_says_how_to_start_one() -> None:
    with pytest.raises(ConfigError, match="start one with: ethostream run"):
        attach_monitor("no-such-session", 0)


def test_a_monitor_joins_and_leaves(tmp_path: Path) -> None:
    with start_rig(tmp_path) as running:
        try:
            session = wait_for_session(running)
            with subprocess.Popen(
                [*CLI, "monitor", "--session", session], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as monitor:
                assert monitor.stdout
                address = next(
                    found.group() for line in monitor.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
                )
                with urllib.request.urlopen(address, timeout=10) as page:
                    assert page.status == 200
                monitor.send_signal(signal.SIGINT)
                said = monitor.communicate(timeout=30)[0]
            assert monitor.returncode == 0, said
            assert running.poll() is None, "the rig goes on"
        finally:
            running.send_signal(signal.SIGINT)
            said = running.communicate(timeout=60)[0]
    assert running.returncode == 0, said
    assert session not in {card["session"] for _, card in running_sessions()}


def test_a_monitor_ends_with_its_rig(tmp_path: Path) -> None:
    with start_rig(tmp_path) as running:
        session = wait_for_session(running)
        attach = [*CLI, "monitor", "--session", session]
        with subprocess.Popen(attach, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as monitor:
            assert monitor.stdout
            assert any("monitor page at" in line for line in monitor.stdout)
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=60)
            monitor.communicate(timeout=30)
            assert monitor.returncode == 0


def test_foreign_files_in_the_temporary_folder_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for place, content in enumerate(
        ["[]", "{}", "no json", '{"pid": 1, "session": "*"}', '{"pid": "x", "session": "abcd1234"}']
    ):
        (tmp_path / f"ethostream-{place}").mkdir()
        (tmp_path / f"ethostream-{place}" / "session.json").write_text(content)
    assert running_sessions() == []
    assert remove_dead_sessions() == []
    reused = {"pid": os.getpid(), "created": 1.0, "session": "abcd1234"}
    (tmp_path / "ethostream-0" / "session.json").write_text(json.dumps(reused))
    assert remove_dead_sessions() == ["abcd1234"], "its number belongs to another process now"


def test_a_rig_outlives_a_step_of_the_computers_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time server may set the clock while a rig runs; the next start must not clear it away as dead."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "ethostream-0").mkdir()
    write_card(tmp_path / "ethostream-0", {"session": "abcd1234"})
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 1.0)  # what a step of the clock changes
    assert [card["session"] for _, card in running_sessions()] == ["abcd1234"]
    assert remove_dead_sessions() == []


def start_rig(folder: Path) -> "subprocess.Popen[str]":
    rig = {
        "name": "small",
        "cameras": {"cam0": {"kind": "simulated", "view": 0, "width": 160, "height": 120}},
        "monitor": {"enabled": False},
        "recording": {"enabled": False},
    }
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    command = [*CLI, "run", str(folder / "rig.yaml"), "--headless"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_session(running: "subprocess.Popen[str]") -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for _, card in running_sessions():
            if card["pid"] == running.pid:
                return str(card["session"])
        time.sleep(0.02)
    raise AssertionError("the rig did not start")
