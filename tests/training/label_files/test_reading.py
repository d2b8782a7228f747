from pathlib import Path
from typing import Any, cast, get_args

import h5py
import pytest
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.label_files import LABEL_KINDS, LabelKind, read_labels, recognise

TEXTS: dict[LabelKind, str] = {
    "bouts": "start_frame,stop_frame,behaviour\n0,1,rear\n",
    "frames": "frame,behaviour\n0,rear\n",
    "recordings": "recording,behaviour\nday1,rear\n",
    "caltech": "Caltech Behavior Annotator - Annotation File\n\nConfiguration file:\na a\n\n"
    "S1: start end type\n1 2 a\n",
    "boris": "Time\tSubject\tBehavior\tStatus\tFPS\n0.0\t\trear\tPOINT\t25.0\n",
    "boris_project": '{"behaviors_conf": {"0": {"code": "a", "type": "Point event"}}, "observations": {"o": {'
    '"events": [], "file": {"1": ["v"]}, "media_info": {"fps": {"v": 25.0}}}}}',
    "deepethogram": ",background,rear\n0,1,0\n",
    "simba": "Nose_x,Nose_y,Nose_p,Attack\n1.0,2.0,0.9,1\n",
    "events": "from,to,type\n0.5,1.0,rear\n",
}


def _write(tmp_path: Path, data: str | bytes, name: str = "labels") -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("kind", list(TEXTS))
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_format_is_known_by_what_a_file_holds(tmp_path: Path, kind: LabelKind, ends: str) -> None:
    path = _write(tmp_path, "\ufeff" + TEXTS[kind].replace("\n", ends), "named_wrongly.mat")
    assert recognise(path) == kind
    found = read_labels(path, rate_hz=25.0)
    assert found.kind == kind
    assert found.streams == read_labels(path, kind, rate_hz=25.0).streams


def test_every_kind_has_a_reader(tmp_path: Path) -> None:
    assert set(TEXTS) | {"matlab", "simulator"} == set(LABEL_KINDS) == set(get_args(LabelKind))
    for kind in LABEL_KINDS:
        with pytest.raises(DataError, match="cannot be read"):
            read_labels(tmp_path / "absent", kind, rate_hz=25.0)


@pytest.mark.parametrize("kind", [kind for kind in TEXTS if kind != "boris_project"])
def test_a_file_of_one_kind_is_not_read_as_another(tmp_path: Path, kind: LabelKind) -> None:
    path = _write(tmp_path, TEXTS[kind])
    for other in LABEL_KINDS:
        if other != kind and (kind, other) != ("recordings", "frames"):  # its rows may be frames, where that is said
            with pytest.raises(DataError, match="labels: "):
                read_labels(path, other, rate_hz=25.0)


def test_what_could_be_two_formats_has_to_be_declared(tmp_path: Path) -> None:
    path = _write(tmp_path, "start_frame,stop_frame,behaviour,from,to\n0,1,rear,0.0,0.1\n")
    with pytest.raises(DataError, match="could be of kind bouts or events; say which with 'label_kind'"):
        read_labels(path)
    assert read_labels(path, "events", rate_hz=25.0).kind == "events"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty; give the file"),
        (
            b"scorer,net,net\nbodyparts,nose,nose\ncoords,x,y\n",
            r"is of no format that is known; it begins with 'scorer,",
        ),
        (b"\xff\xfe\x00\x01", "is neither text in UTF-8 nor a MATLAB file"),
        (
            b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00}\x94.",
            "is a Python pickle, which may run anything.*never read",
        ),
        (b'{"other": 1}', "is of no format that is known"),
    ],
)
def test_what_is_of_no_format_is_refused_with_those_that_are_known(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_labels(_write(tmp_path, data))


def test_hdf5_that_matlab_did_not_write_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "labels", "w") as file:
        file["a"] = 1
    with pytest.raises(DataError, match="is HDF5 without MATLAB's header"):
        read_labels(tmp_path / "labels")


def test_options_without_meaning_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, TEXTS["deepethogram"])
    with pytest.raises(ConfigError, match=r"frames 'one_based_inclusive': a file of kind deepethogram holds no frame"):
        read_labels(path, frames="one_based_inclusive")
    with pytest.raises(ConfigError, match=r"behaviors: a file of kind deepethogram names its behaviours itself"):
        read_labels(path, behaviors=["rear"])
    with pytest.raises(ConfigError, match=r"label_kind 'deg' is not known; it is one of bouts, frames"):
        read_labels(path, cast(Any, "deg"))


@pytest.mark.parametrize("shift", ["", "a"])
def test_a_long_file_is_recognised_by_its_beginning(tmp_path: Path, shift: str) -> None:
    """What is read of it may end within a letter."""
    rows = f"0,1,{shift}{'ä' * 150_000}\n"
    path = _write(tmp_path, "start_frame,stop_frame,behaviour\n0,1,rear\n" + rows)
    assert path.stat().st_size > 1 << 18
    assert recognise(path) == "bouts"
