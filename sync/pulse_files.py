"""Pulse times from the files of other devices: CSV, NumPy, Spike2, Open Ephys, TDMS.

Each reader gives either edge times that the device itself found, or a sampled voltage that `pulses.edge_times` is run
on. Libraries (neo, npTDMS: extra ``align``) are imported where their format is read. Open Ephys is read without neo,
which drops the last pulse of a recording that ends while the line is high, and does not tell rising from falling edges
in the older format.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, DataError
from .pulses import EdgeKind, choose_threshold, edge_times

Floats = NDArray[np.float64]

_SCALES = {"_ns": 1e-9, "_us": 1e-6, "_ms": 1e-3, "_s": 1.0}
_TTL_EVENT = 3
_LEGACY_HEADER_BYTES = 1024
_LEGACY_EVENT = np.dtype(
    [
        ("timestamp", "<i8"), ("sample_pos", "<i2"), ("event_type", "u1"), ("processor_id", "u1"), ("event_id", "u1"),
        ("chan_id", "u1"), ("record_num", "<u2"),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a pulse file.

    Attributes:
        channel: name (or number, as text) of the channel; "": the only one there is.
        rate_hz: samples per second; required where the file does not say it and holds a voltage.
        threshold, hysteresis: of a voltage, in its unit; None: chosen from its two levels.
        edge: which edges count.
    """

    channel: str = ""
    rate_hz: float | None = None
    threshold: float | None = None
    hysteresis: float | None = None
    edge: EdgeKind = "rising"


@dataclass(frozen=True, slots=True, eq=False)
class PulseTimes:
    """What was read.

    Attributes:
        times_s: (n,) float64 seconds on the device's own clock, increasing.
        source: file and channel, in words.
        resolution_s: step of the times where the file says it (event times are whole samples), else 0.0.
        threshold, hysteresis: what a voltage was cut at, else None.
    """

    times_s: Floats
    source: str
    resolution_s: float = 0.0
    threshold: float | None = None
    hysteresis: float | None = None


def read_pulses(path: Path, options: ReadOptions | None = None) -> PulseTimes:
    """Read the pulses of one channel; the format follows from the name.

    Raises:
        DataError: not readable, no such channel, or nothing says how fast it was sampled.
        ConfigError: the library of this format is not installed.
    """
    options = options or ReadOptions()
    if not path.exists():
        raise DataError(f"{path}: is not there; check the path")
    if path.is_dir():
        return _read_open_ephys(path, options)
    readers = {".csv": _read_csv, ".txt": _read_csv, ".tsv": _read_csv, ".npy": _read_numpy, ".npz": _read_numpy}
    readers |= {".smr": _read_spike2, ".smrx": _read_spike2, ".tdms": _read_tdms, ".oebin": _read_oebin}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: {path.suffix or 'no ending'} is not a format that is read; they are "
            f"{', '.join(sorted(readers))}, and folders of Open Ephys"
        )
    try:
        return reader(path, options)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error}); is it whole?") from error


def _pick(names: list[str], wanted: str, path: Path, what: str = "channel") -> int:
    """Place of the channel that is wanted."""
    if not wanted and len(names) == 1:
        return 0
    found = [place for place, name in enumerate(names) if name == wanted]
    if not found and wanted.isdigit() and int(wanted) < len(names):
        found = [int(wanted)]
    if len(found) == 1:
        return found[0]
    if not names:
        raise DataError(f"{path}: holds no {what}; is it the right file, and is it whole?")
    listed = ", ".join(names)
    if not wanted:
        raise DataError(f"{path}: has {len(names)} {what}s ({listed}); name one with --channel")
    raise DataError(f"{path}: {len(found) or 'no'} {what} {wanted!r}; it has {listed}")


def _from_samples(samples: Any, rate_hz: float | None, t0_s: float, source: str, options: ReadOptions) -> PulseTimes:
    if rate_hz is None:
        raise DataError(f"{source}: is a sampled signal, and nothing says how fast; give --rate HZ")
    threshold, hysteresis = options.threshold, options.hysteresis
    if threshold is None:
        chosen, band = choose_threshold(samples)
        threshold, hysteresis = chosen, band if hysteresis is None else hysteresis
    times = edge_times(samples, rate_hz, threshold, hysteresis or 0.0, options.edge, t0_s)
    return PulseTimes(times, source, 0.0, threshold, hysteresis or 0.0)


def _times_or_samples(values: Floats, name: str, source: str, options: ReadOptions) -> PulseTimes:
    """A column is a voltage where a rate is given, and a list of times where it rises throughout."""
    if options.rate_hz is not None:
        return _from_samples(values, options.rate_hz, 0.0, source, options)
    scale = next((scale for ending, scale in _SCALES.items() if name.lower().endswith(ending)), 1.0)
    if len(values) < 2 or not np.isfinite(values).all() or np.any(np.diff(values) <= 0):
        raise DataError(
            f"{source}: its values do not rise, so they are no times; give --rate HZ where it is a sampled voltage"
        )
    return PulseTimes(values * scale, source)


def _read_csv(path: Path, options: ReadOptions) -> PulseTimes:
    text = path.read_text(encoding="utf-8-sig")
    sample = "\n".join(text.splitlines()[:20])
    delimiter = "\t" if "\t" in sample else ";" if ";" in sample else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row and not row[0].startswith("#")]
    if not rows:
        raise DataError(f"{path}: is empty")
    header: list[str] = []
    if not all(_is_number(cell) for cell in rows[0]):
        header, rows = [cell.strip() for cell in rows[0]], rows[1:]
    names = header or [str(place) for place in range(len(rows[0]))]
    place = _pick(names, options.channel, path, "column")
    cells = [row[place].strip() if place < len(row) else "" for row in rows]
    bad = next((n for n, cell in enumerate(cells) if cell and not _is_number(cell)), None)
    if bad is not None:
        raise DataError(
            f"{path}: row {bad + 1 + bool(header)} of column {names[place]} holds {cells[bad]!r}, no number"
        )
    values = np.array([float(cell) for cell in cells if cell])
    return _times_or_samples(values, names[place], f"{path.name}, column {names[place]}", options)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_numpy(path: Path, options: ReadOptions) -> PulseTimes:
    loaded: Any = np.load(path, allow_pickle=False)
    name = path.stem
    if path.suffix.lower() == ".npz":
        with loaded:
            names = list(loaded.files)
            name = names[_pick(names, options.channel, path, "array")]
            array = np.asarray(loaded[name])
        source = f"{path.name}, array {name}"
    else:
        array, source = np.asarray(loaded), path.name
        if array.ndim == 2:
            place = _pick([str(n) for n in range(array.shape[1])], options.channel, path, "column")
            array, source = array[:, place], f"{path.name}, column {place}"
    if array.ndim != 1:
        raise DataError(f"{source}: has shape {array.shape}; one dimension is expected")
    whole = np.issubdtype(array.dtype, np.integer) and not name.lower().endswith(tuple(_SCALES))
    if whole and options.rate_hz is None:
        raise DataError(
            f"{source}: holds whole numbers without a unit; give times in seconds as floating point, end the array's "
            "name in _ns, _us, _ms or _s, or give --rate HZ where it is a sampled signal"
        )
    return _times_or_samples(array.astype(np.float64), name, source, options)


def _read_spike2(path: Path, options: ReadOptions) -> PulseTimes:
    try:
        from neo.rawio import CedRawIO, Spike2RawIO
    except ModuleNotFoundError as error:
        raise ConfigError("neo is not installed; pip install 'ethostream[align]' brings it") from error
    reader: Any
    if path.suffix.lower() == ".smrx":
        reader = CedRawIO(filename=str(path))
        try:
            reader.parse_header()
        except ImportError as error:
            raise ConfigError(
                f"{path}: the 64-bit format .smrx needs the vendor's library (pip install sonpy); or export the "
                "channel from Spike2 as .smr or as text"
            ) from error
    else:
        reader = Spike2RawIO(filename=str(path))
        reader.parse_header()
    events = [str(name) for name in reader.header["event_channels"]["name"]]
    signals = [str(name) for name in reader.header["signal_channels"]["name"]]
    place = _pick([*events, *signals], options.channel, path)
    n_segments = reader.segment_count(0)
    if place < len(events):
        return _spike2_events(reader, place, f"{path.name}, event channel {events[place]}", options)
    channel = reader.header["signal_channels"][place - len(events)]
    stream = int(np.flatnonzero(reader.header["signal_streams"]["id"] == channel["stream_id"])[0])
    mates = reader.header["signal_channels"][reader.header["signal_channels"]["stream_id"] == channel["stream_id"]]
    column = int(np.flatnonzero(mates["id"] == channel["id"])[0])
    source = f"{path.name}, channel {signals[place - len(events)]}"
    found: list[PulseTimes] = []
    for segment in range(n_segments):
        raw = reader.get_analogsignal_chunk(0, segment, stream_index=stream, channel_indexes=[column])
        volts = np.asarray(reader.rescale_signal_raw_to_float(raw, "float64", stream, [column]), np.float64)[:, 0]
        t0_s = float(reader.get_signal_t_start(0, segment, stream))
        found.append(_from_samples(volts, float(channel["sampling_rate"]), t0_s, source, options))
    times = np.concatenate([one.times_s for one in found])
    return PulseTimes(times, source, 0.0, found[0].threshold, found[0].hysteresis)


def _spike2_events(reader: Any, place: int, source: str, options: ReadOptions) -> PulseTimes:
    """Event times of one channel, of the whole file: those outside of sampled stretches belong to it as well."""
    step_s = float(getattr(reader, "_time_factor", 0.0))
    last_s = step_s * (2**31 - 1) if step_s else None
    stamps, _, _ = reader.get_event_timestamps(0, 0, place, 0.0 if step_s else None, last_s)
    times = np.asarray(reader.rescale_event_timestamp(stamps, "float64", place), np.float64)
    about: Any = reader._channel_infos[int(reader.header["event_channels"]["id"][place])] if step_s else {}
    kind = about.get("type", "")
    if kind == "EventBoth":
        # A level channel: edges alternate, and the file says where it began.
        times = times[(0 if bool(about["init_low"]) == (options.edge == "rising") else 1) :: 2]
    elif kind in ("EventFall", "EventRise") and kind != ("EventRise" if options.edge == "rising" else "EventFall"):
        only = "rising" if kind == "EventRise" else "falling"
        raise DataError(f"{source}: {source.rsplit(maxsplit=1)[-1]} holds {only} edges only; give --edge {only}")
    return PulseTimes(times, source, step_s)


def _read_tdms(path: Path, options: ReadOptions) -> PulseTimes:
    try:
        from nptdms import TdmsFile
    except ModuleNotFoundError as error:
        raise ConfigError("npTDMS is not installed; pip install 'ethostream[align]' brings it") from error
    file: Any = TdmsFile.read(str(path))
    channels = [channel for group in file.groups() for channel in group.channels() if len(channel)]
    full = [f"{channel.group_name}/{channel.name}" for channel in channels]
    short = [str(channel.name) for channel in channels]
    names = short if options.channel in short else full
    place = _pick(names, options.channel, path)
    properties = dict(channels[place].properties)
    step = properties.get("wf_increment")
    rate_hz = options.rate_hz or (1.0 / float(step) if step else None)
    samples = np.asarray(channels[place][:], np.float64)
    t0_s = float(properties.get("wf_start_offset", 0.0))
    return _from_samples(samples, rate_hz, t0_s, f"{path.name}, channel {full[place]}", options)


def _read_open_ephys(folder: Path, options: ReadOptions) -> PulseTimes:
    binary = sorted(folder.rglob("structure.oebin"))
    if len(binary) == 1:
        return _read_oebin(binary[0], options)
    if binary:
        listed = ", ".join(str(one.parent.relative_to(folder)) for one in binary)
        raise DataError(f"{folder}: holds {len(binary)} recordings ({listed}); give the folder of one")
    events = sorted(one for one in folder.glob("*.events") if one.name != "messages.events")
    if len(events) == 1:
        return _read_legacy_events(events[0], options)
    raise DataError(
        f"{folder}: is not one recording of Open Ephys: there is no structure.oebin in it, and {len(events)} files "
        "*.events"
    )


def _read_oebin(path: Path, options: ReadOptions) -> PulseTimes:
    """Binary format of Open Ephys, 0.4 to 1.0: TTL lines as ``STREAM:LINE`` (lines from 1), else analogue channels."""
    structure: Any = json.loads(path.read_text(encoding="utf-8"))
    lines: dict[str, tuple[Floats, float]] = {}
    for stream in structure.get("events", []):
        folder = path.parent / "events" / stream["folder_name"]
        states_path = next((folder / n for n in ("states.npy", "channel_states.npy") if (folder / n).exists()), None)
        if states_path is None:
            continue
        states = np.load(states_path, allow_pickle=False)
        rate_hz = float(stream["sample_rate"])
        # Since 0.6 timestamps are seconds and sample_numbers whole samples; before, timestamps were the samples.
        samples_path = folder / "sample_numbers.npy"
        samples = np.load(samples_path if samples_path.exists() else folder / "timestamps.npy", allow_pickle=False)
        sign = 1 if options.edge == "rising" else -1
        for line in np.unique(np.abs(states)):
            name = f"{stream['folder_name'].rstrip('/')}:{line}"
            lines[name] = (samples[states == sign * line].astype(np.float64) / rate_hz, 1.0 / rate_hz)
    analogue: dict[str, tuple[Any, float, float, float]] = {}
    for stream in structure.get("continuous", []):
        folder = path.parent / "continuous" / stream["folder_name"]
        n_channels, rate_hz = int(stream["num_channels"]), float(stream["sample_rate"])
        data = np.memmap(folder / "continuous.dat", "<i2", "r")
        first_path = next((folder / n for n in ("sample_numbers.npy", "timestamps.npy") if (folder / n).exists()), None)
        first = float(np.load(first_path, mmap_mode="r", allow_pickle=False)[0]) if first_path is not None else 0.0
        for place, channel in enumerate(stream["channels"]):
            volts = data[: len(data) // n_channels * n_channels].reshape(-1, n_channels)
            name = f"{stream['folder_name'].rstrip('/')}:{channel['channel_name']}"
            analogue[name] = (volts[:, place], float(channel.get("bit_volts", 1.0)), first / rate_hz, rate_hz)
    names = [*lines, *analogue]
    wanted = options.channel
    if not wanted and len(lines) == 1:
        wanted = next(iter(lines))
    name = names[_pick(names, wanted, path)]
    source = f"{path.parent.name}, {name}"
    if name in lines:
        times, resolution_s = lines[name]
        return PulseTimes(times, source, resolution_s)
    raw, bit_volts, t0_s, rate_hz = analogue[name]
    return _from_samples(np.asarray(raw, np.float64) * bit_volts, rate_hz, t0_s, source, options)


def _read_legacy_events(path: Path, options: ReadOptions) -> PulseTimes:
    """``all_channels.events`` of Open Ephys' older format: TTL lines by their number."""
    data = path.read_bytes()
    header = data[:_LEGACY_HEADER_BYTES].decode("ascii", "replace")
    rate = next(
        (part.split("=")[1] for part in header.split(";") if part.strip().startswith("header.sampleRate")), None
    )
    rate_hz = options.rate_hz or (float(rate) if rate else None)
    if rate_hz is None:
        raise DataError(f"{path}: does not say its sample rate; give --rate HZ")
    body = data[_LEGACY_HEADER_BYTES:]
    records = np.frombuffer(body[: len(body) // _LEGACY_EVENT.itemsize * _LEGACY_EVENT.itemsize], _LEGACY_EVENT)
    ttl = records[records["event_type"] == _TTL_EVENT]
    lines = [str(line) for line in np.unique(ttl["chan_id"])]
    line = int(lines[_pick(lines, options.channel, path, "TTL line")])
    chosen = ttl[(ttl["chan_id"] == line) & (ttl["event_id"] == (1 if options.edge == "rising" else 0))]
    times = chosen["timestamp"].astype(np.float64) / rate_hz
    return PulseTimes(times, f"{path.name}, line {line}", 1.0 / rate_hz)
