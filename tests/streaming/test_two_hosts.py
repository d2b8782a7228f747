"""A second host in namespaces of its own, behind a bad network, against the truth: the short form of a benchmark."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def _namespaces() -> ModuleType:
    path = Path(__file__).parent / "two_hosts" / "namespaces.py"
    spec = importlib.util.spec_from_file_location("two_hosts_namespaces", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_second_host_follows_through_a_bad_network_over_keys(tmp_path: Path) -> None:
    hosts = _namespaces()
    try:
        found = hosts.run_two_hosts(
            tmp_path, 5.0, there_ms=(0.5, 1.5), back_ms=(0.25, 0.75), loss=0.1, ppm=50.0, seed=3, rate_hz=4.0
        )
    except hosts.RefusedError as error:
        pytest.skip(f"namespaces are refused here: {error}")
    assert found["local_minus_rig_s"] < -1e9 + hosts.SHIFT_S * 2, "its clock counts from another boot"
    assert found["n_answered"] > 15 and found["network"]["lost"] > 0 and found["server"]["refused"] == 0
    # The asymmetry of 0.25 ms is in the error, and half the least round trip bounds it.
    assert found["delay_us"] >= 750
    assert abs(found["offset_error_us"]) <= found["error_bound_us"] + 100
    assert found["n_went_back"] == 0
