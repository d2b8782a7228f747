"""A small file is old or new, and nothing else is left in its folder."""

from pathlib import Path

import pytest
from ethostream.sync.whole_file import write_whole


def test_a_file_is_written_anew_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("old", "grüße\n"):
        write_whole(path, text)
        assert path.read_bytes() == text.encode()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", "x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.json", "folder"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["a.json"]
