"""Simulated sessions as data: seen by the cage's cameras or from anywhere, with the same fingerprints as ever."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.simulated_viewpoints import render_viewpoint
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from ethostream.training.config.recordings import SimulatedData
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.video_sources import open_sources


def entry(**keys: Any) -> dict[str, Any]:
    return {"kind": "simulated", "name": "s", "seeds": [7, 8], "n_frames": 300, "width": 160, "height": 120, **keys}


def config(**keys: Any) -> TrainConfig:
    classes = ["locomote", "turn", "rear", "groom", "still"]
    raw: dict[str, Any] = {
        "name": "x",
        "classes": classes,
        "labels": {"rename": {"wall_rear": "rear"}, "ignore": ["drink"]},
        "data": [entry(**keys)],
        "split": {"by": "time_block", "pattern": ["train", "test"]},
    }
    return validate(TrainConfig, raw, "x")


def test_a_session_from_anywhere_has_one_view_and_labels_of_what_is_seen() -> None:
    sources = open_sources(config(views="anywhere", behaviors="extended", negative=True), Path())
    assert [list(one.views) for one in sources] == [["anywhere"], ["anywhere"]]
    expected = render_viewpoint(7, 300, 30.0, 160, 120, negative=True, behaviors="extended")
    for k, ((image,), drawn) in enumerate(zip(sources[0].open_frames(), expected, strict=True)):
        assert np.array_equal(image, drawn), k
    assert {int(one) for source in sources for one in source.labels} >= {0, 2, 3}
    assert sources[0].images != open_sources(config(views="anywhere", behaviors="extended"), Path())[0].images


@pytest.mark.parametrize("key", [{"behaviors": "extended"}, {"brightness": 0.5}, {"negative": True}])
def test_what_only_a_view_from_anywhere_can_show_is_refused_elsewhere(key: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(key))}: goes with views: anywhere"):
        config(views=2, **key)


def test_fingerprints_of_sessions_are_those_of_shipped_bundles() -> None:
    folder = resolve_bundle("demo")
    known = {one.name: one.sha256 for one in Bundle.load(folder).manifest.data}
    loaded, root = load_config(folder / "train.yaml")
    first = next(one for one in loaded.data if isinstance(one, SimulatedData))
    short = loaded.model_copy(update={"data": [first.model_copy(update={"seeds": first.seeds[:1]})]})
    [source] = open_sources(short, root)
    assert source.data.sha256 == known[source.name]
