"""Rig, task and session files: strict, with faults named by file and key."""

from pathlib import Path

import pytest
from ethostream.deploy.config import load_run, load_task
from ethostream.sync.errors import ConfigError

REPO = Path(__file__).parents[2]

RIG = """
name: bench
cameras:
  left: &camera {kind: simulated, view: 0, rate_hz: 30}
  right: {<<: *camera, view: 1}
recording: {codec: ffv1}
"""


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    path = tmp_path / "rig.yaml"
    path.write_text(RIG)
    return path


def test_a_rig_of_a_few_lines_loads(rig: Path) -> None:
    run = load_run(rig)
    assert list(run.rig.cameras) == ["left", "right"]
    assert run.task.bundle is None
    assert run.rig.recording.codec == "ffv1"


@pytest.mark.parametrize(
    ("extra", "key"),
    [
        ("framerate: 60\n", "framerate"),
        ("bus: {ring_slotz: 3}\n", "bus.ring_slotz"),
        ("monitor: {enabled: true, colour: red}\n", "monitor.colour"),
    ],
)
def test_an_unknown_key_is_named_with_its_path(rig: Path, extra: str, key: str) -> None:
    rig.write_text(RIG + extra)
    with pytest.raises(ConfigError, match=rf"(?s)rig\.yaml.*{key}: unknown key; remove it or check its spelling"):
        load_run(rig)


def test_an_unknown_key_of_a_camera_is_named(rig: Path) -> None:
    rig.write_text(RIG.replace("view: 1", "view: 1, exposure: 5"))
    with pytest.raises(ConfigError, match=r"cameras\.right\.simulated\.exposure: unknown key"):
        load_run(rig)


def test_a_wrong_value_is_shown(rig: Path) -> None:
    rig.write_text(RIG.replace("rate_hz: 30", "rate_hz: -30"))
    with pytest.raises(ConfigError, match=r"cameras\.left\.simulated\.rate_hz.*got -30"):
        load_run(rig)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1", "is not valid YAML"),
        ("- 1\n", "holds list"),
        ("", "holds NoneType"),
        ("\xff".encode("latin1"), "UTF-8"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_refused(rig: Path, content: str | bytes, words: str) -> None:
    rig.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=words):
        load_run(rig)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read.*check the path"):
        load_run(tmp_path / "nothing.yaml")


def test_overrides_reach_single_keys_and_all_cameras(rig: Path) -> None:
    run = load_run(
        rig, overrides=["cameras.*.rate_hz=60", "cameras.left.seed=3", "rig.name=other", "session.subject=m1"]
    )
    assert [camera.rate_hz for camera in run.rig.cameras.values()] == [60, 60]
    assert [getattr(camera, "seed", None) for camera in run.rig.cameras.values()] == [3, 7]
    assert (run.rig.name, run.session.subject) == ("other", "m1")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("nothing", "expected key.key=value"),
        ("cameras.nobody*.rate_hz=1", "nothing matches"),
        ("name.x=1", "is a value, not a group"),
        ("name=[", "not YAML"),
        ("cameras.left.rate=1", "unknown key"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(rig: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_run(rig, overrides=[override])


def test_cameras_that_share_a_yaml_alias_are_set_apart(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text("name: x\ncameras:\n  a: &c {kind: file, pixel_format: mono8}\n  b: *c\n")
    run = load_run(path, overrides=["cameras.a.path=one.mp4", "cameras.b.path=two.mp4"])
    assert [str(getattr(camera, "path", "")) for camera in run.rig.cameras.values()] == ["one.mp4", "two.mp4"]


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "rig.yaml"
    path.write_text("name: x\ncameras:\n  a: {kind: file, path: video.mp4}\n")
    camera = load_run(path).rig.cameras["a"]
    assert Path(str(getattr(camera, "path", ""))) == tmp_path / "deep" / "video.mp4"


@pytest.mark.parametrize("name", ["a/b", "a b", "", "../x", "é"])
def test_a_camera_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(f"name: x\ncameras:\n  '{name}': {{kind: simulated, view: 0}}\n")
    with pytest.raises(ConfigError, match="use letters, digits"):
        load_run(path)


@pytest.mark.parametrize("path", sorted(REPO.glob("deploy/demo/rig.yaml")), ids=str)
def test_shipped_rigs_load(path: Path) -> None:
    run = load_run(path, path.with_name("task.yaml"))
    assert len(run.rig.cameras) == 8


def test_a_task_without_a_model_takes_the_one_that_is_given() -> None:
    path = REPO / "examples/openfield_task.yaml"
    assert load_task(path, "demo").bundle == Path("demo")
    with pytest.raises(ConfigError, match="rules need a model: set bundle"):
        load_task(path)


def test_the_examples_load_with_paths_given() -> None:
    run = load_run(
        REPO / "examples/openfield.yaml", REPO / "examples/openfield_task.yaml",
        overrides=["cameras.top.path=x.mp4", "task.bundle=somewhere/bundle"],
    )  # fmt: skip
    assert run.task.rules[0].on_enter == "still"
    names = ("back", "mid", "side", "top")
    run = load_run(REPO / "examples/four_views.yaml", overrides=[f"cameras.{name}.path={name}.mp4" for name in names])
    assert tuple(run.rig.cameras) == names


BOARD = "trigger: {{kind: serial, port: /dev/ttyACM0, cameras: {cameras}}}\n"
BASLER = "{kind: basler, serial: '1', rate_hz: 30, trigger: {kind: hardware, line: Line1}}"
SOFTWARE = "{kind: basler, serial: '1', rate_hz: 30, trigger: {kind: software}}"
GENICAM = "{kind: genicam, producer: simulator, serial: '1', rate_hz: 30"
COUNTS = "{kind: simulated, view: 0, triggered: true}"


@pytest.mark.parametrize(
    ("cameras", "free"),
    [
        ("null", ["left", "right"]),
        ("[right]", ["right"]),
        ("[]", None),
    ],
)
def test_a_trigger_needs_cameras_that_follow_it(rig: Path, cameras: str, free: list[str] | None) -> None:
    rig.write_text(RIG + BOARD.format(cameras=cameras))
    if free is None:
        assert load_run(rig).rig.trigger is not None
        return
    named = ", ".join(rf"{name} \(kind simulated\)" for name in free)
    with pytest.raises(ConfigError, match=rf"(?s)rig\.yaml.*trigger: camera {named} is not set to follow"):
        load_run(rig)


@pytest.mark.parametrize(
    ("camera", "follows"),
    [
        (BASLER, True),
        (SOFTWARE, False),
        (GENICAM + ", trigger: {line: Line2}}", True),
        (GENICAM + "}", False),
        (COUNTS, False),
        ("{kind: file, path: a.mp4}", False),
        ("{kind: opencv, device: 0, fourcc: YUYV, width: 64, height: 48, rate_hz: 30}", False),
    ],
)
def test_which_cameras_follow_a_trigger(rig: Path, camera: str, follows: bool) -> None:
    rig.write_text(f"name: x\ncameras: {{top: {camera}}}\n{BOARD.format(cameras='null')}")
    if follows:
        assert list(load_run(rig).rig.cameras) == ["top"]
    else:
        with pytest.raises(ConfigError, match=r"camera top .* is not set to follow its pulses"):
            load_run(rig)


def test_an_actuator_needs_a_board_of_its_own(rig: Path) -> None:
    rig.write_text(f"name: x\ncameras: {{top: {BASLER}}}\n{BOARD.format(cameras='null')}")
    trigger = load_run(rig).rig.trigger
    assert trigger is not None
    task = rig.with_name("task.yaml")
    for port in (trigger.port, "/dev/ttyACM7"):
        task.write_text(f"actuators: {{valve: {{kind: serial, port: {port}}}}}")
        if port == trigger.port:
            with pytest.raises(ConfigError, match=r"actuators\.valve\.port: .* is the board that triggers the cameras"):
                load_run(rig, task)
        else:
            assert list(load_run(rig, task).task.actuators) == ["valve"]


def test_the_rig_file_of_the_page_on_triggering_loads(rig: Path) -> None:
    page = (REPO / "docs" / "triggering.md").read_text()
    rig.write_text(page.split("```yaml\n")[1].split("```")[0])
    assert load_run(rig).rig.trigger is not None
