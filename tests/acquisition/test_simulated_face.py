"""The head-fixed face: what it does, and that its picture and its keypoints agree."""

import numpy as np
import pytest
from ethostream.acquisition.simulated_camera import SimulatedCamera, SimulatedCameraConfig
from ethostream.acquisition.simulated_face import FACE_BEHAVIORS, FACE_KEYPOINTS, PUPIL_MM, PX_PER_MM, FaceWorld
from ethostream.acquisition.simulated_face_renderer import FaceRenderer, face_affine, face_pixels
from ethostream.sync.clock import FakeClock
from pydantic import ValidationError

START_NS = 1_700_000_000_000_000_000
RATE_HZ = 100
POINT = {name: k for k, name in enumerate(FACE_KEYPOINTS)}


@pytest.fixture(scope="module")
def minute():
    world = FaceWorld(7)
    return [world.at(k / RATE_HZ) for k in range(60 * RATE_HZ)]


def first(minute, wanted):
    return next(state for state in minute if wanted(state))


def test_all_behaviors_occur(minute):
    names = [state.behavior for state in minute]
    assert set(names[: 16 * RATE_HZ]) == set(FACE_BEHAVIORS)
    assert names.count("whisk") / len(names) > 0.15


def test_time_may_be_asked_for_in_any_order(minute):
    world = FaceWorld(7)
    for k in (5000, 12, 3333, 4900):
        assert world.at(k / RATE_HZ) == minute[k]


def test_whiskers_move_at_7_to_12_hz_while_it_whisks_and_hardly_otherwise(minute):
    angle = np.array([state.whisk_rad for state in minute])
    whisking = np.array([state.whisking for state in minute])
    assert angle[whisking].std() > 0.15
    assert np.abs(angle[[state.behavior == "still" for state in minute]]).max() < 0.05
    bout = next(b for b in {s.bout for s in minute if s.whisking} if sum(s.bout == b for s in minute) > 120)
    piece = np.array([state.whisk_rad for state in minute if state.bout == bout])
    spectrum = np.abs(np.fft.rfft((piece - piece.mean()) * np.hanning(len(piece)), 4096))
    assert 6.5 < np.argmax(spectrum) * RATE_HZ / 4096 < 12.5


def test_licks_are_counted_and_the_tongue_is_out_at_each(minute):
    tongue = np.array([state.tongue for state in minute]) > 0.02
    onsets = int((tongue[1:] & ~tongue[:-1]).sum())
    assert onsets == minute[-1].n_licks - minute[0].n_licks
    assert onsets > 20
    assert all(state.behavior == "lick" for state in minute if state.tongue > 0)


def test_blinks_shut_the_eye_for_a_moment(minute):
    closure = np.array([state.closure for state in minute])
    assert closure.max() > 0.95
    assert 0.005 < (closure > 0.5).mean() < 0.15


def test_the_pupil_is_slow_and_dilates_with_arousal(minute):
    pupil = np.array([state.pupil_mm for state in minute])
    assert PUPIL_MM[0] <= pupil.min() < pupil.max() <= PUPIL_MM[1]
    assert np.abs(np.diff(pupil)).max() * RATE_HZ < 2.0  # mm/s
    active = np.array([state.behavior in ("whisk", "lick") for state in minute])
    lagged = np.convolve(active, np.ones(100) / 100)[: len(active)]
    assert np.corrcoef(lagged, pupil)[0, 1] > 0.5


def test_the_pupil_in_the_picture_is_the_one_of_the_keypoints(minute):
    renderer = FaceRenderer(2, 480, 360, 7)
    scale = face_affine(2, 480, 360)[0, 0]
    for state in minute[::500]:
        if state.closure > 0:
            continue
        pose = state.pose
        assert np.linalg.norm(pose[POINT["pupil_front"]] - pose[POINT["pupil_back"]]) == pytest.approx(state.pupil_mm)
        front, back = face_pixels(pose, 2, 480, 360)[[POINT["pupil_front"], POINT["pupil_back"]]]
        dark = renderer.render(state, 0) < 30
        row = dark[round((front[1] + back[1]) / 2)]
        columns = np.flatnonzero(row[: round(front[0]) + 10])
        assert columns[-1] - columns[0] + 1 == pytest.approx(state.pupil_mm * PX_PER_MM * scale, abs=6)


def test_the_tongue_and_the_whiskers_are_drawn_where_they_are(minute):
    renderer = FaceRenderer(0, 800, 480, 7)
    rest = renderer.render(first(minute, lambda s: s.behavior == "still"), 0).astype(int).copy()
    out = first(minute, lambda s: s.tongue > 0.8)
    x, y = np.rint(face_pixels(out.pose, 0, 800, 480)[POINT["tongue_tip"]]).astype(int)
    assert (renderer.render(out, 0).astype(int) - rest)[y - 10 : y - 2, x - 10 : x - 2].mean() > 40
    forward = first(minute, lambda s: s.whisk_rad > 0.5)
    x, y = np.rint(face_pixels(forward.pose, 0, 800, 480)[POINT["whisker_tip"]]).astype(int)
    assert (renderer.render(forward, 0).astype(int) - rest)[y - 12 : y + 13, x - 12 : x + 13].max() > 25


def test_the_pad_moves_when_it_whisks_and_the_cheek_does_not(minute):
    renderer = FaceRenderer(0, 800, 480, 7)

    def energy(name, box):
        states = [s for s in minute[: 30 * RATE_HZ : 4] if s.behavior == name][:60]
        frames = np.array([renderer.render(s, 0)[box].astype(float) for s in states])
        return np.abs(np.diff(frames, axis=0)).mean()

    pad, cheek = np.s_[280:340, 560:660], np.s_[330:430, 60:240]
    assert energy("whisk", pad) > 5 * energy("still", pad)
    assert energy("whisk", cheek) < 0.1


@pytest.mark.parametrize("view", [0, 1, 2])
def test_a_frame_does_not_depend_on_the_frames_before_it(view, minute):
    options = {"noise": 1.5, "shot_noise": 0.04, "light_drift": 0.1}
    busy = FaceRenderer(view, 240, 180, 7, **options)
    frames = {k: busy.render(minute[k], k).copy() for k in (0, 700, 1500, 100, 2900)}
    for k, frame in frames.items():
        assert np.array_equal(FaceRenderer(view, 240, 180, 7, **options).render(minute[k], k), frame)


def test_live_cameras_tell_pose_and_behavior():
    options = {"scene": "face", "view": 2, "width": 160, "height": 120, "rate_hz": 50, "truth_pose": True}
    camera = SimulatedCamera("eye", SimulatedCameraConfig.model_validate(options), FakeClock(START_NS))
    camera.open()
    camera.start(START_NS)
    out, world = np.empty((120, 160), np.uint8), FaceWorld(7)
    for _ in range(30):
        grab = camera.read_into(out, 1.0)
        state = world.at(grab.seq / 50)
        assert grab.truth.behavior == state.behavior
        assert np.array_equal(np.array(grab.truth.pose), state.pose)


@pytest.mark.parametrize("options", [{"view": 3}, {"view": 0, "animals": 2}, {"view": 0, "behaviors": "extended"}])
def test_what_the_face_has_not_is_refused(options):
    with pytest.raises(ValidationError):
        SimulatedCameraConfig.model_validate({"scene": "face", **options})
