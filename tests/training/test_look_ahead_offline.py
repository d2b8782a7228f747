"""Recordings scored and labelled with a model that looks ahead: every answer at the frame that it is of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.simulated_camera import render_session
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import LookAheadError
from ethostream.training.answers.look_ahead import answer_lag, moved_back
from ethostream.training.answers.of_video import answers_of
from ethostream.training.config.recordings import SimulatedData
from ethostream.training.config.training_file import load_config
from ethostream.training.data.video_sources import open_sources
from ethostream.training.runs.evaluate_video import evaluate_bundle
from ethostream.training.runs.predict_video import predict_video

N_FRAMES, AHEAD = 40, 4


@pytest.fixture(scope="module")
def demo(repository: Path) -> Path:
    return repository / "inference" / "bundles" / "demo"


@pytest.fixture(scope="module")
def ahead(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, whose manifest says that its answers are of frames before."""
    folder = tmp_path_factory.mktemp("bundles") / "ahead"
    shutil.copytree(demo, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | {"look_ahead_frames": AHEAD}), encoding="utf-8")
    return folder


def test_what_was_said_later_is_put_where_it_belongs() -> None:
    said = np.array([[0, 9], [1, 8], [2, 7], [3, 6]])
    assert moved_back(said, 0) is said
    assert moved_back(said, 1).tolist() == [[1, 8], [2, 7], [3, 6], [3, 6]]
    assert moved_back(said[:, 0], 9).tolist() == [3, 3, 3, 3]
    assert moved_back(said[:0], 2).shape == (0, 2)


def test_the_lag_counts_frames_of_the_recording(demo: Path, ahead: Path) -> None:
    manifest = Bundle.load(ahead, max_look_ahead_frames=None).manifest
    assert [answer_lag(manifest, rate_hz) for rate_hz in (30.0, 29.97, 60.0, 120.0)] == [4, 4, 8, 16]
    assert answer_lag(Bundle.load(demo).manifest, 60.0) == 0
    with pytest.raises(LookAheadError):
        Bundle.load(ahead)


def test_scores_are_of_answers_at_their_frames(demo: Path, ahead: Path) -> None:
    session = SimulatedData(kind="simulated", seeds=[7], n_frames=N_FRAMES, views=1, width=160, height=120, part="test")
    config = load_config(demo / "train.yaml")[0].model_copy(update={"data": [session]})
    sources = open_sources(config, demo)
    bundles = [Bundle.load(demo), Bundle.load(ahead, max_look_ahead_frames=None)]
    found = [answers_of(one, config, sources[0], "test") for one in bundles]
    plain, late = (one.recording if one is not None else pytest.fail() for one in found)
    assert np.array_equal(late.p[:-AHEAD], plain.p[AHEAD:])
    assert np.array_equal(late.label[:-AHEAD], plain.label[AHEAD:])
    assert (late.p[-AHEAD:] == plain.p[-1]).all()
    assert np.array_equal(late.truth, plain.truth)
    assert not np.array_equal(plain.p[:-AHEAD], plain.p[AHEAD:])
    causal = [evaluate_bundle(one, config, sources)["causal"] for one in bundles]
    assert causal == [True, False]


def test_a_prediction_has_every_frame_once(demo: Path, ahead: Path, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "gray"
        for images, _ in render_session(21, N_FRAMES, 30, 1, 160, 120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[0], format="gray")))
        container.mux(stream.encode(None))
    plain, late = (list(predict_video(one, tmp_path / "clip.mkv")) for one in (demo, ahead))
    assert [one.frame for one in late] == list(range(N_FRAMES))
    assert [one.time_s for one in late] == [one.time_s for one in plain]
    assert [one.p for one in late[:-AHEAD]] == [one.p for one in plain[AHEAD:]]
    assert [one.behavior for one in late[:-AHEAD]] == [one.behavior for one in plain[AHEAD:]]
    assert {one.p for one in late[-AHEAD:]} == {plain[-1].p}
