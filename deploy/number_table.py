"""A table whose numbers are never cut: names and heads wrap, and columns that do not fit stand in a further block."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_GAP = 2
"""Blanks behind a column."""
_NAME_SHARE = 0.3
"""Of the width: what longer names are wrapped to before columns go into a further block."""


class NumberTable:
    """A row per name and a column per number, in whatever width there is: of a terminal, a log file, another table.

    Args:
        corner: above the names.
        heads: above the numbers.
    """

    def __init__(self, corner: str, *heads: str) -> None:
        self._corner, self._heads = corner, heads
        self._rows: list[tuple[str, list[str], str]] = []

    def add_row(self, name: str, *cells: str, style: str = "") -> None:
        """Add a row; cells that it lacks at its end are empty."""
        self._rows.append((name, [*cells, *[""] * (len(self._heads) - len(cells))], style))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        most = options.max_width
        wide = self._name_width + sum(width + _GAP for width in self._widths(self._heads))
        return Measurement(min(max(self._narrow, default=0) + _GAP, most), min(wide, most))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        room, widths = options.max_width, self._widths(self._heads)
        if self._name_width + sum(width + _GAP for width in widths) > room:
            widths = self._narrow
        names = min(self._name_width, int(_NAME_SHARE * room))
        widths = [min(width, room - names - _GAP) for width in widths]  # words of more than a line are folded
        for number, places in enumerate(_blocks(widths, room - names)):
            if number:
                yield Text()
            yield self._block(places, widths, room)

    def _block(self, places: Sequence[int], widths: Sequence[int], room: int) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bright_black")
        left = room - sum(widths[place] + _GAP for place in places)
        table.add_column(Text(self._corner), overflow="fold", width=max(min(self._name_width, left) - _GAP, 1))
        for place in places:
            table.add_column(Text(self._heads[place]), justify="right", overflow="fold", width=widths[place])
        for name, cells, style in self._rows:
            table.add_row(Text(name), *(Text(cells[place]) for place in places), style=style)
        return table

    @property
    def _name_width(self) -> int:
        return max(cell_len(name) for name in (self._corner, *(row[0] for row in self._rows))) + _GAP

    @property
    def _narrow(self) -> list[int]:
        """Of every column, where its head wraps between words."""
        return self._widths([max(head.split(), key=cell_len, default="") for head in self._heads])

    def _widths(self, heads: Sequence[str]) -> list[int]:
        return [max(map(cell_len, (head, *(row[1][place] for row in self._rows)))) for place, head in enumerate(heads)]


def _blocks(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Places of columns that stand beside each other, each block as many as there is room for, and one at least."""
    block: list[int] = []
    used = 0
    for place, width in enumerate(widths):
        if block and used + width + _GAP > room:
            yield block
            block, used = [], 0
        block.append(place)
        used += width + _GAP
    yield block  # of no column at all: names alone
