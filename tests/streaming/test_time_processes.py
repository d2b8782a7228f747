"""Time as processes: server and follower as nodes, the command that follows, the tool of a time daemon."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.node import NodeSpec
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.time_client import this_host
from ethostream.streaming.trusted_time_node import ask, to_status
from ethostream.sync.clock import NS_PER_S as S
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import ClockError
from ethostream.sync.trusted_time import CHRONYC, TrustedTime, read_chrony
from free_ports import free_ports


def test_chrony_is_asked_by_its_own_tool(tmp_path: Path) -> None:
    line = "C0A80105,ntp,3,1700000000.1,0.000001,0,0.000002,0,0,0,0.001,0.0003,64.2,Normal"
    trusted = ask([sys.executable, "-c", f"print({line!r})"], read_chrony)
    assert trusted.offset_ns == 1000
    status = to_status(trusted, "host.x", 0, 0)
    assert (status.state, status.offset_ns, status.n_used, status.delay_ns) == ("trusted", 1000, 0, -1)
    with pytest.raises(ClockError, match=r"506 Cannot talk.*is its daemon running"):
        ask([sys.executable, "-c", "print('506 Cannot talk to daemon'); raise SystemExit(1)"], read_chrony)
    with pytest.raises(ClockError, match=r"not installed.*time.source: exchange"):
        ask([str(tmp_path / "none")], lambda _: TrustedTime("", 0, 0, 0))
    assert CHRONYC[0] == "chronyc"


def test_the_server_is_a_process_that_publishes_how_hosts_follow(tmp_path: Path) -> None:
    """And the client's process on another rig does the same for its own."""
    anchor = ClockAnchor.take()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    ends = {name: f"ipc://{tmp_path}/{name}" for name in ("supervisor", "time_server", "time_follower")}
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    configs = {"time_server": {"serve": address}, "time_follower": {"follow": address, "rate_hz": 4.0}}
    entries = {"time_server": "time_server:main", "time_follower": "time_client:main"}
    with ExitStack() as stack:
        stack.callback(context.term)
        bus = stack.enter_context(
            EverySubscriber(context, [ends["time_server"], ends["time_follower"]], [t.CLOCK, t.HEARTBEAT, t.ALARM])
        )
        processes: list[subprocess.Popen[bytes]] = []
        for name, config in configs.items():
            spec = NodeSpec(
                node=name,
                entry=f"ethostream.streaming.{entries[name]}",
                session="test",
                anchor_utc_ns=anchor.utc_ns,
                anchor_monotonic_ns=anchor.monotonic_ns,
                endpoints=ends,
                parent_pid=os.getpid(),
                config=config,
            )
            path = tmp_path / f"{name}.json"
            path.write_text(spec.model_dump_json())
            process = subprocess.Popen([sys.executable, "-m", "ethostream.streaming.node", str(path)])
            stack.callback(process.wait)
            stack.callback(process.terminate)
            processes.append(process)
        heard: dict[str, m.ClockStatus] = {}
        for _ in range(400):
            for one in bus.receive(100):
                if isinstance(one.message, m.ClockStatus):
                    heard[one.source] = one.message
            if len(heard) == 2:
                break
        assert set(heard) == {"time_server", "time_follower"}
        for status in heard.values():
            assert status.clock == f"host.{this_host()}" and status.state == "settling"
            # Both processes have the same anchor, so the truth is zero, and half the round trip is the bound.
            assert abs(status.offset_ns) <= status.delay_ns // 2 + 1000
            assert abs(status.t_ns - RigClock(anchor).now_ns()) < 60 * S
        for process in processes:
            process.terminate()
            assert process.wait(20) == 0


def test_following_nobody_says_what_to_check(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code = "from ethostream.deploy.cli import main; main()"
    words = ["time", "follow", "tcp://127.0.0.1:1", "--seconds", "0.3", "--json", str(out)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "no answer" in done.stderr and "allow-list" in done.stderr
    assert json.loads(out.read_text())["state"] == "silent"
