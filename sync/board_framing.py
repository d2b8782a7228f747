"""Bytes on a serial line that a reader finds its way in: a checksum, and byte stuffing that frees zero to end a frame.

Consistent overhead byte stuffing: Cheshire and Baker, IEEE/ACM ToN 7:159, 1999. Pure.
"""

import binascii


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, initial 0xFFFF, not reflected; of ``b"123456789"`` it is 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def cobs_encode(data: bytes) -> bytes:
    """At most 253 bytes without any zero; one byte longer than ``data``."""
    return b"".join(bytes((len(block) + 1,)) + block for block in data.split(b"\0"))


def cobs_decode(data: bytes) -> bytes | None:
    """What was encoded, or None where this cannot be the whole of an encoding."""
    blocks: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + data[at]
        if end == at or end > len(data):
            return None
        blocks.append(data[at + 1 : end])
        at = end
    return b"\0".join(blocks) if blocks else None
