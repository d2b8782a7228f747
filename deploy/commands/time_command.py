"""``ethostream time``: serve rig time to other hosts, and check from another host how well it can be followed."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...sync.errors import ClockError
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from ...streaming.keys import Keys
    from ...streaming.time_client import TimeClient

time_app = typer.Typer(help="Rig time between hosts.", no_args_is_help=True)

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="`tcp://HOST:PORT`.")]
KeysOption = Annotated[
    Path | None, typer.Option(help="This host's keys (`ethostream keys make`); needed beyond loopback.")
]
_POLL_MS = 50
_LINE_NS = 200_000_000
_PATIENCE_S = 5.0
_US = 1e3


@time_app.command("serve")
def serve(
    address: AddressArgument,
    keys: KeysOption = None,
    seconds: Annotated[float, typer.Option(min=0, help="Stop after this long; 0: until Ctrl-C.")] = 0.0,
) -> None:
    """Serve this host's time without a rig, to try out network and keys.

    A rig serves its own time when its rig file says `time: {serve: tcp://HOST:PORT}`.
    """
    from ...streaming.context import open_context
    from ...streaming.keys import Gatekeeper
    from ...streaming.messages import ClockStatus
    from ...streaming.time_server import TimeServer
    from ...sync.clock import NS_PER_S, ClockAnchor, RigClock

    clock = RigClock(ClockAnchor.take())
    loaded = _load(keys)
    states: dict[str, str] = {}

    def tell(status: ClockStatus) -> None:
        if states.get(status.clock) != status.state:
            states[status.clock] = status.state
            typer.echo(f"{status.clock}: {status.state}, offset {status.offset_ns / _US:+.1f} us")

    context = open_context()
    gatekeeper = None if loaded is None else Gatekeeper(context, loaded)
    try:
        with TimeServer(context, address, clock, f"serve-{clock.anchor.utc_ns}", loaded, tell) as server:
            typer.echo(f"serving rig time at {server.endpoint}; Ctrl-C ends it")
            begun = clock.now_ns()
            with suppress(KeyboardInterrupt):
                while not seconds or clock.now_ns() - begun < seconds * NS_PER_S:
                    server.serve(_POLL_MS)
            typer.echo(f"{server.n_answered} answered, {server.n_refused} refused")
    finally:
        if gatekeeper is not None:
            gatekeeper.close()
        context.term()


@time_app.command("follow")
def follow(
    address: AddressArgument,
    keys: KeysOption = None,
    server: Annotated[
        str | None, typer.Option(help="Name of the server in the allow-list, where it holds several hosts.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Stop after this long; 0: until Ctrl-C.")] = 0.0,
    rate_hz: Annotated[float, typer.Option(min=1, max=4, help="Questions per second.")] = 2.0,
    json_path: JsonOption = None,
) -> None:
    """Follow a rig's time server from this host, and show offset, drift and delay as they settle.

    The offset is rig time less this host's. It is off by half the round trip at most; an asymmetry of the network that
    is always there cannot be seen from here. Thirty seconds are enough to judge a link.
    """
    from ...streaming.context import open_context
    from ...streaming.time_client import TimeClient, choose_server, this_host
    from ...sync.clock import ClockAnchor, RigClock

    require_writable(json_path)
    loaded = _load(keys)
    local = RigClock(ClockAnchor.take())
    context = open_context()
    host = this_host() if loaded is None else loaded.name
    try:
        with TimeClient(context, address, local, host, rate_hz, loaded, choose_server(loaded, server)) as client:
            _watch(client, local, seconds, quiet=to_stdout(json_path))
            result = _result(client)
    finally:
        context.term()
    if json_path is not None:
        write_result(json_path, result)
    if not client.heard:
        raise ClockError(
            f"{address}: no answer in {client.n_sent} questions; is the rig running, is the address right, and does "
            "each host stand in the other's allow-list (ethostream keys show)?"
        )


def _watch(client: "TimeClient", local: Any, seconds: float, *, quiet: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from ...sync.clock import NS_PER_S

    begun, next_ns = local.now_ns(), 0
    # Ctrl-C is the way to end it: the result follows.
    console = Console(stderr=True, quiet=quiet)
    with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while not seconds or local.now_ns() - begun < seconds * NS_PER_S:
            client.poll(_POLL_MS)
            now = local.now_ns()
            if not client.heard and not seconds and now - begun > _PATIENCE_S * NS_PER_S:
                return
            if now >= next_ns:
                next_ns = now + _LINE_NS
                live.update(line(client), refresh=True)
    if not console.is_terminal:
        console.line()  # where lines are not drawn over, only the last one is written, without its end


def line(client: "TimeClient") -> str:
    """What is known now, in one line."""
    estimate = client.fit.estimate
    asked = f"{client.n_good} of {client.n_sent} answered, {client.n_lost} lost, {client.n_late} late"
    if estimate is None:
        return f"{client.endpoint}: {asked}"
    offset, bound, delay = (one / _US for one in (estimate.offset_ns, estimate.error_bound_ns, estimate.delay_ns))
    p50, p99, _ = estimate.residual_us
    return (
        f"{client.state}: offset {offset:+.1f} us (error at most {bound:.1f}), drift {estimate.drift_ppm:+.2f} ppm, "
        f"delay {delay:.1f} us, residual p50 {p50:.1f} p99 {p99:.1f} us; {asked}"
    )


def _result(client: "TimeClient") -> dict[str, Any]:
    estimate = client.fit.estimate
    known = (
        {}
        if estimate is None
        else {
            "offset_ns": estimate.offset_ns,
            "error_bound_ns": estimate.error_bound_ns,
            "drift_ppm": round(estimate.drift_ppm, 4),
            "delay_ns": estimate.delay_ns,
            "residual_p50_us": round(estimate.residual_us[0], 3),
            "residual_p99_us": round(estimate.residual_us[1], 3),
            "residual_max_us": round(estimate.residual_us[2], 3),
            "n_used": estimate.n_used,
            "span_s": round(estimate.span_ns / 1e9, 3),
        }
    )
    return {
        "address": client.endpoint,
        "host": client.host,
        "state": client.state if client.heard else "silent",
        **known,
        "n_sent": client.n_sent,
        "n_answered": client.n_good,
        "n_lost": client.n_lost,
        "n_late": client.n_late,
        "n_refused": client.n_refused,
        "n_outliers": client.fit.n_outliers,
        "n_steps": client.fit.n_steps,
    }


def _load(folder: Path | None) -> "Keys | None":
    from ...streaming.keys import load_keys

    return None if folder is None else load_keys(folder)
