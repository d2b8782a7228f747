"""Names out of a pickle that is never unpickled.

PyTables keeps what is no plain number or text as a pickle inside the HDF5 file, and unpickling a file from elsewhere
runs whatever its author wished. Here its opcodes are read as data: those that build lists, tuples, texts and whole
numbers are followed, and any other, the ones that import or call something among them, ends the reading.
"""

import pickletools
from typing import Any, Final

from ...sync.errors import DataError

_MARK: Final = object()
_VALUES: Final = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
))  # fmt: skip
_PUT: Final = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_GET: Final = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickled_names(data: bytes, where: str) -> Any:
    """The lists, tuples, texts and whole numbers that a pickle describes.

    Args:
        data: the pickle.
        where: what it is, for messages.

    Raises:
        DataError: it describes anything else, or is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            number = argument if isinstance(argument, int) else len(memo)  # of what is remembered, where that is meant
            if name == "STOP":
                return stack.pop()
            if name in _VALUES:
                stack.append(argument)
            elif name in _PUT:
                memo[number] = stack[-1]
            elif name in _GET:
                stack.append(memo[number])
            elif not _build(name, stack):
                raise DataError(
                    f"{where}: its column names are pickled with {name}, which could run code, and are not read; "
                    "export the table as CSV"
                )
    except (ValueError, IndexError, KeyError, AttributeError, UnicodeError) as error:
        raise DataError(f"{where}: its column names cannot be read ({error}); export the table as CSV") from error
    raise DataError(f"{where}: its column names end in the middle; export the table as CSV")


def _build(name: str, stack: list[Any]) -> bool:
    """Carry out one opcode that builds something of what is on the stack; False: it is none of these."""
    match name:
        case "PROTO" | "FRAME":
            pass
        case "MARK":
            stack.append(_MARK)
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_TUPLE":
            stack.append(())
        case "LIST":
            stack.append(_to_mark(stack))
        case "TUPLE":
            stack.append(tuple(_to_mark(stack)))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        case "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        case "APPENDS":
            items = _to_mark(stack)
            stack[-1].extend(items)
        case _:
            return False
    return True


def _to_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]
