"""Presets: what a named model becomes on a folder of recordings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ethostream.sync.errors import ConfigError
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.dataset_file import Dataset
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.presets import reading as presets
from ethostream.training.presets.reading import configure, merged, preset_names, read_preset, with_roles
from ethostream.training.run_files import COMMAND_FILE, CONFIG_FILE
from ethostream.training.runs.record import begin_run
from social_sessions import CLASSES, make_social_folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = make_social_folder(tmp_path_factory.mktemp("data"), [1, 2, 3], 200)
    return find_dataset(folder, FolderOptions(stream="S1"))


def test_every_preset_fits_the_layout(dataset: Dataset) -> None:
    assert "pose-tcn" in preset_names()
    for name in preset_names():
        preset = read_preset(name)
        if preset.input == "pose":
            config = configure(preset, dataset)
            assert (config.classes, config.name, config.is_pose) == (CLASSES, f"{name}-S1", True)
            assert "@" not in config.model_dump_json()


def test_the_classes_are_those_of_the_stream(dataset: Dataset) -> None:
    found = find_dataset(dataset.root, FolderOptions(stream="S2"))
    assert configure(read_preset("pose-tcn"), found).classes == ["far", "near"]


def test_a_label_that_is_ignored_in_vain_is_named(dataset: Dataset) -> None:
    """One that is misspelt leaves what was meant among the behaviours."""
    found = find_dataset(dataset.root, FolderOptions(stream="S1", ignore=["bse"]))
    config = configure(read_preset("pose-tcn"), found)
    assert "base" in config.classes
    assert [note for note in config.notes if "in no label file: bse; they hold" in note and "base" in note]
    assert not any("in no label file" in note for note in configure(read_preset("pose-tcn"), dataset).notes)
    renamed = replace(dataset, labels=LabelOptions(rename={"base": "nothing"}, ignore=["nothing"]))
    config = configure(read_preset("pose-tcn"), renamed)
    assert not {"base", "nothing"} & set(config.classes)
    assert not any("in no label file" in note for note in config.notes)


def test_overrides_go_last(dataset: Dataset) -> None:
    config = configure(
        read_preset("pose-tcn"), dataset, ["fit.head_epochs=3", "fit.stride_frames=1", "head={kind: gru, hidden: 8}"]
    )
    assert (config.fit.head_epochs, config.head.kind, config.head.hidden) == (3, "gru", 8)
    with pytest.raises(ConfigError, match=r"--set fit: expected key.key=value"):
        configure(read_preset("pose-tcn"), dataset, ["fit"])
    with pytest.raises(ConfigError, match=r"'seed' is a value, not a group"):
        configure(read_preset("pose-tcn"), dataset, ["seed=1", "seed.x=1"])
    with pytest.raises(ConfigError, match=r"fit.epoch: unknown key"):
        configure(read_preset("pose-tcn"), dataset, ["fit.epoch=1"])


def test_a_preset_needs_to_know_the_body(dataset: Dataset) -> None:
    nameless = Dataset(dataset.root, "x", dataset.entries, dataset.labels, roles={"front": "top"})
    with pytest.raises(ConfigError, match=r"which keypoint is the (center|back) of an animal"):
        configure(read_preset("pose-tcn"), nameless)


def test_roles_stand_anywhere_in_a_text() -> None:
    value = {"a": ["@front", "partner.@center"], "b": "distance(@back,*)", "c": 3}
    roles = {"front": "nose", "center": "body", "back": "tail"}
    assert with_roles(value, roles, "x") == {"a": ["nose", "partner.body"], "b": "distance(tail,*)", "c": 3}


def test_a_group_of_another_kind_stands_alone() -> None:
    below = {"head": {"kind": "tcn", "kernel": 3, "hidden": 8}, "fit": {"a": 1, "b": 2}}
    assert merged(below, {"head": {"kind": "gru"}, "fit": {"b": 3}}) == {
        "head": {"kind": "gru"},
        "fit": {"a": 1, "b": 3},
    }
    assert merged(below, {"head": {"hidden": 16}})["head"] == {"kind": "tcn", "kernel": 3, "hidden": 16}
    assert merged(below, {"head": {"kind": "tcn", "hidden": 4}})["head"] == {"kind": "tcn", "kernel": 3, "hidden": 4}


def test_presets_extend_each_other_and_not_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "FOLDER", tmp_path)

    def write(name: str, **content: Any) -> None:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"about": name, "input": "pose", **content}))

    write("a", config={"fit": {"x": 1, "y": 1}}, by_animals={2: {"pose": {"identity": "nearest"}}})
    write("b", extends="a", config={"fit": {"y": 2}})
    write("c", extends="c")
    assert preset_names() == ["a", "b", "c"]
    found = read_preset("b")
    assert (found.about, found.config, found.by_animals) == (
        "b",
        {"fit": {"x": 1, "y": 2}},
        {2: {"pose": {"identity": "nearest"}}},
    )
    with pytest.raises(ConfigError, match="is one its own ancestor"):
        read_preset("c")
    with pytest.raises(ConfigError, match=r"preset 'd' is not known; there are a, b, c"):
        read_preset("d")


def test_many_classes_get_keys_of_their_own(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = read_preset("pose-tcn")
    assert configure(three, dataset).head.hidden == 32
    many = replace(dataset, classes=[f"c{number}" for number in range(7)])
    of_many = configure(three, many)
    assert (of_many.head.hidden, of_many.fit.loss.logit_adjustment) == (48, 0.5)
    assert of_many.head.dilations == configure(three, dataset).head.dilations
    assert configure(three, many, ["head.hidden=5"]).head.hidden == 5
    twin = configure(read_preset("pose-tcn-centred"), many).head
    assert (twin.hidden, twin.causal) == (48, False)

    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    below = {"about": "a", "input": "pose", "config": three.config, "by_classes": {2: {"seed": 2}, 3: {"seed": 3}}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(below))
    above = {"about": "b", "input": "pose", "extends": "a", "config": {"head": {"kind": "gru", "hidden": 4}}}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({**above, "by_classes": {3: {"name": "many"}}}))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**above, "extends": "a", "config": {"seed": 9}}))
    seeds = [configure(read_preset("a"), replace(dataset, classes=list("xyzw")[:n])).seed for n in (2, 3, 4)]
    assert seeds == [2, 3, 3]
    assert read_preset("b").by_classes[3]["seed"] == 3 and read_preset("b").by_classes[3]["name"] == "many"
    assert configure(read_preset("c"), dataset).seed == 9, "what a preset says itself stands above its ancestors"


def test_the_record_of_a_run_is_the_file_that_repeats_it(dataset: Dataset, tmp_path: Path) -> None:
    config = configure(read_preset("pose-tcn"), dataset, ["fit.head_epochs=3"])
    begin_run(tmp_path / "run", config, dataset.root, ["train", "{config}", "--out", "my bundle"])
    again, root = load_config(tmp_path / "run" / CONFIG_FILE)
    assert root == dataset.root.resolve()
    assert again.model_dump(exclude={"data_root"}) == config.model_dump(exclude={"data_root"})
    command = (tmp_path / "run" / COMMAND_FILE).read_text(encoding="utf-8")
    assert command == f"ethostream train {(tmp_path / 'run' / CONFIG_FILE).resolve()} --out 'my bundle'\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": {"kind": "full"}}, "crop: goes with video"),
        ({"pose": None}, "'pose' is missing"),
        ({"data": [{"kind": "simulated", "seeds": [1], "n_frames": 9}]}, "'pose' goes with kind: pose only"),
        ({"split": {"by": "recording"}}, "needs 'part' on every entry"),
        ({"split": {"by": "group", "test": ["x"]}}, "no recording is of group x"),
        ({"split": {"by": "frame"}}, "near copies"),
        ({"fit": {"head_epochs": 0}}, "head_epochs: is 0"),
        ({"labels": {"ignore": ["base"], "rest": "sleep"}}, "labels.rest: sleep is not among"),
        (
            {"labels": {"ignore": ["base"], "priority": ["sleep"]}},
            "labels.priority: sleep is neither a class nor ignored",
        ),
        ({"choose": {"stabiliser": False, "target": "recall >= 0.9"}}, "target: is what a stabiliser is chosen for"),
    ],
)
def test_what_does_not_go_together_is_refused(dataset: Dataset, change: dict[str, Any], message: str) -> None:
    raw = configure(read_preset("pose-tcn"), dataset).model_dump(mode="json", exclude_unset=True)
    raw = {**raw, **change}
    from ethostream.sync.strict import validate

    with pytest.raises(ConfigError, match=message):
        validate(TrainConfig, raw, "test")
