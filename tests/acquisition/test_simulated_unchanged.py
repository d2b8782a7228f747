"""The scene that the shipped model was trained on stays bit for bit what it was."""

from hashlib import blake2b

import numpy as np
from ethostream.acquisition.simulated_camera import SimulatedCamera, SimulatedCameraConfig, render_session
from ethostream.sync.clock import FakeClock

START_NS = 1_700_000_000_000_000_000
EIGHT_VIEWS = ("3b4c95520eff39171d56f469", "794b122c1add9eca622fe797")
TWO_VIEWS = ("af3b3f117c8e9db7e6bd5f79", "794b122c1add9eca622fe797")
LIVE = "4ccae0823017befeee60428c"


def digest(arrays):
    total = blake2b(digest_size=12)
    for one in arrays:
        total.update(np.ascontiguousarray(one).tobytes())
    return total.hexdigest()


def session_digest(**options):
    images, labels = [], []
    for k, (views, label) in enumerate(render_session(7, 241, 30.0, **options)):
        if k % 40 == 0:
            images += views
        labels.append(label)
    return digest(images), digest([np.array(labels, dtype="S12")])


def test_eight_views_of_the_demo():
    assert session_digest() == EIGHT_VIEWS


def test_noise_everywhere_and_drifting_light():
    assert session_digest(views=[1, 6], width=320, height=240, noise_everywhere=True, light_drift=0.2) == TWO_VIEWS


def test_live_frames_with_faults():
    options = {
        "view": 3, "width": 160, "height": 120, "truth_pose": True,
        "faults": {"drop_p": 0.1, "duplicate_p": 0.1, "reorder_p": 0.1, "late_p": 0.05,
                   "jitter_us": 200, "drift_ppm": 9},
    }  # fmt: skip
    camera = SimulatedCamera("cam", SimulatedCameraConfig.model_validate(options), FakeClock(START_NS))
    camera.open()
    camera.start(START_NS)
    out = np.empty((120, 160), np.uint8)
    parts = []
    for _ in range(120):
        grab = camera.read_into(out, 10.0)
        parts += [out.copy(), np.array([grab.seq, grab.t_exposure_ns, grab.truth.instant, grab.truth.t_true_ns])]
        parts.append(np.array(grab.truth.pose))
    assert digest(parts) == LIVE
