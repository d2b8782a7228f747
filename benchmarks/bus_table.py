"""The tables of `bus.py`."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show(result: dict[str, Any]) -> None:
    """Print the result of `bus.py`."""
    console = Console()
    failed: list[str] = []
    fast = result["unpaced"]
    ours = fast.get("ethostream", {}).get("frames_per_s")
    table = Table(title="Unpaced: one writer, three readers of every frame")
    for name in ("", "frames/s", "ours is x times", "CPU ms/frame", "lost", "wrong"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("memcpy alone", f"{result['memcpy_frames_per_s']:.0f}", "", "", "", "")
    for name, one in fast.items():
        if "failed" in one:
            failed.append(f"{name}, unpaced: {one['failed']}")
            continue
        ratio = "" if not ours or name == "ethostream" else f"{ours / one['frames_per_s']:.2f}"
        cost = f"{one['cpu_ms_per_frame']:.2f}"
        table.add_row(name, f"{one['frames_per_s']:.0f}", ratio, cost, str(one["undeclared"]), str(one["wrong"]))
    console.print(table)
    for rate, runs in result["paced"].items():
        table = Table(
            title=f"Paced: {result['cameras']} cameras at {rate} Hz, one reader of all, two of the latest sets"
        )
        for name in ("", "undecl.", "decl.", "every p50", "p99 ms", "latest p50", "p99", "cores"):
            table.add_column(name, justify="right" if name else "left")
        for name, one in runs.items():
            if "failed" in one:
                failed.append(f"{name} at {rate} Hz: {one['failed']}")
                continue
            every, latest, other = one["readers"]
            ages = [every["p50_us"], every["p99_us"]]
            ages += [max(latest[key], other[key]) for key in ("p50_us", "p99_us")]
            row = [f"{value / 1000:.2f}" for value in ages]
            table.add_row(name, str(one["undeclared"]), str(one["declared"]), *row, f"{one['cores']:.2f}")
        console.print(table)
    for line in failed:
        console.print(f"failed: {line}", markup=False)
    for name, why in result["not_measured"].items():
        console.print(f"not measured: {name} ({why})")
