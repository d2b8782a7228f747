"""One step of a causal head on one core, through `inference/head.py` as the rig runs it.

    python benchmarks/head_step.py [--steps 20000] [--json head_step.json]

Every kind with three layers (a TCN of seven blocks), 64 wide, from 2048 features (a large embedder), and in the bundled
size. Beside the step of one animal stand that of eight in one batch, and, where the memory of a head is bounded, what
recomputing all of it at each frame would take. Targets: LSTM and GRU <= 60 us, TCN <= 80 us and at least 10 times
cheaper than its window, eight animals < 2 times one; the other kinds have none. Runs of every kind take turns, and the
median of a run's steps counts. The fastest run is the figure, since what other programs take from a core is not the
head's; how many times one costs the other is the median over the turns, in each of which the two stand next to each
other.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from time import perf_counter_ns  # noqa: TID251
from typing import Any

import numpy as np
import torch
from ethostream.inference.head import Head
from ethostream.inference.head_memory import initial_state
from ethostream.inference.onnxruntime_backend import open_graph
from ethostream.training.config.head import HeadConfig
from ethostream.training.export.graphs import export_head_sequence, export_head_step, head_spec
from ethostream.training.networks.head import build_head
from rich.console import Console
from rich.table import Table

N_CLASSES = 6
ROUNDS = 10
KINDS = ("linear", "mlp", "lstm", "gru", "tcn", "transformer")
Size = tuple[int, dict[str, Any]]
WIDE: Size = 2048, {"hidden": 64, "layers": 3, "dilations": [1, 2, 4, 8, 16, 32, 64], "attention_frames": 64}
SMALL: Size = 40, {"hidden": 48, "layers": 1, "dilations": [1, 2, 4, 8], "attention_frames": 32}
LIMIT_US = {"lstm": 60.0, "gru": 60.0, "tcn": 80.0}
WINDOW_RATIO, ANIMALS, ANIMALS_RATIO = 10.0, 8, 2.0


class Case:
    """One head, opened."""

    def __init__(self, kind: Any, size: Size) -> None:
        torch.manual_seed(0)
        model = build_head(HeadConfig(kind=kind, **size[1]), size[0], N_CLASSES).eval()
        self.n_parameters = sum(one.numel() for one in model.parameters())
        self.state_bytes = 4 * sum(int(np.prod(shape)) for shape in model.state_shapes())
        self._spec = head_spec(model)
        graph = open_graph(export_head_step(model), "head_step.onnx", "cpu", 1)
        self._heads = {n: Head(graph, self._spec, n) for n in (1, ANIMALS)}
        self._sequence = open_graph(export_head_sequence(model), "head_sequence.onnx", "cpu", 1)
        reach = model.receptive_field() or 0
        self.window = reach if reach > 1 else 0
        random = np.random.default_rng(0)
        self._x = {n: random.normal(size=(n, model.n_features)).astype(np.float32) for n in self._heads}
        self._seen = random.normal(size=(1, max(1, self.window), model.n_features)).astype(np.float32)

    def step_us(self, n: int, steps: int) -> tuple[float, float]:
        """Median and p99 of ``steps`` steps of ``n`` animals."""
        head, x, slots = self._heads[n], self._x[n], np.arange(n)
        times = np.empty(steps)
        for step in range(steps):
            began = perf_counter_ns()
            head.step(x, slots)
            times[step] = perf_counter_ns() - began
        return float(np.median(times)) / 1000.0, float(np.quantile(times, 0.99)) / 1000.0

    def window_us(self, times: int) -> float:
        """Median of recomputing the window."""
        feeds = {"x": self._seen}
        state = initial_state(self._spec.state, 1)
        feeds |= {tensor.name: value for tensor, value in zip(self._spec.state, state, strict=True)}
        taken: list[int] = []
        for _ in range(times):
            began = perf_counter_ns()
            self._sequence.run(feeds)
            taken.append(perf_counter_ns() - began)
        return float(np.median(taken)) / 1000.0


def times(these: list[float], those: list[float]) -> float:
    """Median over the turns."""
    return round(float(np.median(np.divide(these, those))), 2)


def measure(steps: int) -> dict[str, dict[str, Any]]:
    sizes = {"2048 -> 64 x 3": WIDE, "40 -> 48 x 1 (bundled)": SMALL}
    cases = {(name, kind): Case(kind, size) for name, size in sizes.items() for kind in KINDS}
    found: dict[tuple[str, str], dict[str, list[float]]] = {
        key: {"step_us": [], "p99_us": [], "animals_us": [], "window_us": []} for key in cases
    }
    each = max(20, steps // ROUNDS)
    for _ in range(ROUNDS):
        for key, case in cases.items():
            p50, p99 = case.step_us(1, each)
            found[key]["step_us"].append(p50)
            found[key]["p99_us"].append(p99)
            found[key]["animals_us"].append(case.step_us(ANIMALS, each)[0])
            if case.window:
                found[key]["window_us"].append(case.window_us(max(3, each // 20)))
    result: dict[str, dict[str, Any]] = {}
    for (name, kind), one in found.items():
        best = {figure: round(min(values), 2) for figure, values in one.items() if values}
        best["animals_ratio"] = times(one["animals_us"], one["step_us"])
        if "window_us" in best:
            best["window_ratio"] = times(one["window_us"], one["step_us"])
        case, ok = cases[name, kind], None
        if kind in LIMIT_US:
            ok = best["step_us"] <= LIMIT_US[kind] and best["animals_ratio"] < ANIMALS_RATIO
            ok = ok and best.get("window_ratio", WINDOW_RATIO) >= WINDOW_RATIO
        result[f"{kind} {name}"] = {
            **best,
            "window_frames": case.window,
            "n_parameters": case.n_parameters,
            "state_bytes": case.state_bytes,
            "target_met": ok,
        }
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    result = measure(options.steps)
    table = Table(title="One step of a head on one core, us")
    for name in (
        "head",
        "weights",
        "state, B",
        "step",
        "p99",
        f"{ANIMALS} animals",
        "times",
        "window",
        "times",
        "target",
    ):
        table.add_column(name, justify="left" if name == "head" else "right")
    for name, one in result.items():
        window = [f"{one['window_us']:.0f}", f"{one['window_ratio']:.1f}"] if "window_us" in one else ["", ""]
        values = [f"{one[key]:.1f}" for key in ("step_us", "p99_us", "animals_us")]
        sizes = [f"{one['n_parameters']:,}", f"{one['state_bytes']:,}"]
        target = {True: "met", False: "missed", None: ""}[one["target_met"]]
        table.add_row(name, *sizes, *values, f"{one['animals_ratio']:.2f}", *window, target)
    Console(width=120).print(table)
    if options.json:
        about = {"processor": platform.machine(), "python": platform.python_version()}
        command = " ".join(["python", "benchmarks/head_step.py", *sys.argv[1:]])
        text = json.dumps({"machine": about, "command": command, "heads": result}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    wide = [one for name, one in result.items() if "2048" in name]
    return int(any(one["target_met"] is False for one in wide))


if __name__ == "__main__":
    sys.exit(main())
