"""One top-level key of a task file written anew, as text: everything else, comments too, stays byte for byte."""

import os
from pathlib import Path
from typing import Any

import yaml

from ..inference.config import TaskConfig
from ..sync.errors import ConfigError
from ..sync.strict import validate


def write_key(path: Path, key: str, value: dict[str, Any], comment: str) -> None:
    """Set ``key`` of a task file, and check that the file then says that and otherwise what it said.

    Args:
        path: the task file.
        key: top-level, such as ``stabiliser``; it is appended where it is not there.
        value: plain values.
        comment: one line above the values.

    Raises:
        ConfigError: the file cannot be read or written, or is written in a way that cannot be changed without a risk
            for the rest; it is left as it was.
    """
    new = replaced(_read(path), key, value, comment, str(path))
    validate(TaskConfig, yaml.safe_load(new), str(path))
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(new.encode("utf-8"))
        part.chmod(path.stat().st_mode)
        os.replace(part, path)  # noqa: PTH105 - os.replace also replaces on the same folder in one step
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); check its permissions") from error


def require_editable(path: Path, key: str) -> None:
    """Better now than after minutes of work.

    Raises:
        ConfigError: as `write_key` would.
    """
    replaced(_read(path), key, {}, "", str(path))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name a task file that is there") from error


def replaced(text: str, key: str, value: dict[str, Any], comment: str, where: str) -> str:
    """The text with ``key`` set; see `write_key`.

    Raises:
        ConfigError: it cannot be done in this text; the message has the lines to write by hand.
    """
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    block = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=None, width=110)
    first, _, rest = block.partition("\n")
    block_lines = [first, f"  # {comment}", *rest.splitlines()]
    by_hand = "write it by hand:\n" + "\n".join(block_lines)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        before: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: cannot be changed in place, it is not one YAML document ({error})") from error
    lines = text.splitlines()
    if root is None:
        lines += block_lines
    elif not isinstance(root, yaml.MappingNode) or root.flow_style or root.start_mark.column != 0:
        raise ConfigError(f"{where}: {key} cannot be set in place, since the file is no plain list of keys; {by_hand}")
    else:
        span = _lines_of(root, key)
        if span is None:
            lines += block_lines
        else:
            _refuse_anchors(text, span, where, key, by_hand)
            lines[span[0] : span[1] + 1] = block_lines
    new = end_of_line.join(lines) + end_of_line
    expected = {**(before or {}), key: value}
    try:
        after: Any = yaml.safe_load(new)
    except yaml.YAMLError:
        after = None
    if after != expected:
        raise ConfigError(f"{where}: {key} cannot be set in place without changing other keys; {by_hand}")
    return new


def _lines_of(root: yaml.MappingNode, key: str) -> tuple[int, int] | None:
    """First and last line of a key with its value, from 0; None: it is not there."""
    for name, value in root.value:
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            return name.start_mark.line, max(name.end_mark.line, _last_line(value))
    return None


def _last_line(node: yaml.Node) -> int:
    """Last line with something of a value: a block ends with its last item, not where the next key begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        return max(_last_line(part) for part in parts)
    last = node.end_mark.line
    return last - 1 if node.end_mark.column == 0 and last > node.start_mark.line else last


def _refuse_anchors(text: str, span: tuple[int, int], where: str, key: str, by_hand: str) -> None:
    """An anchor in the old value may be used elsewhere, and an alias in it points elsewhere."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if not isinstance(event, yaml.NodeEvent) or event.anchor is None or event.start_mark is None:
            continue
        if span[0] <= event.start_mark.line <= span[1]:
            raise ConfigError(f"{where}: {key} holds the anchor or alias {event.anchor!r}; take it out, or {by_hand}")
