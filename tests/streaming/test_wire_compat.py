"""Bytes that a released version wrote are read for ever: recordings outlive releases.

``wire_<release>.json`` holds one encoded message per topic, ``wire_<release>_<before>.json`` those of recordings that
were made before fields were added to them. Never change a file of a release; add one per release with
``python tests/streaming/test_wire_compat.py RELEASE``.
"""

import base64
import json
import sys
from pathlib import Path

import msgspec
import pytest
from ethostream.streaming import wire
from ethostream.streaming.messages import Behavior, CameraStatus
from ethostream.streaming.topics import TOPICS

FOLDER = Path(__file__).parent
RELEASES = sorted(FOLDER.glob("wire_*.json"))


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_bytes_of_a_release_are_read(path: Path) -> None:
    stored = json.loads(path.read_text())
    assert stored, "an empty file tests nothing"
    for key, one in stored.items():
        received = wire.decode(key.encode(), base64.b64decode(one["body"]))
        fields = msgspec.to_builtins(received.message)
        known = one["fields"]
        values = json.loads(msgspec.json.encode(fields))
        assert values[: len(known)] == known, key
        # Fields that were added since stand at the end, with their defaults.
        added = msgspec.structs.fields(received.message)[len(known) :]
        assert [msgspec.to_builtins(field.default) for field in added] == values[len(known) :], key


def test_the_first_release_covers_every_topic_that_is_logged() -> None:
    assert RELEASES
    stored = {key.split("/")[0] for key in json.loads(RELEASES[0].read_text())}
    assert stored >= {topic.name for topic in TOPICS.values() if topic.logged}


def test_recordings_made_before_a_field_was_added_are_read() -> None:
    """Else the defaults at the end of a message would be tried by nothing until the next release."""
    whole = json.loads((FOLDER / "wire_0_1_0.json").read_text())
    before = json.loads((FOLDER / "wire_0_1_0_before_pose.json").read_text())
    assert before
    for key, one in before.items():
        assert len(one["fields"]) < len(whole[key]["fields"]), key
    told = {key: wire.decode(key.encode(), base64.b64decode(one["body"])).message for key, one in before.items()}
    behavior, status = told["behavior/"], told["camera_status/cam0/"]
    assert isinstance(behavior, Behavior) and behavior.t_spoken_of_ns == behavior.t_exposure_ns
    assert isinstance(status, CameraStatus) and status.counts == "frames"


def main(release: str) -> None:
    """Write the bytes of this release."""
    sys.path.insert(0, str(FOLDER))
    from test_wire import EXAMPLES

    stored = {}
    for name, message in EXAMPLES.items():
        topic = TOPICS[name]
        stored[topic.key("cam0").decode()] = {
            "body": base64.b64encode(wire.encode(topic, "node", 9, message)).decode(),
            "fields": json.loads(msgspec.json.encode(msgspec.to_builtins(message))),
        }
    (FOLDER / f"wire_{release}.json").write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
