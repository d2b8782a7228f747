"""What int8 cost, as two tables: scores of both embedders side by side, and their times."""

from rich.console import Console
from rich.table import Table

from ..inference.precision import PrecisionCost, PrecisionJudgement, PrecisionScores, Quantisation, ScoredStretch

_KIB = 1024


def print_precision(record: Quantisation, console: Console) -> None:
    """Both tables and the verdict, as `quantise`, `train` and `bundle info` show them."""
    console.print(
        f"int8 embedder of {record.source}: weights of {record.weight_bits} bits per channel, uint8 activations, "
        f"float32 head; calibrated on {record.n_calibration_frames:,} frames ({record.n_calibration_crops:,} crops) of "
        f"{', '.join(record.calibrated_on)}; {record.float32_bytes / _KIB:,.0f} KiB became "
        f"{record.int8_bytes / _KIB:,.0f}"
    )
    if record.validation is not None:
        console.print(_scores("validation", record.validation.n_frames, record.validation))
        _say_what_was_scored("validation", record.validation.scored_on, console)
    console.print(_scores("test", record.n_test_frames, record))
    _say_what_was_scored("test", record.scored_on, console)
    console.print(f"probabilities moved by up to {record.p_change_max:.4f}; 99 % of frames: {record.p_change_p99:.4f}")
    console.print(_speed(record))
    part = "test" if record.validation is None else "validation"
    _say_verdict(part, record.score_loss, record.max_score_loss, console)


def print_judgement(judged: PrecisionJudgement, console: Console) -> None:
    """The scores that decide alone: what is left of an int8 bundle that is refused."""
    console.print(_scores(judged.part, judged.n_frames, judged))
    _say_what_was_scored(judged.part, judged.scored_on, console)
    _say_verdict(judged.part, judged.loss, judged.max_score_loss, console)


def _say_what_was_scored(part: str, scored_on: list[ScoredStretch], console: Console) -> None:
    if scored_on:  # older bundles do not say
        console.print(f"{part} part: {', '.join(one.name for one in scored_on)}")


def _say_verdict(part: str, loss: float, allowed: float, console: Console) -> None:
    console.print(
        f"lost on the {part} part: {loss:+.4f} balanced accuracy, the larger of both; allowed: {allowed:g}",
        style="green" if loss <= allowed else "bold red",
    )


def _scores(part: str, n_frames: int, record: Quantisation | PrecisionJudgement) -> Table:
    table = _table(f"{n_frames:,} {part} frames")
    for stage in ("stabilised", "raw"):
        for name in ("float32", "int8", "change"):
            table.add_column(f"{stage}\n{name}", justify="right", no_wrap=True)
    rows = [_values(record.stabilised), _values(record.raw)]
    for name in rows[0]:
        table.add_row(name, *(cell for row in rows for cell in _cells(*row[name])))
    agreement = [f"{cost.agreement:.4f}" for cost in (record.stabilised, record.raw)]
    table.add_row("same label", "", agreement[0], "", "", agreement[1], "")
    return table


def _values(cost: PrecisionCost) -> dict[str, tuple[float | None, float | None]]:
    def named(scores: PrecisionScores) -> dict[str, float | None]:
        return {
            "accuracy": scores.accuracy,
            "balanced accuracy": scores.balanced_accuracy,
            "macro-F1": scores.macro_f1,
            **{f"F1 {name}": value for name, value in scores.f1.items()},
        }

    before, after = named(cost.float32), named(cost.int8)
    return {name: (before[name], after[name]) for name in before}


def _cells(before: float | None, after: float | None) -> tuple[str, str, str]:
    if before is None or after is None:
        return ("-" if before is None else f"{before:.4f}", "-" if after is None else f"{after:.4f}", "-")
    return f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"


def _speed(record: Quantisation) -> Table:
    table = _table(f"CPU, {record.machine}")
    for name in ("float32 ms", "int8 ms", "times faster", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in record.speed:
        table.add_row(
            f"{one.threads} thread{'s' if one.threads > 1 else ''}, {one.batch} crop{'s' if one.batch > 1 else ''}",
            f"{one.float32_ms:.3f}",
            f"{one.int8_ms:.3f}",
            f"{one.ratio:.2f}",
            str(one.n_runs),
        )
    return table


def _table(corner: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column(corner, overflow="fold")
    return table
