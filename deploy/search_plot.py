"""The variants of a search as a picture: their scores in the order in which they were tried, and over each setting."""

import json
from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Any, Final

from .canvas import COLORS, Canvas, canvas_for, round_steps, write_canvas

WIDTH: Final = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 70, 60
_MAIN_HEIGHT, _PANEL_HEIGHT, _COLUMNS, _GAP, _ROW_GAP = 300, 170, 3, 60, 25
_DONE, _GIVEN_UP, _BEST = COLORS[0], COLORS[4], COLORS[1]
_GRID: Final = "#dddddd"
_MOST_STEPS, _LONGEST_WORD = 6, 14


class _Axes:
    """Where values lie on the paper."""

    def __init__(
        self, x: float, y: float, width: float, height: float, across: tuple[float, float], up: tuple[float, float]
    ) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self._across, self._up = _widened(*across), _widened(*up)

    def x_of(self, value: float) -> float:
        low, high = self._across
        return self.x + self.width * (value - low) / (high - low)

    def y_of(self, value: float) -> float:
        low, high = self._up
        return self.y + self.height * (1.0 - (value - low) / (high - low))

    def levels(self) -> list[float]:
        return round_steps(*self._up, _MOST_STEPS)


def write_search_plot(path: Path, found: Mapping[str, Any]) -> None:
    """Draw what `search` gives.

    Args:
        path: ``.png`` or ``.svg``.
        found: what ``search.json`` holds.

    Raises:
        ReportError: it cannot be written.
    """
    shown = [one for one in found["trials"] if one["by_fold"]]
    keys = list(found["space"])
    n_rows = -(-len(keys) // _COLUMNS)
    height = _TOP + _MAIN_HEIGHT + _BOTTOM + n_rows * (_PANEL_HEIGHT + _ROW_GAP)
    canvas = canvas_for(path, WIDTH, height)
    scores = [_height(one) for one in shown] or [0.0]
    up = (min(scores), max(scores))
    _course(canvas, found, shown, up)
    width = (WIDTH - _LEFT - _RIGHT - (_COLUMNS - 1) * _GAP) / _COLUMNS
    for place, key in enumerate(keys):
        x = _LEFT + (place % _COLUMNS) * (width + _GAP)
        y = _TOP + _MAIN_HEIGHT + _BOTTOM + (place // _COLUMNS) * (_PANEL_HEIGHT + _ROW_GAP) + 10
        _setting(canvas, found, shown, key, (x, y, width), up)
    write_canvas(path, canvas)


def _course(
    canvas: Canvas, found: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], up: tuple[float, float]
) -> None:
    """Scores in the order of the variants, with the best so far."""
    last = max([one["number"] for one in found["trials"]], default=0)
    axes = _Axes(_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, _MAIN_HEIGHT, (0.0, float(last)), up)
    told = f"{found['tried']} variants: {found['complete']} done, {found['pruned']} given up, {found['failed']} failed"
    canvas.text(_LEFT, 20, f"{found['objective']}, {found['folds']['n_folds']} folds; {told}", 15)
    canvas.text(_LEFT, 40, "The best is the best of many: too good for recordings that were not searched on.", 12)
    for level in axes.levels():
        canvas.line(axes.x, axes.y_of(level), axes.x + axes.width, axes.y_of(level), _GRID)
        canvas.text(axes.x - 8, axes.y_of(level) + 4, f"{level:g}", 12, "end")
    for number in round_steps(0.0, float(max(last, 1)), 10):
        if number == round(number) and number <= last:
            canvas.text(axes.x_of(number), axes.y + axes.height + 18, f"{number:g}", 12, "middle")
    canvas.text(axes.x + axes.width / 2, axes.y + axes.height + 38, "variant", 13, "middle")
    best: float | None = None
    before = 0.0
    sign = -1.0 if found["less_is_better"] else 1.0
    for one in shown:
        if one["score"] is not None and (best is None or sign * one["score"] > sign * best):
            if best is not None:
                canvas.line(before, axes.y_of(best), axes.x_of(one["number"]), axes.y_of(best), _BEST, 2)
                canvas.line(
                    axes.x_of(one["number"]),
                    axes.y_of(best),
                    axes.x_of(one["number"]),
                    axes.y_of(one["score"]),
                    _BEST,
                    2,
                )
            best, before = one["score"], axes.x_of(one["number"])
    if best is not None:
        canvas.line(before, axes.y_of(best), axes.x + axes.width, axes.y_of(best), _BEST, 2)
    for one in shown:
        _point(canvas, axes.x_of(one["number"]), axes.y_of(_height(one)), one, found)
    legend = ((_DONE, True, "done"), (_GIVEN_UP, False, "given up, at its last fold"), (_BEST, True, "best so far"))
    for place, (color, filled, words) in enumerate(legend):
        canvas.circle(_LEFT + 10 + 200 * place, 56, 4, color, filled=filled)
        canvas.text(_LEFT + 20 + 200 * place, 60, words, 12)


def _setting(
    canvas: Canvas,
    found: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
    key: str,
    corner: tuple[float, float, float],
    up: tuple[float, float],
) -> None:
    """Scores over the values of one key."""
    domain: Mapping[str, Any] = found["space"][key]
    x, y, width = corner
    choices = [_word(one) for one in domain.get("choices", [])]
    is_log = bool(domain.get("log"))
    across = (
        (0.0, float(len(choices) - 1)) if choices else (_scaled(domain["low"], is_log), _scaled(domain["high"], is_log))
    )
    axes = _Axes(x, y, width, _PANEL_HEIGHT - 40, across, up)
    canvas.line(x, y + axes.height, x + width, y + axes.height, "#888888")
    canvas.line(x, y, x, y + axes.height, "#888888")
    canvas.text(x, y - 6, key, 12)
    if choices:
        for place, word in enumerate(choices):
            canvas.text(axes.x_of(place), y + axes.height + 14 + 12 * (place % 2), _short(word), 10, "middle")
    else:
        canvas.text(x, y + axes.height + 16, f"{domain['low']:g}", 11)
        canvas.text(x + width, y + axes.height + 16, f"{domain['high']:g}{' (log)' if is_log else ''}", 11, "end")
    for one in shown:
        value = one["values"].get(key)
        at = float(choices.index(_word(value))) if choices else _scaled(value, is_log)
        _point(canvas, axes.x_of(at), axes.y_of(_height(one)), one, found)


def _point(canvas: Canvas, x: float, y: float, one: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    done = one["score"] is not None
    canvas.circle(x, y, 4, _DONE if done else _GIVEN_UP, filled=done)
    if found["best"] is not None and one["number"] == found["best"]["number"]:
        canvas.circle(x, y, 8, _BEST, filled=False)


def _height(one: Mapping[str, Any]) -> float:
    return float(one["score"] if one["score"] is not None else one["by_fold"][-1])


def _short(word: str) -> str:
    """A word that leaves room for its neighbours; of a list its ends and how many it holds."""
    if len(word) <= _LONGEST_WORD:
        return word
    value = json.loads(word)
    if isinstance(value, list) and not any(isinstance(one, list | dict) for one in value):
        return f"{value[0]}..{value[-1]} ({len(value)})"
    return f"{word[: _LONGEST_WORD - 2]}.."


def _scaled(value: float, is_log: bool) -> float:
    return log10(value) if is_log else float(value)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Room at both ends, also where they are the same."""
    room = 0.06 * (high - low) or max(abs(low), 1.0) * 0.1
    return low - room, high + room


def _word(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
