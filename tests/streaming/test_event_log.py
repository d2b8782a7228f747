from pathlib import Path

import pytest
from ethostream.streaming.event_log import EventLog, EventLogWriter
from ethostream.streaming.messages import Alarm, Gap, Message, PipelineState
from ethostream.streaming.topics import ALARM, GAP, PIPELINE_STATE, Topic
from ethostream.streaming.wire import encode
from ethostream.sync.errors import DiskFullError, EthostreamError, RecordingError
from mcap.reader import make_reader


def message(i: int) -> tuple[Topic, str, Message]:
    if i % 3 == 0:
        return ALARM, "", Alarm("node", "warning", f"text {i}", i)
    if i % 3 == 1:
        return GAP, f"cam{i % 2}", Gap("device", f"cam{i % 2}", 0, i, 1, "why", i)
    return PIPELINE_STATE, "", PipelineState(i, "bundle", bytes(i % 256 for _ in range(i * 7)))


def write(path: Path, n: int) -> list[tuple[int, Message]]:
    log = EventLogWriter(path)
    written: list[tuple[int, Message]] = []
    for i in range(n):
        topic, camera, one = message(i)
        log.append(topic, camera, i, encode(topic, "source", i, one), 1000 + i)
        written.append((1000 + i, one))
    log.close()
    return written


def test_all_comes_back_in_order(tmp_path: Path) -> None:
    written = write(tmp_path / "events.mcap", 100)
    log = EventLog(tmp_path / "events.mcap")
    assert log.closed
    assert [(one.log_time_ns, one.message) for one in log.messages()] == written
    assert log.count() == 100
    gaps = list(log.messages([GAP]))
    assert [one.message for one in gaps] == [one for _, one in written if isinstance(one, Gap)]
    assert {one.camera for one in gaps} == {"cam0", "cam1"}
    assert {one.source for one in gaps} == {"source"}


def test_other_mcap_tools_read_it(tmp_path: Path) -> None:
    written = write(tmp_path / "events.mcap", 30)
    with (tmp_path / "events.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 30
        assert {one.topic for one in summary.channels.values()} == {
            "alarm/",
            "gap/cam0/",
            "gap/cam1/",
            "pipeline_state/",
        }
        assert {one.message_encoding for one in summary.channels.values()} == {"msgpack"}
        assert {one.name for one in summary.schemas.values()} == {"Alarm", "Gap", "PipelineState"}
        times = [one.log_time for _, _, one in reader.iter_messages(log_time_order=False)]
    assert times == [t for t, _ in written]


def test_cut_at_any_byte_it_reads_up_to_the_cut(tmp_path: Path) -> None:
    written = write(tmp_path / "events.mcap", 12)
    whole = (tmp_path / "events.mcap").read_bytes()
    torn = tmp_path / "torn.mcap"
    counts: list[int] = []
    for cut in range(len(whole)):
        torn.write_bytes(whole[:cut])
        log = EventLog(torn)
        assert not log.closed
        read = [(one.log_time_ns, one.message) for one in log.messages()]
        assert read == written[: len(read)]
        counts.append(len(read))
    assert counts == sorted(counts)
    assert counts[-1] == 12


def test_zeros_after_the_tear_end_it(tmp_path: Path) -> None:
    written = write(tmp_path / "events.mcap", 12)
    whole = (tmp_path / "events.mcap").read_bytes()
    (tmp_path / "torn.mcap").write_bytes(whole[: len(whole) // 2] + bytes(5000))
    log = EventLog(tmp_path / "torn.mcap")
    assert not log.closed
    read = [(one.log_time_ns, one.message) for one in log.messages()]
    assert 0 < len(read) < 12
    assert read == written[: len(read)]


def test_damage_inside_is_a_named_error(tmp_path: Path) -> None:
    write(tmp_path / "events.mcap", 12)
    whole = (tmp_path / "events.mcap").read_bytes()
    (tmp_path / "bad.mcap").write_bytes(whole.replace(b"warning", b"warping"))
    with pytest.raises(EthostreamError, match="warping"):
        list(EventLog(tmp_path / "bad.mcap").messages())
    (tmp_path / "other.mcap").write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(RecordingError, match="not an MCAP file"):
        list(EventLog(tmp_path / "other.mcap").messages())
    with pytest.raises(RecordingError, match="cannot be read"):
        EventLog(tmp_path / "missing.mcap")


def test_flushed_messages_are_there_for_others(tmp_path: Path) -> None:
    log = EventLogWriter(tmp_path / "events.mcap")
    topic, camera, one = message(0)
    log.append(topic, camera, 0, encode(topic, "source", 0, one), 1)
    log.flush()
    log.append(topic, camera, 1, encode(topic, "source", 1, one), 2)
    assert [one.seq for one in EventLog(tmp_path / "events.mcap").messages()] == [0]
    log.close()
    with pytest.raises(RecordingError, match="cannot be created"):
        EventLogWriter(tmp_path / "events.mcap")


def test_full_disk_loses_nothing_once_there_is_room_again(tmp_path: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(7 * 1024 * 1024))
    log = EventLogWriter(small_disk / "events.mcap")
    written: list[Message] = []
    failures = 0
    for i in range(40):
        one = PipelineState(i, "bundle", bytes(100_000))
        log.append(PIPELINE_STATE, "", i, encode(PIPELINE_STATE, "source", i, one), i)
        written.append(one)
        try:
            log.flush()
        except DiskFullError as error:
            assert "no space left for messages" in str(error)
            failures += 1
    assert failures > 20
    filler.unlink()
    log.close()
    log_back = EventLog(small_disk / "events.mcap")
    assert log_back.closed
    assert [one.message for one in log_back.messages()] == written
    assert log.n_refused == 0
