"""Some minutes of the day of headers (``benchmarks/day.py``): nothing lost, nothing mixed, nothing that grows."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def day(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("day", repository / "benchmarks" / "day.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["day"] = module
    spec.loader.exec_module(module)
    return module


def test_some_minutes_of_headers(day: ModuleType) -> None:
    one = day.Day(0.06, seed=3)
    one.run()
    result = one.result()
    assert result["wrong"] == []
    assert (result["undeclared"], result["mispaired"]) == (0, 0)
    assert result["headers"] > 8 * 0.9 * 0.06 * 3600 * 60
    assert result["declared_drops"] > 0
    assert result["sets_partial"] > 0  # the camera that was unplugged
    assert result["error_of_device_times_ms"]["p99"] < 0.1
    assert result["containers"]["open_sets"] == 0
    assert result["containers"]["remembered_frames"] <= 1024
    assert result["containers"]["window_frames"] <= 2048


def test_a_frame_that_is_lost_without_a_word_is_seen(day: ModuleType) -> None:
    """The account can fail: a header that never reaches the recorder."""
    one = day.Day(0.004, seed=3)
    account = one.cameras[2].account
    taken = account.add_header
    account.add_header = lambda header: header.seq == 300 or taken(header)
    with pytest.raises(AssertionError, match="lost without a word"):
        one.run()
