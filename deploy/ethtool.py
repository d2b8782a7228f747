"""What a network driver says of its receive ring (linux/ethtool.h)."""

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_GRINGPARAM = 0x10
_WORDS = 9  # cmd, rx, mini, jumbo and tx at most; rx, mini, jumbo and tx now


def rx_ring(port: str) -> tuple[int, int] | None:
    """Receive descriptors of ``port`` now and at most; None where the driver does not say."""
    words = (ctypes.c_uint32 * _WORDS)(_GRINGPARAM)
    request = struct.pack("16sP16x", port.encode()[:15], ctypes.addressof(words))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            fcntl.ioctl(asker.fileno(), _SIOCETHTOOL, request)
        except OSError:
            return None
    return (int(words[5]), int(words[1])) if words[1] else None
