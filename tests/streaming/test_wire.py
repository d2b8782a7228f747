"""What arrives on a socket is validated; what is wrong is refused in words, never a crash."""

import msgpack
import msgspec
import pytest
from ethostream.streaming import messages as m
from ethostream.streaming import wire
from ethostream.streaming.topics import TOPICS, Topic
from ethostream.sync.errors import WireError
from hypothesis import given
from hypothesis import strategies as st

SOURCE = m.SourceFrame("cam0", 0, 17, 10**18, 2000, 10**18 + 5_000_000, believed=False)
EXAMPLES: dict[str, m.Message] = {
    "frame": m.FrameHeader(
        "cam0", 0, 17, 10**18, 2000, 10**18 + 5, "device", 640, 480, "mono8", "ethostream-s-cam0-0", 3, 36
    ),
    "truth": m.FrameTruth("cam0", 0, 17, 17, 10**18, "rear", ((1.0, 2.0, 3.5),)),
    "pose": m.Pose(
        "tracker", 0, 17, 10**18, 10**18 + 5, ("a", "b"), ("nose", "tail"), bytes(range(48)),
    ),
    "gap": m.Gap("device", "cam0", 0, 5, 2, "frame counter jumped", 10**18),
    "camera_status": m.CameraStatus("cam0", 0, "running", 0, 17, 16, 2, 0, 59.9, 10**18, 3, "poses"),
    "frame_set": m.FrameSet(4, "partial", (SOURCE,), ("cam1",), 10**18, 10**18 + 7),
    "crops": m.Crops(
        m.FrameSet(4, "complete", (SOURCE,), (), 10**18, 10**18 + 7), 1, 17, 2, 0,
        (m.CroppedView("cam0", 1, 2, 32, 32, True, 17.5, 18.25, 40.0, 1.5, 3.25),), 10**18 + 8, 10**18 + 9, b"npz",
    ),
    "crop_session": m.CropSession(
        "ab12", 0, "{}", "demo@0123", {"cam0": (48, 64)}, ("cam0",), 60.0, 10**18, 77, 1, True, 3, 10**18 + 1
    ),
    "behavior": m.Behavior(
        4, "complete", (SOURCE,), (), "demo@0123", (0.1, 0.9), "rear", "rear", 10**18, 1, 0, True,
        (m.Box("cam0", 1, 2, 3, 4, True),), 10**18, 10**18 + 1, 2, 3, 4, 5, 6, 0,
        ("still", "rear"), True, 10**18 + 2, 3, 0, 2,
    ),
    "decision": m.Decision(
        "reward", 4, "sham", "onset", "rear", 0.9, "log", (SOURCE,), 10**18, 10**18 + 1, 10**18 + 2, 0, 0, 7, 10**18 + 3
    ),
    "actuation": m.Actuation("laser", "reward", 4, 7, "acknowledged", "", 10**18, 10**18 + 1, 10**18 + 2, 1234),
    "arming": m.Arming(False, "person", 10**18),
    "pipeline_state": m.PipelineState(4, "demo@0123", b"npz"),
    "replay_set": m.ReplaySet(4, "complete", (SOURCE,), (), 0, 10**18, True),
    "recording": m.RecordingStatus("r", "/r", "running", {"cam0/0": 3}, {"cam0": 9}, {"cam0": 1}, 10**9, 10**18),
    "heartbeat": m.Heartbeat("inference", 0, 123, "running", 10**18, {"steps": 5}),
    "alarm": m.Alarm("recorder", "warning", "disk nearly full", 10**18),
    "clock": m.ClockStatus("camera.cam0", 0, "locked", 5, -12.5, 3.0, 40.5, 61.0, 600, 2, 1, 17, 4_000_000),
    "sync_pulse": m.SyncPulse("trigger", 0, "out", 12, 200_000, 99, rising=True, n_lost=2),
    "lsl": m.LslSamples("EEG", 0, 40, ("Fz", "Cz"), (1.5, 1.75), (10, 20), ((0.5, -0.5), (1.0, 2.0))),
    "tracks": m.Tracks(
        3, 100, (m.AnimalTrack(0, (1.0, 2.0, 3.0), (0.0, -1.0, 0.0), 2, 0.5, (m.Box("cam0", 1, 2, 3, 4, True),), True),)
    ),
    "control": m.Control("start", 10**18, 10**18 + 1),
}  # fmt: skip


def test_there_is_an_example_of_every_topic() -> None:
    assert set(EXAMPLES) == set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_round_trip(topic: Topic) -> None:
    message = EXAMPLES[topic.name]
    body = wire.encode(topic, "node", 9, message)
    received = wire.decode(topic.key("cam0"), body)
    assert received.message == message
    assert (received.topic, received.source, received.seq) == (topic, "node", 9)
    assert received.camera == ("cam0" if topic.per_camera else "")


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_an_independent_decoder_reads_the_same_values(topic: Topic) -> None:
    version, source, seq, fields = msgpack.unpackb(wire.encode(topic, "node", 9, EXAMPLES[topic.name]))
    assert (version, source, seq) == (m.SCHEMA_VERSION, "node", 9)
    assert msgspec.convert(fields, topic.message) == EXAMPLES[topic.name]


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_every_truncation_is_refused(topic: Topic) -> None:
    body = wire.encode(topic, "node", 9, EXAMPLES[topic.name])
    for length in range(len(body)):
        with pytest.raises(WireError):
            wire.decode(topic.key("cam0"), body[:length])


@given(st.sampled_from(list(TOPICS.values())), st.binary(max_size=400))
def test_arbitrary_bytes_never_crash(topic: Topic, body: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(topic.key("cam0"), body)


@given(st.sampled_from(list(TOPICS.values())), st.data())
def test_a_flipped_byte_never_crashes(topic: Topic, data: st.DataObject) -> None:
    body = bytearray(wire.encode(topic, "node", 9, EXAMPLES[topic.name]))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    try:
        received = wire.decode(topic.key("cam0"), bytes(body))
    except WireError:
        return
    assert type(received.message) is topic.message


def test_another_schema_version_is_named() -> None:
    body = msgspec.msgpack.encode((m.SCHEMA_VERSION + 1, "node", 0, EXAMPLES["alarm"]))
    with pytest.raises(WireError, match=f"schema version {m.SCHEMA_VERSION + 1}.*this is version {m.SCHEMA_VERSION}"):
        wire.decode(b"alarm/", body)


def test_oversized_is_refused_on_both_sides() -> None:
    big = m.Alarm("n", "warning", "x" * 20_000, 0)
    with pytest.raises(WireError, match="over its bound"):
        wire.encode(TOPICS["alarm"], "node", 0, big)
    with pytest.raises(WireError, match="over its bound"):
        wire.decode(b"alarm/", msgspec.msgpack.encode((1, "node", 0, big)))


@pytest.mark.parametrize("key", [b"", b"nothing/", b"frame/", b"frame/cam0", b"frame/a/b/", b"alarm/cam0/", b"\xff/"])
def test_an_unknown_topic_key_is_refused(key: bytes) -> None:
    with pytest.raises(WireError, match="topic key"):
        wire.decode(key, b"")


def test_a_field_added_later_at_the_end_is_read_past() -> None:
    fields = [*msgspec.to_builtins(EXAMPLES["alarm"]), "of a later release"]
    received = wire.decode(b"alarm/", msgpack.packb([m.SCHEMA_VERSION, "node", 0, fields]))
    assert received.message == EXAMPLES["alarm"]


def test_a_message_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(WireError, match="carries Alarm, not Control"):
        wire.encode(TOPICS["alarm"], "node", 0, EXAMPLES["control"])
