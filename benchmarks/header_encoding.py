"""Encode and decode one frame header: msgspec (validated) beside msgpack and JSON (not validated).

.venv/bin/python benchmarks/header_encoding.py
"""

import json
import timeit
from collections.abc import Callable

import msgpack
import msgspec
from ethostream.streaming.messages import FrameHeader

N = 100_000
REPEATS = 7

HEADER = FrameHeader(
    camera="cam3",
    epoch=0,
    seq=123_456,
    t_exposure_ns=1_790_000_000_000_000_000,
    exposure_us=1500,
    t_received_ns=1_790_000_000_006_000_000,
    time_source="device",
    width=1920,
    height=1080,
    pixel_format="mono8",
    ring="ethostream-1a2b3c4d-cam3",
    slot=17,
    generation=4242,
)


def main() -> None:
    encoder = msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(FrameHeader)
    values = msgspec.structs.astuple(HEADER)
    assert msgpack.packb(values) == encoder.encode(HEADER), "the two must write the same bytes"
    ways: dict[str, Callable[[], object]] = {
        "msgspec, validated": lambda: decoder.decode(encoder.encode(HEADER)),
        "msgpack": lambda: msgpack.unpackb(msgpack.packb(values)),
        "json": lambda: json.loads(json.dumps(values)),
    }
    best = {name: min(timeit.repeat(way, number=N, repeat=REPEATS)) / N * 1e6 for name, way in ways.items()}
    for name, microseconds in best.items():
        print(f"{name:20} {microseconds:6.2f} us   x {microseconds / best['msgspec, validated']:.1f}")


if __name__ == "__main__":
    main()
