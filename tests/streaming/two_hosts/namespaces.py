"""Two hosts on one machine: two network namespaces with a cable between them, and a time namespace for the second."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ethostream.streaming.keys import allow_key, make_keys

HERE = Path(__file__).parent
RIG, HOST = "10.213.77.1", "10.213.77.2"
SHIFT_S = 100_000
"""The second host booted this much earlier, as far as its monotonic clock can tell."""


class RefusedError(Exception):
    """This machine does not let us make namespaces."""


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


@contextmanager
def two_namespaces() -> Iterator[tuple[list[str], list[str]]]:
    """Commands that run the words after them on the rig's host, and on the other one."""
    names = [f"ethostream-{os.getpid()}-{which}" for which in ("a", "b")]
    with ExitStack() as stack:
        try:
            for name in names:
                _call("ip", "netns", "add", name)
                stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False, capture_output=True)
            _call("ip", "link", "add", "va", "netns", names[0], "type", "veth", "peer", "name", "vb", "netns", names[1])
            for name, link, address in ((names[0], "va", RIG), (names[1], "vb", HOST)):
                _call("ip", "-n", name, "address", "add", f"{address}/24", "dev", link)
                _call("ip", "-n", name, "link", "set", link, "up")
                _call("ip", "-n", name, "link", "set", "lo", "up")
            on_rig, on_host = (["ip", "netns", "exec", name] for name in names)
            shifted = ["unshare", "--time", "--monotonic", str(SHIFT_S), "--fork", "--kill-child"]
            _call(*on_host, *shifted, "true")
        except FileNotFoundError as error:
            raise RefusedError(f"{error.filename} is not installed") from error
        yield on_rig, [*on_host, *shifted]


def run_two_hosts(
    folder: Path,
    seconds: float,
    there_ms: tuple[float, float],
    back_ms: tuple[float, float],
    loss: float,
    ppm: float,
    seed: int = 1,
    rate_hz: float = 2.0,
) -> dict[str, Any]:
    """Follow through the bad network for so long; what the second host found, with its error against the truth.

    Raises:
        RefusedError: namespaces are refused here.
    """
    keys = {name: folder / name for name in ("rig", "host")}
    public = {name: make_keys(path, name) for name, path in keys.items()}
    allow_key(keys["rig"], public["host"])
    allow_key(keys["host"], public["rig"])
    served, passed = f"tcp://{RIG}:17801", f"tcp://{RIG}:17802"
    network = json.dumps({"there_ms": there_ms, "back_ms": back_ms, "loss": loss, "seed": seed})
    with two_namespaces() as (on_rig, on_host), ExitStack() as stack:
        server, anchor = _start(stack, [*on_rig, sys.executable, str(HERE / "serve.py"), served, str(keys["rig"])])
        words = [str(HERE / "forward.py"), passed, served, str(keys["rig"]), str(keys["host"]), network]
        forwarder, _ = _start(stack, [*on_rig, sys.executable, *words])
        task = {"seconds": seconds, "ppm": ppm, "rate_hz": rate_hz, "shift_ns": SHIFT_S * 1_000_000_000, **anchor}
        words = [str(HERE / "follow.py"), passed, str(keys["host"]), json.dumps(task)]
        done = subprocess.run([*on_host, sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
        result: dict[str, Any] = json.loads(done.stdout)
        result["network"] = _end(forwarder)
        result["server"] = _end(server)
    return result


def _start(stack: ExitStack, words: Sequence[str]) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def _end(process: "subprocess.Popen[str]") -> dict[str, Any]:
    said, _ = process.communicate(timeout=30)
    return json.loads(said)
