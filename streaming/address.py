"""Addresses of sockets: which are allowed, and how a socket gets one."""

import errno
import re

import zmq

from ..sync.errors import AddressError
from .keys import Keys

_LOOPBACK = re.compile(r"^(ipc://.+|tcp://(127\.\d+\.\d+\.\d+|localhost|\[::1\]):(\d+|\*)|inproc://.+)$")
_TCP = re.compile(r"^tcp://[^\s/]+:(\d+|\*)$")


def check_address(endpoint: str, keys: Keys | None = None) -> None:
    """Refuse an endpoint that other hosts could reach, unless there are ``keys`` to keep strangers out.

    Raises:
        AddressError: it is neither ipc nor loopback, and not tcp with keys.
    """
    if keys is not None and not _TCP.match(endpoint) and not _LOOPBACK.match(endpoint):
        raise AddressError(f"{endpoint}: is not an address; write tcp://HOST:PORT")
    if keys is None and not _LOOPBACK.match(endpoint):
        raise AddressError(
            f"{endpoint}: only ipc and loopback addresses are allowed without keys; make keys with `ethostream keys "
            "make` and name their folder (bus.keys in the rig file, --keys on the command line)"
        )


def bind(socket: "zmq.Socket[bytes]", endpoint: str, keys: Keys | None, who: str, cure: str) -> str:
    """Give a socket its address, with ``keys`` for the hosts of the allow-list only; returns the one that it got.

    Args:
        socket: with all its options; it is closed where it gets no address.
        endpoint: one that `check_address` allows.
        keys: of this host.
        who: wants it, for the words of the error.
        cure: what to do where it cannot be had.

    Raises:
        AddressError: the address is in use, too long, or not of this host.
    """
    if keys is not None:
        keys.serve(socket)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        if error.errno == errno.ENAMETOOLONG:
            raise AddressError(
                f"{who}: {endpoint} is too long; set TMPDIR to a shorter folder, or choose a shorter one"
            ) from error
        raise AddressError(f"{who}: cannot bind {endpoint} ({error.strerror or error}){cure}") from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
