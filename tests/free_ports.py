"""Ports for tests that run side by side: those of one test process are no other's, and none that the system gives."""

import os
import socket
from itertools import count, islice

import pytest

_FIRST, _BLOCK, _N_BLOCKS = 20_000, 1000, 12
"""Blocks of the test processes, below where Linux takes the ports of outgoing connections from (32768)."""
_STRIDE = 20
_N_STARTS = _BLOCK // _STRIDE

_starts = count(os.getpid())
"""Each call goes on where the last one stopped; runs beside this one begin elsewhere."""


def free_ports(n: int) -> list[int]:
    """``n`` ports in a row, twenty at most, that nothing on this machine listens at."""
    assert 0 < n <= _STRIDE
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    block = _FIRST + worker % _N_BLOCKS * _BLOCK
    for start in islice(_starts, _N_STARTS):
        first = block + start % _N_STARTS * _STRIDE
        ports = list(range(first, first + n))
        if all(map(_is_free, ports)):
            return ports
    pytest.fail(f"no {n} free ports in a row from {block} to {block + _BLOCK - 1}")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
