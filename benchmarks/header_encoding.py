"""Encode and decode one frame header: msgspec (validated) beside msgpack and JSON (not validated).

    python benchmarks/header_encoding.py [--n 100000] [--json header_encoding.json]

Before timing it makes sure that the first two write the same bytes.
"""

import argparse
import json
import timeit
from collections.abc import Callable
from pathlib import Path

import msgpack
import msgspec
from ethostream.streaming.messages import FrameHeader

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help=f"headers; the best of {REPEATS} times so many counts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encoder = msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(FrameHeader)
    values = msgspec.structs.astuple(HEADER)
    assert msgpack.packb(values) == encoder.encode(HEADER), "the two must write the same bytes"
    ways: dict[str, Callable[[], object]] = {
        "msgspec, validated": lambda: decoder.decode(encoder.encode(HEADER)),
        "msgpack": lambda: msgpack.unpackb(msgpack.packb(values)),
        "json": lambda: json.loads(json.dumps(values)),
    }
    best_s = {name: min(timeit.repeat(way, number=options.n, repeat=REPEATS)) for name, way in ways.items()}
    best = {name: seconds / options.n * 1e6 for name, seconds in best_s.items()}
    for name, microseconds in best.items():
        print(f"{name:20} {microseconds:6.2f} us   x {microseconds / best['msgspec, validated']:.1f}")
    if options.json:
        options.json.write_text(json.dumps({"us_per_header": best}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
