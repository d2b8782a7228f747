"""One train of pulses in every format that is read; the files are made here, none is from a real device."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.sync.errors import ConfigError, DataError
from ethostream.sync.pulse_files import ReadOptions, read_pulses

RATE_HZ = 20_000.0
EDGES = 0.5 + np.cumsum(np.random.default_rng(3).uniform(0.012, 0.02, 40))
N = int((EDGES[-1] + 0.2) * RATE_HZ)
ON_SAMPLES = np.ceil(EDGES * RATE_HZ).astype(np.int64)
"""The first high sample of each pulse; the line crosses half a sample before it."""
WIDTH = 40
CROSSINGS = (ON_SAMPLES - 0.5) / RATE_HZ


def volts() -> np.ndarray:
    signal = np.zeros(N)
    for place in ON_SAMPLES:
        signal[place : place + WIDTH] = 5.0
    return signal


def check(path: Path, wanted: np.ndarray, tolerance_s: float = 1e-9, **options: Any) -> None:
    found = read_pulses(path, ReadOptions(**options))
    assert len(found.times_s) == len(wanted)
    assert np.abs(found.times_s - wanted).max() <= tolerance_s
    assert path.name in found.source or path.is_dir()


@pytest.mark.parametrize(("unit", "scale"), [("", 1.0), ("_s", 1.0), ("_ms", 1e3), ("_us", 1e6), ("_ns", 1e9)])
def test_csv_of_times(tmp_path: Path, unit: str, scale: float) -> None:
    rows = "\n".join(f"{n},{edge * scale:.9f},x" for n, edge in enumerate(EDGES))
    (tmp_path / "a.csv").write_text(f"number,time{unit},note\n{rows}\n")
    check(tmp_path / "a.csv", EDGES, channel=f"time{unit}")


def test_csv_without_a_header_and_with_other_separators(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("".join(f"{edge:.12f}\n" for edge in EDGES))
    check(tmp_path / "one.csv", EDGES)
    (tmp_path / "two.tsv").write_text("# a comment\n" + "".join(f"{n}\t{edge:.12f}\n" for n, edge in enumerate(EDGES)))
    check(tmp_path / "two.tsv", EDGES, channel="1")


def test_csv_of_a_voltage(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("ttl;other\n" + "".join(f"{v};0\n" for v in volts()))
    check(tmp_path / "v.csv", CROSSINGS, channel="ttl", rate_hz=RATE_HZ)
    check(tmp_path / "v.csv", CROSSINGS, channel="ttl", rate_hz=RATE_HZ, threshold=2.5, hysteresis=1.0)
    check(tmp_path / "v.csv", CROSSINGS + WIDTH / RATE_HZ, channel="ttl", rate_hz=RATE_HZ, edge="falling")


def test_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", EDGES)
    check(tmp_path / "t.npy", EDGES)
    np.save(tmp_path / "v.npy", volts().astype(np.float32))
    check(tmp_path / "v.npy", CROSSINGS, rate_hz=RATE_HZ)
    np.save(tmp_path / "d.npy", volts() > 1)
    check(tmp_path / "d.npy", CROSSINGS, rate_hz=RATE_HZ)
    np.save(tmp_path / "two.npy", np.stack([np.zeros(N), volts()], axis=1))
    check(tmp_path / "two.npy", CROSSINGS, channel="1", rate_hz=RATE_HZ)
    np.savez(tmp_path / "z.npz", camera_ns=np.round(EDGES * 1e9).astype(np.int64), other=np.zeros(3))
    check(tmp_path / "z.npz", EDGES, channel="camera_ns")


def test_tdms(tmp_path: Path) -> None:
    nptdms = pytest.importorskip("nptdms", reason="npTDMS comes with the extra 'align'")
    properties = {"wf_increment": 1 / RATE_HZ, "wf_start_offset": 2.0}
    with nptdms.TdmsWriter(str(tmp_path / "daq.tdms")) as writer:
        for part in np.array_split(volts(), 3):  # in pieces, as a running acquisition writes it
            writer.write_segment(
                [
                    nptdms.ChannelObject("Dev1", "camera", part, properties=properties),
                    nptdms.ChannelObject("Dev1", "lick", part * 0, properties=properties),
                ]
            )
    check(tmp_path / "daq.tdms", CROSSINGS + 2.0, channel="camera")
    check(tmp_path / "daq.tdms", CROSSINGS + 2.0, channel="Dev1/camera")
    with pytest.raises(DataError, match=r"has 2 channels \(Dev1/camera, Dev1/lick\); name one"):
        read_pulses(tmp_path / "daq.tdms")
    with nptdms.TdmsWriter(str(tmp_path / "bare.tdms")) as writer:
        writer.write_segment([nptdms.ChannelObject("g", "camera", volts())])
    with pytest.raises(DataError, match="give --rate HZ"):
        read_pulses(tmp_path / "bare.tdms")
    check(tmp_path / "bare.tdms", CROSSINGS, rate_hz=RATE_HZ)


def open_ephys(folder: Path, *, old: bool) -> Path:
    """A recording in the binary format, as of 0.6 or before it; the last pulse has no end."""
    record = folder / "experiment1" / "recording1"
    ttl, data = record / "events" / "DAQ" / "TTL", record / "continuous" / "DAQ"
    ttl.mkdir(parents=True)
    data.mkdir(parents=True)
    first = 5000
    samples = np.concatenate([ON_SAMPLES, ON_SAMPLES[:-1] + WIDTH, ON_SAMPLES[:3] + 7]) + first
    states = np.concatenate([np.full(len(EDGES), 2), np.full(len(EDGES) - 1, -2), np.full(3, 5)]).astype(np.int16)
    order = np.argsort(samples, kind="stable")
    if old:
        np.save(ttl / "timestamps.npy", samples[order])
        np.save(ttl / "channel_states.npy", states[order])
        np.save(data / "timestamps.npy", first + np.arange(N))
    else:
        np.save(ttl / "sample_numbers.npy", samples[order])
        np.save(ttl / "timestamps.npy", samples[order] / RATE_HZ)
        np.save(ttl / "states.npy", states[order])
        np.save(data / "sample_numbers.npy", first + np.arange(N))
    np.stack([np.zeros(N), volts() * 1000], axis=1).astype("<i2").tofile(data / "continuous.dat")
    stream = {"folder_name": "DAQ/TTL/", "sample_rate": RATE_HZ}
    channels = [{"channel_name": "CH1", "bit_volts": 0.195}, {"channel_name": "ADC1", "bit_volts": 0.001}]
    continuous = {"folder_name": "DAQ/", "sample_rate": RATE_HZ, "num_channels": 2, "channels": channels}
    (record / "structure.oebin").write_text(json.dumps({"events": [stream], "continuous": [continuous]}))
    return record


@pytest.mark.parametrize("old", [False, True], ids=["0.6 and later", "before 0.6"])
def test_open_ephys_binary(tmp_path: Path, old: bool) -> None:
    open_ephys(tmp_path, old=old)
    wanted = (ON_SAMPLES + 5000) / RATE_HZ
    check(tmp_path, wanted, channel="DAQ/TTL:2")
    check(tmp_path, wanted[:-1] + WIDTH / RATE_HZ, channel="DAQ/TTL:2", edge="falling")
    check(tmp_path, CROSSINGS + 5000 / RATE_HZ, channel="DAQ:ADC1")
    with pytest.raises(DataError, match="DAQ/TTL:2, DAQ/TTL:5, DAQ:CH1, DAQ:ADC1"):
        read_pulses(tmp_path)


def test_open_ephys_of_two_recordings_wants_one(tmp_path: Path) -> None:
    open_ephys(tmp_path / "a", old=False)
    open_ephys(tmp_path / "b", old=False)
    with pytest.raises(DataError, match="holds 2 recordings"):
        read_pulses(tmp_path)


def test_open_ephys_older_format(tmp_path: Path) -> None:
    record = np.dtype("<i8, <i2, u1, u1, u1, u1, <u2")
    rows = [(place, 0, 3, 100, 1, 2, 0) for place in ON_SAMPLES] + [(p + WIDTH, 0, 3, 100, 0, 2, 0) for p in ON_SAMPLES]
    rows += [(77, 0, 5, 100, 1, 2, 0), (99, 0, 3, 100, 1, 4, 0)]
    header = b"header.format = 'Open Ephys Data Format';\nheader.sampleRate = 20000;\n"
    body = np.array(sorted(rows), record).tobytes()
    (tmp_path / "all_channels.events").write_bytes(header.ljust(1024) + body)
    check(tmp_path, ON_SAMPLES / RATE_HZ, channel="2")
    check(tmp_path, (ON_SAMPLES + WIDTH) / RATE_HZ, channel="2", edge="falling")
    with pytest.raises(DataError, match=r"has 2 TTL lines \(2, 4\)"):
        read_pulses(tmp_path)


def spike2(path: Path) -> None:
    """A file in the 32-bit layout, as neo describes it: an event channel and a sampled one. Not by Spike2 itself."""
    raw = pytest.importorskip("neo.rawio.spike2rawio", reason="neo comes with the extra 'align'")
    us_per_time, per_sample = 10, 5  # a clock of 10 µs, a sample every 5 of its ticks: 20 kHz
    n_channels = 3
    info = np.zeros(1, np.dtype(raw.headerDescription))[0]
    info["system_id"], info["us_per_time"], info["dtime_base"], info["channels"] = 8, us_per_time, 1e-6, n_channels
    info["time_per_adc"] = 1
    ticks = (ON_SAMPLES * per_sample).astype("<i4")
    signal = (volts() / 5 * 32767 * 5 / 5).astype("<i2")
    block = np.dtype(raw.blockHeaderDesciption)
    blocks: list[bytes] = []
    begin = 512 + 140 * n_channels
    chain: list[tuple[int, int]] = []

    def put(channel: int, parts: list[tuple[bytes, int, int, int]]) -> None:
        nonlocal begin
        chain.append((begin, len(parts)))
        for place, (data, first, last, items) in enumerate(parts):
            head = np.zeros(1, block)[0]
            size = block.itemsize + len(data)
            head["succ_block"] = begin + size if place + 1 < len(parts) else -1
            head["start_time"], head["end_time"], head["channel_num"], head["items"] = first, last, channel + 1, items
            blocks.append(head.tobytes() + data)
            begin += size

    put(0, [(part.tobytes(), int(part[0]), int(part[-1]), len(part)) for part in np.array_split(ticks, 3)])
    places = np.array_split(np.arange(N), N // 16_000 + 1)
    put(1, [
        (signal[part].tobytes(), int(part[0]) * per_sample, int(part[-1]) * per_sample, len(part)) for part in places
    ])  # fmt: skip
    both = np.sort(np.concatenate([ticks, ticks + WIDTH * per_sample])).astype("<i4")
    put(2, [(both.tobytes(), int(both[0]), int(both[-1]), len(both))])
    headers = b""
    for number, (kind, title) in enumerate([(3, b"\x06camera"), (1, b"\x03ttl"), (4, b"\x05level")]):
        one = np.zeros(1, np.dtype(raw.channelHeaderDesciption1))[0]
        one["firstblock"], one["blocks"] = chain[number]
        one["kind"], one["title"] = kind, title
        one["ideal_rate"] = RATE_HZ
        if kind == 1:
            one["l_chan_dvd"] = per_sample
        data = one.tobytes()
        if kind == 1:
            tail = np.zeros(1, np.dtype([("scale", "f4"), ("offset", "f4"), ("unit", "S6"), ("interleave", "i2")]))[0]
            tail["scale"], tail["unit"] = 1.0, b"\x04volt"
            data += tail.tobytes()
        if kind == 4:
            data += b"\x01\x01"  # low at first
        headers += data.ljust(140, b"\0")
    path.write_bytes(info.tobytes().ljust(512, b"\0") + headers + b"".join(blocks))


def test_spike2(tmp_path: Path) -> None:
    spike2(tmp_path / "rec.smr")
    check(tmp_path / "rec.smr", ON_SAMPLES / RATE_HZ, channel="camera")
    check(tmp_path / "rec.smr", CROSSINGS, 1e-8, channel="ttl")
    check(tmp_path / "rec.smr", ON_SAMPLES / RATE_HZ, channel="level")
    check(tmp_path / "rec.smr", (ON_SAMPLES + WIDTH) / RATE_HZ, channel="level", edge="falling")
    with pytest.raises(DataError, match=r"has 3 channels \(camera, level, ttl\)"):
        read_pulses(tmp_path / "rec.smr")
    with pytest.raises(DataError, match="camera holds rising edges only"):
        read_pulses(tmp_path / "rec.smr", ReadOptions("camera", edge="falling"))


def test_spike2_of_64_bits_says_what_it_needs(tmp_path: Path) -> None:
    pytest.importorskip("neo", reason="neo comes with the extra 'align'")
    try:
        import sonpy  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        (tmp_path / "rec.smrx").write_bytes(b"S64")
        with pytest.raises(ConfigError, match="pip install sonpy"):
            read_pulses(tmp_path / "rec.smrx")
    else:
        pytest.skip("sonpy is installed, and there is no .smrx file here to read with it")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "t\n1\nx\n", "row 3 of column t holds 'x'"),
        ("a.csv", "t,u\n1,2\n", r"has 2 columns \(t, u\); name one with --channel"),
        ("a.csv", "3\n2\n1\n", "do not rise"),
        ("a.bin", "x", "not a format that is read"),
        ("a.npy", "x", "cannot be read"),
        ("a.tdms", "x", "holds no channel"),
    ],
)
def test_bad_files_are_refused_with_what_to_do(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        read_pulses(tmp_path / name)


def test_whole_numbers_without_a_unit_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.arange(10))
    with pytest.raises(DataError, match="without a unit"):
        read_pulses(tmp_path / "t.npy")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_pulses(tmp_path / "no.csv")
    with pytest.raises(DataError, match="is not one recording of Open Ephys"):
        read_pulses(tmp_path)
