import json
from pathlib import Path
from typing import Any

import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import LabelFile, StreamSource, read_labels
from ethostream.training.label_files.frame_labels import Bout

VERSION_7 = """\
Observation id\tday 1\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Media file(s)\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Player #1\tcage.mp4\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Time offset (s)\t0.0\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tComment\tStatus
1.000\tcage.mp4\t60.000\t25.0\tAnna\trear\t\t\tSTART
1.200\tcage.mp4\t60.000\t25.0\tBert\trear\t\t\tSTART
2.000\tcage.mp4\t60.000\t25.0\tAnna\trear\t\t\tSTOP
2.000\tcage.mp4\t60.000\t25.0\tAnna\tgroom\t\t\tSTART
3.000\tcage.mp4\t60.000\t25.0\tBert\trear\t\t\tSTOP
4.000\tcage.mp4\t60.000\t25.0\tAnna\tgroom\t\t\tSTOP
"""

HEAD_8 = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,Time offset (s),"
    "Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifier #1,Behavior type,Time,Media file name,"
    "Image index,Image file path,Comment\n"
)


def _row_8(time: str, status: str, behavior: str = "rear", subject: str = "No focal subject", **others: str) -> str:
    cells = {"observation": "day 1", "offset": "0", "fps": "30.000", "modifier": "", **others}
    return (
        f"{cells['observation']},2024-01-01 10:00:00,,60.0,Media file(s),player #1:cage.mp4,{cells['offset']},60.000,"
        f"{cells['fps']},{subject},{behavior},,{cells['modifier']},{status},{time},cage.mp4,30,NA,\n"
    )


AGGREGATED = """\
Observation id\tObservation date\tDescription\tMedia file\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\t\
Modifiers\tBehavior type\tStart (s)\tStop (s)\tDuration (s)\tComment start\tComment stop
day 1\t2016-12-01 23:01:31\t\tcage.mp4\t60.000\t25.0\tNo focal subject\trear\t\tNone\tSTATE\t1.800\t8.125\t6.325\t\t
day 1\t2016-12-01 23:01:31\t\tcage.mp4\t60.000\t25.0\tNo focal subject\tjump\t\thigh\tPOINT\t32.825\t32.825\tNA\t\t
day 2\t2016-12-02 23:01:31\t\tcage.mp4\t60.000\t25.0\tNo focal subject\trear\t\tNone\tSTATE\t0.000\t0.010\t0.010\t\t
"""


def _write(tmp_path: Path, text: str, name: str = "events.tsv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_tabular_events_of_version_7(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, VERSION_7))
    assert found.kind == "boris"
    assert found.streams == {
        "Anna": [Bout(25, 50, "rear", None, 10), Bout(50, 100, "groom", None, 13)],
        "Bert": [Bout(30, 75, "rear", None, 11)],
    }
    assert found.names == ["rear", "groom"]
    assert found.rate_hz == 25.0
    assert found.sources["Anna"] == StreamSource(recording="day 1", subject="Anna")


def test_tabular_events_of_version_8_with_offset_points_and_modifiers(tmp_path: Path) -> None:
    text = HEAD_8 + (
        _row_8("11.000", "START", offset="10")
        + _row_8("11.500", "START", modifier="wall", offset="10")
        + _row_8("12.000", "STOP", offset="10")
        + _row_8("13.000", "STOP", modifier="wall", offset="10")
        + _row_8("13.000", "POINT", "jump", offset="10")
    )
    found = read_labels(_write(tmp_path, text, "events.csv"))
    assert found.kind == "boris"
    assert found.streams[""] == [
        Bout(30, 60, "rear", None, 2), Bout(45, 90, "rear", None, 3), Bout(90, 91, "jump", None, 6),
    ]  # fmt: skip
    assert found.notes == [
        "1 point events were given one frame each", "2 events carry modifiers, which are left out",
    ]  # fmt: skip


def test_nobody_in_particular_is_a_stream_without_a_name(tmp_path: Path) -> None:
    text = HEAD_8 + _row_8("1.0", "POINT") + _row_8("2.0", "POINT", subject="Anna")
    found = read_labels(_write(tmp_path, text))
    assert found.streams == {"": [Bout(30, 31, "rear", None, 2)], "Anna": [Bout(60, 61, "rear", None, 3)]}


def test_aggregated_events_of_two_observations(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, AGGREGATED))
    assert found.streams == {
        "day 1": [Bout(45, 203, "rear", None, 2), Bout(821, 822, "jump", None, 3)],
        "day 2": [Bout(0, 1, "rear", None, 4)],
    }
    assert found.notes == [
        "1 point events were given one frame each",
        "1 bouts are shorter than half a frame: each was given one frame",
        "1 events carry modifiers, which are left out",
    ]


def test_the_rate_of_the_file_counts_and_may_not_be_contradicted(tmp_path: Path) -> None:
    path = _write(tmp_path, VERSION_7)
    with pytest.raises(DataError, match=r"line 10: was labelled on a video of 25 frames/s, and rate_hz says 30"):
        read_labels(path, rate_hz=30.0)
    ntsc = _write(tmp_path, VERSION_7.replace("25.0\t", "29.97\t").replace("4.000", "400.000"))
    assert read_labels(ntsc, rate_hz=30.0).streams["Anna"][1].stop_frame == 11988
    silent = _write(tmp_path, VERSION_7.replace("25.0\t", "NA\t"))
    with pytest.raises(DataError, match="nothing says how many frames a second had"):
        read_labels(silent)
    assert read_labels(silent, rate_hz=50.0).streams["Bert"] == [Bout(60, 150, "rear", None, 11)]
    two = _write(tmp_path, VERSION_7.replace("25.0\t", "25.0;30.0\t"))
    with pytest.raises(DataError, match=r"its videos have several rates \(25\.0;30\.0\)"):
        read_labels(two)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Bert\trear\t\t\tSTOP", "Bert\trear\t\t\tSTART", "line 14: rear starts again and has not stopped since 1.2 s"),
        ("Bert\trear\t\t\tSTART", "Bert\tsniff\t\t\tSTART", "line 14: rear stops and has not started"),
        ("3.000\tcage.mp4\t60.000\t25.0\tBert\trear", "3.000\tcage.mp4\t60.000\t25.0\tCarl\trear",
         "line 11: rear starts and never stops"),
        ("Bert\trear\t\t\tSTOP", "Bert\trear\t\t\tUNPAIRED", "line 14: column Status: 'UNPAIRED' is none of START"),
        ("1.200\t", "1,2\t", "line 11: column Time: '1,2' is not a time in seconds"),
        ("1.200\tcage.mp4\t60.000\t25.0\tBert\trear", "1.200\tcage.mp4\t60.000\t25.0\tBert\t",
         "line 11: column Behavior: is empty"),
    ],
)  # fmt: skip
def test_a_subject_whose_events_do_not_pair_is_broken_and_the_other_is_not(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in VERSION_7
    found = read_labels(_write(tmp_path, VERSION_7.replace(old, new)))
    assert found.streams["Anna"] == [Bout(25, 50, "rear", None, 10), Bout(50, 100, "groom", None, 13)]
    with pytest.raises(DataError, match=expected):
        found.find_stream("Bert")


def test_a_file_in_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, HEAD_8 + _row_8("1.0", "START"))
    with pytest.raises(DataError, match=r"events\.tsv: line 2: rear starts and never stops; pair the events in BORIS"):
        read_labels(path)
    path = _write(tmp_path, HEAD_8 + _row_8("1.0", "POINT", offset="2"))
    with pytest.raises(DataError, match=r"line 2: -1 s lies before the recording begins"):
        read_labels(path)
    path = _write(tmp_path, AGGREGATED.replace("1.800\t8.125", "8.125\t1.800").replace("0.000\t0.010", "x\t0.010"))
    with pytest.raises(DataError, match=r"line 2: columns Start \(s\), Stop \(s\): a bout from 8\.125 to 1\.8 s"):
        read_labels(path)


def _event(time: float | None, behavior: str, subject: str = "", modifiers: str = "") -> list[Any]:
    return [time, subject, behavior, modifiers, ""]


def _project(**observations: dict[str, Any]) -> dict[str, Any]:
    return {
        "time_format": "hh:mm:ss",
        "project_name": "cage",
        "project_format_version": "7.0",
        "subjects_conf": {"0": {"key": "1", "name": "Anna", "description": ""}},
        "behaviors_conf": {
            "0": {
                "type": "State event",
                "key": "r",
                "code": "rear",
                "description": "",
                "category": "",
                "modifiers": "",
            },
            "1": {
                "type": "Point event",
                "key": "j",
                "code": "jump",
                "description": "",
                "category": "",
                "modifiers": "",
            },
        },
        "observations": observations,
    }


def _media(events: list[list[Any]], fps: float = 25.0, offset: float = 0.0) -> dict[str, Any]:
    return {
        "file": {"1": ["cage.mp4"], "2": []},
        "type": "MEDIA",
        "time offset": offset,
        "events": events,
        "media_info": {"length": {"cage.mp4": 60.0}, "fps": {"cage.mp4": fps}},
    }


def _live(events: list[list[Any]]) -> dict[str, Any]:
    return {"file": {}, "type": "LIVE", "time offset": 0.0, "events": events}


def _read(tmp_path: Path, project: object, rate_hz: float | None = None) -> LabelFile:
    return read_labels(_write(tmp_path, json.dumps(project, indent=1), "cage.boris"), rate_hz=rate_hz)


def test_states_of_a_project_alternate_by_subject_and_modifiers(tmp_path: Path) -> None:
    events = [
        _event(1.0, "rear", "Anna"), _event(1.2, "rear", "Bert"), _event(2.0, "rear", "Anna", "wall"),
        _event(2.4, "rear", "Anna"), _event(3.0, "jump", "Bert"), _event(2.6, "rear", "Anna", "wall"),
        _event(4.0, "rear", "Bert"),
    ]  # fmt: skip
    found = _read(tmp_path, _project(one=_media(events)))
    assert found.kind == "boris_project"
    assert found.streams == {
        "Anna": [Bout(25, 60, "rear"), Bout(50, 65, "rear")],
        "Bert": [Bout(30, 100, "rear"), Bout(75, 76, "jump")],
    }
    assert (found.names, found.rate_hz) == (["rear", "jump"], 25.0)


def test_observations_are_streams_with_their_own_rate_and_offset(tmp_path: Path) -> None:
    project = _project(
        one=_media([_event(101.0, "rear"), _event(102.0, "rear")], offset=100.0),
        two=_media([_event(1.0, "rear"), _event(2.0, "rear")], fps=50.0),
        three=_media([]),
    )
    found = _read(tmp_path, project)
    assert found.streams == {"one": [Bout(25, 50, "rear")], "two": [Bout(50, 100, "rear")], "three": []}
    assert found.rate_hz is None


def test_an_observation_that_cannot_be_used_leaves_the_others(tmp_path: Path) -> None:
    project = _project(
        good=_media([_event(1.0, "jump")]),
        live=_live([_event(1.0, "jump")]),
        open=_media([_event(1.0, "rear")]),
        strange=_media([_event(1.0, "fly")]),
        pictures=_media([_event(None, "jump")]),
    )
    found = _read(tmp_path, project)
    assert list(found.streams) == ["good"]
    for name, expected in {
        "live": "observation 'live': holds times in seconds, and nothing says",
        "open": "observation 'open', 1 s: rear starts and never stops",
        "strange": "observation 'strange', 1 s: 'fly' is not in the ethogram",
        "pictures": "observation 'pictures': None is not a time",
    }.items():
        with pytest.raises(DataError, match=expected):
            found.find_stream(name)
    assert list(_read(tmp_path, project, rate_hz=25.0).streams) == ["good", "live"]


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ({"behaviors_conf": {}, "observations": []}, "has no 'observations'"),
        ({"behaviors_conf": {"0": {}}, "observations": {}}, "behaviors_conf 0: has no 'code'"),
        ({"behaviors_conf": {}, "observations": {"a": {}}}, "observation 'a': has no list of events"),
        (_project(a=_media([[1.0, ""]])), "an event is not"),
        (_project(a=_media([_event(1.0, "jump")], offset=0.0) | {"time offset": "x"}), "its time offset 'x' is not"),
    ],
)
def test_what_is_no_project_is_refused(tmp_path: Path, project: object, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        _read(tmp_path, project)


def test_a_project_that_was_cut_is_refused(tmp_path: Path) -> None:
    whole = json.dumps(_project(one=_media([_event(1.0, "jump")])))
    with pytest.raises(DataError, match=r"is not JSON .*is the project whole"):
        read_labels(_write(tmp_path, whole[:-20], "cage.boris"))
