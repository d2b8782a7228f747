"""One key of a task file is written anew, and every other byte stays."""

from pathlib import Path

import pytest
import yaml
from ethostream.deploy.task_edit import write_key
from ethostream.sync.errors import ConfigError
from ethostream.training.stabilising.grid import as_options, stabiliser_grid

CHOICE = {"kind": "majority", "default": {"window_ms": 200.0, "share": 0.8}}
BLOCK = "stabiliser:\n  # by hand\n  kind: majority\n  default: {window_ms: 200.0, share: 0.8}\n"

HEAD = "# the model of spring\nbundle: demo  # shipped\n\n"
TAIL = "\n# what it sets off\nrules:\n  - &one {name: a, on_enter: rear, actuator: x}\nactuators: {x: {kind: log}}\n"


def edited(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    write_key(path, "stabiliser", CHOICE, "by hand")
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    "old",
    [
        "stabiliser: {default: {enter: 0.5}}\n",
        "stabiliser:  # quick\n  default: {enter: 0.5,\n   exit: 0.2}\n  per_class:\n    rear:\n      enter: 0.9 # x\n",
        "stabiliser:\n  kind: majority\n",
        "stabiliser: null\n",
        "stabiliser:\n",
    ],
    ids=["flow", "block", "short", "null", "empty"],
)
def test_the_old_value_is_replaced_in_its_place(old: str, tmp_path: Path) -> None:
    assert edited(tmp_path / "task.yaml", HEAD + old + TAIL) == HEAD + BLOCK + TAIL


def test_it_is_appended_where_it_is_not_there(tmp_path: Path) -> None:
    assert edited(tmp_path / "task.yaml", HEAD + TAIL) == HEAD + TAIL + BLOCK
    assert edited(tmp_path / "task.yaml", "# nothing yet\n") == "# nothing yet\n" + BLOCK
    assert edited(tmp_path / "task.yaml", "bundle: demo") == "bundle: demo\n" + BLOCK


def test_it_can_be_written_again_and_again(tmp_path: Path) -> None:
    once = edited(tmp_path / "task.yaml", HEAD + TAIL)
    write_key(tmp_path / "task.yaml", "stabiliser", CHOICE, "by hand")
    assert (tmp_path / "task.yaml").read_text() == once


def test_line_ends_and_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes((HEAD + TAIL).replace("\n", "\r\n").encode())
    path.chmod(0o640)
    write_key(path, "stabiliser", CHOICE, "by hand")
    assert path.read_bytes() == (HEAD + TAIL + BLOCK).replace("\n", "\r\n").encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["task.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{bundle: demo}\n", "no plain list of keys"),
        ("- bundle\n", "no plain list of keys"),
        ("bundle: demo\n---\nbundle: demo\n", "not one YAML document"),
        ("bundle: [demo\n", "not one YAML document"),
        ("bundle: demo\nstabiliser: &own {default: {enter: 0.5}}\n", "holds the anchor or alias 'own'"),
        ("bundle: demo\n...\n", "without changing other keys"),
        ("bundle: demo\nrulez: []\n", "rulez: unknown key"),
    ],
)
def test_a_file_that_is_not_understood_is_left_alone(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        write_key(path, "stabiliser", CHOICE, "by hand")
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["task.yaml"]


def test_every_candidate_can_be_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(HEAD + TAIL)
    grid = stabiliser_grid()
    assert len({str(one) for one in grid}) == len(grid)
    for config in grid[::7]:
        write_key(path, "stabiliser", as_options(config), "tried")
        assert yaml.safe_load(path.read_text())["stabiliser"] == as_options(config)
        assert type(config).model_validate(as_options(config)) == config
