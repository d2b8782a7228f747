"""The reference of the configuration files holds every key of the models with its default, and no other."""

import re
import shlex
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from ethostream.acquisition.basler_config import BaslerCameraConfig
from ethostream.acquisition.file_camera import FileCameraConfig
from ethostream.acquisition.genicam_camera import GenicamCameraConfig
from ethostream.acquisition.opencv_camera import OpencvCameraConfig
from ethostream.acquisition.simulated_camera import SimulatedCameraConfig
from ethostream.deploy.config import RigConfig, SessionConfig, load_run
from ethostream.inference.actuators.config import ActuatorConfig
from ethostream.inference.config import TaskConfig
from ethostream.sync import errors
from ethostream.sync.strict import StrictModel

REQUIRED = "*required*"
SECTIONS: dict[str, tuple[type[StrictModel], tuple[str, ...]]] = {
    # heading -> the model of its table, and what stands in tables of its own
    "## Rig file": (RigConfig, ("cameras.NAME",)),
    "### Camera of kind `file`": (FileCameraConfig, ()),
    "### Camera of kind `basler`": (BaslerCameraConfig, ()),
    "### Camera of kind `genicam`": (GenicamCameraConfig, ()),
    "### Camera of kind `opencv`": (OpencvCameraConfig, ()),
    "### Camera of kind `simulated`": (SimulatedCameraConfig, ()),
    "## Task file": (TaskConfig, ("actuators.NAME",)),
    **{
        f"### Actuator of kind `{kind.model_fields['kind'].default}`": (kind, ())
        for kind in get_args(get_args(ActuatorConfig)[0])
    },
    "## Session file": (SessionConfig, ()),
}


def keys_of(annotation: Any, default: Any, path: str, elsewhere: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every key below ``path`` with its default, `REQUIRED` where it has none."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if path in elsewhere:
        yield path, REQUIRED
    elif origin is Annotated:
        yield from keys_of(parts[0], default, path, elsewhere)
    elif isinstance(annotation, type) and issubclass(annotation, StrictModel):
        for name, field in annotation.model_fields.items():
            # A kind has a default, but it is what chooses the model and so has to be given.
            given = REQUIRED if field.is_required() or name == "kind" else field.get_default(call_default_factory=True)
            yield from keys_of(field.annotation, given, f"{path}.{name}".lstrip("."), elsewhere)
    elif origin is dict and holds_models(parts[1]):
        yield from keys_of(parts[1], REQUIRED, f"{path}.NAME", elsewhere)
    elif origin is list and holds_models(parts[0]):
        yield from keys_of(parts[0], REQUIRED, f"{path}[]", elsewhere)
    elif origin in (Union, types.UnionType) and holds_models(annotation):
        for part in parts:
            if part is not type(None):
                yield from keys_of(part, default, path, elsewhere)
    else:
        yield path, list(default) if isinstance(default, tuple) else default


def holds_models(annotation: Any) -> bool:
    if isinstance(annotation, type) and not get_origin(annotation):
        return issubclass(annotation, StrictModel)
    return any(holds_models(part) for part in get_args(annotation))


def rows_of(page: str, heading: str) -> dict[str, str]:
    """Key and default of every row of the section's table."""
    assert page.count(f"\n{heading}\n") == 1, heading
    section = re.split(r"^#+ ", page.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `([^`|]+)` \|[^|]*\| ([^|]+) \|[^|]*\|$", section, re.MULTILINE)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) == len(lines), f"{heading}: a row has other columns than key, unit, default, meaning"
    assert len({key for key, _ in rows}) == len(rows), f"{heading}: a key stands twice"
    return dict(rows)


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_tables_hold_every_key_and_its_default(heading: str, page: str) -> None:
    model, elsewhere = SECTIONS[heading]
    rows = rows_of(page, heading)
    wanted = dict(keys_of(model, REQUIRED, "", elsewhere))
    assert set(rows) == set(wanted), f"missing: {set(wanted) - set(rows)}; unknown: {set(rows) - set(wanted)}"
    for key, default in wanted.items():
        said = rows[key] if rows[key] == REQUIRED else yaml.safe_load(rows[key].strip("`"))
        assert said == default and isinstance(said, bool) == isinstance(default, bool), f"{key}: {said!r}, {default!r}"


def test_units_of_names_stand_in_the_unit_column(page: str) -> None:
    units = {"_ms": "ms", "_us": "µs", "_s": "s", "_hz": "Hz", "_ppm": "ppm", "_mb": "MiB", "_slots": "frames"}
    rows = re.findall(r"^\| `([^`|]+)` \|([^|]*)\|", page, re.MULTILINE)
    assert len(rows) > 60
    for key, unit in rows:
        for ending, wanted in units.items():
            if key.endswith(ending):
                assert unit.strip() == wanted, key


def test_the_files_shown_are_valid(page: str, tmp_path: Path) -> None:
    rig, task, session = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name, text in (("rig", rig), ("task", task), ("session", session)):
        (tmp_path / f"{name}.yaml").write_text(text)
    run = load_run(tmp_path / "rig.yaml", tmp_path / "task.yaml", tmp_path / "session.yaml")
    assert list(run.rig.cameras) == ["left", "right"]
    assert run.session.subject == "m17"


def test_the_overrides_shown_are_valid(repository: Path, page: str, tmp_path: Path) -> None:
    rig, task, session = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name, text in (("rig", rig), ("task", task), ("session", session)):
        (tmp_path / f"{name}.yaml").write_text(text)
    shown = [line for line in page.splitlines() if line.startswith("ethostream ") and "--set" in line]
    assert len(shown) >= 6
    for line in shown:
        words = shlex.split(line)
        overrides = [value for word, value in pairwise(words) if word == "--set"]
        demo = repository / "deploy" / "demo" / "rig.yaml"
        load_run(
            demo if words[1] == "demo" else tmp_path / "rig.yaml",
            tmp_path / "task.yaml",
            tmp_path / "session.yaml",
            overrides,
        )


def test_every_exit_code_is_explained(repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    said = {int(code) for code in re.findall(r"^\| (\d+) \| ", readme, re.MULTILINE)}
    classes = [
        one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.EthostreamError)
    ]
    assert said == {0, 130} | {one.exit_code for one in classes}
