"""Rules tried on a recording, by the engine itself; and the times of one session given to another."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from ethostream.deploy import cli
from ethostream.inference.config import TaskConfig
from ethostream.inference.rules.config import RuleConfig
from ethostream.inference.rules.engine import TRIALS_PER_EPOCH, Rules
from ethostream.inference.rules.rehearsal import rehearse
from ethostream.inference.rules.yoked import with_seeds, with_times
from ethostream.streaming.messages import Arming, Behavior, Decision, Heartbeat, Message, SourceFrame, SyncPulse, Tracks
from ethostream.streaming.pose_format import PoseFormat
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.set_ids import SETS_PER_EPOCH
from ethostream.streaming.topics import TOPICS
from ethostream.streaming.wire import encode
from ethostream.sync.errors import ConfigError
from rule_streams import CLASSES, MS, S, behavior, pulse, tracks
from typer.testing import CliRunner

START_NS = 5 * S
OF_MESSAGE = {topic.message: topic for topic in TOPICS.values()}
TASK: dict[str, Any] = {
    "bundle": "demo",
    "rules": [
        {
            "name": "light", "actuator": "log", "on_enter": "groom", "refractory_ms": 600, "delay_ms": 40,
            "jitter_ms": 60, "sham": {"fraction": 0.5, "block": 2},
        },
        {"name": "nest", "actuator": "log", "on_enter": "rear", "when": {"zones": [{"zone": "nest"}]}},
    ],
    "zones": {"nest": {"kind": "box_mm", "x_mm": [0, 100], "y_mm": [0, 100]}},
    "arming": {"windows": [{"from_s": 0.5, "to_s": 6}, {"from_s": 7}], "line": {"kind": "level", "line": "in0"}},
    "tracking": {"calibration": "c.toml", "cage_x_mm": [0, 420], "cage_y_mm": [0, 320]},
    "actuators": {"log": {"kind": "log"}},
}  # fmt: skip


def record(folder: Path, messages: Sequence[Message], task: dict[str, Any] | None = None) -> Path:
    """A recording of events only that holds these messages in this order."""
    form = {"cam0": RecordedFormat(width=64, height=48, pixel_format="mono8", rate_hz=30.0)}
    poses = {"tracker": PoseFormat(rate_hz=30.0, animals=["a"], keypoints=["nose"])}
    writer = RecordingWriter(folder, "s", form, RecordingConfig(video=False), 0, {"task": task or {}}, poses=poses)
    for seq, message in enumerate(messages):
        topic = OF_MESSAGE[type(message)]
        writer.events.append(topic, "", seq, encode(topic, "inference", seq, message), seq)
    writer.close(len(messages), {}, {})
    return folder


def told() -> list[tuple[Behavior | Tracks | SyncPulse | tuple[bool, int], int]]:
    """Ten seconds of a mouse, with the process started again in the middle: what happens, and in which epoch."""
    events: list[tuple[Any, int]] = []
    labels = ["still", "groom", "still", "rear"]
    for step in range(300):
        t_ms = 5000 + 33 * step
        epoch = int(step >= 160)
        if step % 20 == 0:
            events.append((pulse(t_ms - 1, "in0" if step in (0, 180) else "trigger"), epoch))
        if step in (40, 60, 190):
            events.append(((step != 40, round((t_ms - 1) * MS)), epoch))
        set_id = epoch * SETS_PER_EPOCH + step
        changes: dict[str, Any] = {"reset": True, "warm": False, "gap_frames": 0} if step in (0, 160) else {}
        since = 5000 + 33 * (step - step % 3)
        changes["epoch"] = epoch
        one = behavior(labels[step // 3 % 4], t_ms, set_id=set_id, label_since_ns=since * MS, **changes)
        events += [(one, epoch), (tracks(t_ms, 60.0 if step % 48 < 24 else 160.0), epoch)]
    return events


def live(task: dict[str, Any]) -> list[Message]:
    """The messages that a rig publishes meanwhile, in its order."""
    config = TaskConfig.model_validate(task)
    rules = with_seeds(config.rules, lambda: 11)
    messages: list[Message] = []
    engine = Rules(rules, CLASSES, True, zones=config.zones, arming=config.arming)
    engine.begin(START_NS)
    before = 0
    for event, epoch in told():
        if epoch != before:
            engine = Rules(
                rules, CLASSES, False, zones=config.zones, arming=config.arming, first_trial=TRIALS_PER_EPOCH
            )
            engine.begin(START_NS, event.t_ns if isinstance(event, SyncPulse) else 0)
            before = epoch
        made: list[Decision] = []
        if isinstance(event, Behavior):
            made = engine.step(event)
        elif isinstance(event, Tracks):
            engine.tracked(event)
        elif isinstance(event, SyncPulse):
            engine.pulse(event)
        else:
            engine.set_armed(event[0], "person", event[1])
        messages += engine.take_changes()
        messages += [] if isinstance(event, tuple) else [event]
        messages += made
    return messages


def seeded(task: dict[str, Any], seed: int) -> dict[str, Any]:
    rules = with_seeds(TaskConfig.model_validate(task).rules, lambda: seed)
    return {**task, "rules": [rule.model_dump(mode="json") for rule in rules]}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("r") / "rec", live(TASK), seeded(TASK, 11))


def decisions_of(recording: Path) -> list[Decision]:
    return [one.message for one in Recording.open(recording).messages() if isinstance(one.message, Decision)]


def test_a_dry_run_of_the_recorded_task_makes_every_decision_again(recorded: Path) -> None:
    """Person, schedule, line, tracks and a process that was started again included; seeds come from the recording."""
    found = rehearse(Recording.open(recorded), TaskConfig.model_validate(TASK), as_recorded=True)
    live_decisions = decisions_of(recorded)
    assert found.decisions == live_decisions
    assert {one.action for one in live_decisions} == {"fired", "sham", "withheld"}
    assert {one.reason for one in live_decisions} >= {"onset", "disarmed", "zone", "refractory"}
    assert max(one.trial for one in live_decisions) >= TRIALS_PER_EPOCH
    assert found.compare() == {"equal": len(live_decisions), "different": 0, "differences": []}
    assert found.drawn == []


def test_who_arms_before_the_first_set_of_a_new_process_is_heard(tmp_path: Path) -> None:
    messages: list[Message] = [Arming(True, "start", START_NS), behavior("still", 5000)]
    messages += [Arming(False, "start", 6 * S), Arming(True, "person", 6 * S)]
    labels = ("still", "groom")
    messages += [behavior(label, 7000 + k, set_id=SETS_PER_EPOCH + k) for k, label in enumerate(labels)]
    rules = [{"name": "r", "actuator": "log", "on_enter": "groom"}]
    task = TaskConfig.model_validate({"bundle": "demo", "rules": rules, "actuators": {"log": {"kind": "log"}}})
    recording = Recording.open(record(tmp_path / "rec", messages))
    assert [one.action for one in rehearse(recording, task, as_recorded=True).decisions] == ["fired"]


NUMBERED_ELSEWHERE: dict[str, Any] = {
    "bundle": "demo",
    "rules": [
        {"name": "light", "actuator": "log", "on_enter": "groom", "refractory_ms": 900, "sham": {"fraction": 0.5}},
        {"name": "once", "actuator": "log", "on_enter": "rear", "max_count": 2},
    ],
    "actuators": {"log": {"kind": "log"}},
}


def live_elsewhere(takes: str, killed: str, n_starts: int = 1, said: bool = True) -> list[Message]:
    """Ten seconds of a model that takes what another process numbers; one of both is killed in the middle.

    Where the model is, ``n_starts`` new processes are begun, and the last of them lives to answer. ``said`` False: as
    in a recording made before answers told of their process.
    """
    rules = with_seeds(TaskConfig.model_validate(NUMBERED_ELSEWHERE).rules, lambda: 11)
    engine = Rules(rules, CLASSES, True)
    engine.begin(START_NS)
    messages: list[Message] = []
    previous, epoch = -1, 0
    for step in range(300):
        t_ms = 5000 + 33 * step
        late = step >= 160
        if step == 160 and killed == "model":
            epoch = n_starts
            engine = Rules(rules, CLASSES, False, first_trial=epoch * TRIALS_PER_EPOCH)
            engine.begin(START_NS, round(t_ms * MS))
            previous = -1
        if step == 160:
            # What speaks for a model on another host is started again by itself, and so are the sources of poses.
            messages.append(Heartbeat("inference", epoch or int(takes == "crops"), 7, "starting", t_ms * MS))
        if step == 190:
            engine.set_armed(True, "person", round(t_ms * MS) - 1)
        set_id = int(late and killed == "source") * SETS_PER_EPOCH + step
        changes: dict[str, Any] = {"reset": True, "warm": False} if step in (0, 160) else {}
        changes["epoch"] = epoch if said else -1
        if takes == "poses":
            changes["sources"] = (SourceFrame("tracker", set_id // SETS_PER_EPOCH, step, t_ms * MS, 0, t_ms * MS),)
        else:
            changes["t_arrived_ns"] = t_ms * MS
        since_ns = (5000 + 33 * (step - step % 3)) * MS
        labels = ["still", "groom", "still", "rear"]
        one = behavior(
            labels[step // 3 % 4], t_ms, set_id=set_id, previous_set_id=previous, label_since_ns=since_ns, **changes
        )
        previous = set_id
        decisions = engine.step(one)
        messages += [*engine.take_changes(), one, *decisions]
    return messages


@pytest.mark.parametrize("takes", ["poses", "crops"])
@pytest.mark.parametrize("killed", ["source", "model"])
@pytest.mark.parametrize("said", [True, False])
def test_a_source_that_is_started_again_is_no_new_model(tmp_path: Path, takes: str, killed: str, said: bool) -> None:
    """Poses and crops are numbered by another process than the model's: only the model's own start is one of rules."""
    messages = live_elsewhere(takes, killed, said=said)
    recording = Recording.open(record(tmp_path / "rec", messages, seeded(NUMBERED_ELSEWHERE, 11)))
    found = rehearse(recording, TaskConfig.model_validate(NUMBERED_ELSEWHERE), as_recorded=True)
    live_decisions = [one for one in messages if isinstance(one, Decision)]
    assert found.compare() == {"equal": len(live_decisions), "different": 0, "differences": []}
    assert found.decisions == live_decisions
    assert {one.reason for one in live_decisions} >= {"onset", "refractory"}
    assert (max(one.trial for one in live_decisions) >= TRIALS_PER_EPOCH) == (killed == "model")
    late = {one.action for one in live_decisions if one.t_exposure_ns >= (5000 + 33 * 160) * MS}
    assert late & {"fired", "sham"} and "withheld" in late


@pytest.mark.parametrize("takes", ["poses", "crops"])
@pytest.mark.parametrize(("n_starts", "lost"), [(2, False), (1, True), (1001, False)])
def test_a_start_without_a_first_answer_shifts_no_trial(tmp_path: Path, takes: str, n_starts: int, lost: bool) -> None:
    """A process died before it answered, the first answer was lost, or a model on another host counts by thousands."""
    messages = live_elsewhere(takes, "model", n_starts)
    if lost:
        first = [place for place, one in enumerate(messages) if isinstance(one, Behavior)][160]
        del messages[first]
    recording = Recording.open(record(tmp_path / "rec", messages, seeded(NUMBERED_ELSEWHERE, 11)))
    found = rehearse(recording, TaskConfig.model_validate(NUMBERED_ELSEWHERE), as_recorded=True)
    live_trials = [one for one in messages if isinstance(one, Decision) and one.trial >= 0]
    assert [one for one in found.decisions if one.trial >= 0] == live_trials
    assert max(one.trial for one in live_trials) >= n_starts * TRIALS_PER_EPOCH


def test_another_task_differs_and_the_difference_is_named(recorded: Path) -> None:
    rules = [dict(TASK["rules"][0], refractory_ms=0), TASK["rules"][1]]
    task = TaskConfig.model_validate({**TASK, "rules": rules})
    compared = rehearse(Recording.open(recorded), task, as_recorded=True).compare()
    assert compared["different"] and all("rule light" in line for line in compared["differences"])
    assert "recorded: withheld (refractory)" in compared["differences"][0]
    # As if nobody had disarmed it: the schedule and the line still hold.
    freely = rehearse(Recording.open(recorded), TaskConfig.model_validate(TASK))
    n_disarmed = [sum(one.reason == "disarmed" for one in made) for made in (decisions_of(recorded), freely.decisions)]
    assert 0 < n_disarmed[1] < n_disarmed[0]
    assert freely.drawn == ["light"]


def test_the_command_prints_what_would_have_happened(recorded: Path, tmp_path: Path) -> None:
    task = {**TASK, "rules": [{**TASK["rules"][0], "seed": 11}, TASK["rules"][1]]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    words = ["rules", "test", str(tmp_path / "task.yaml"), str(recorded), "--compare", "--rows", "9"]
    done = CliRunner().invoke(cli.app, [*words, "--json", str(tmp_path / "out.json")], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    live_decisions = decisions_of(recorded)
    assert f"{len(live_decisions)} decisions as recorded, 0 different" in done.output
    assert f"and {len(live_decisions) - 9} more decisions" in done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["totals"]["light"]["sham"] == sum(one.action == "sham" for one in live_decisions) > 0
    first = found["decisions"][0]
    assert first["session_s"] == pytest.approx((first["t_exposure_ns"] - START_NS) / 1e9)
    assert first["frames"] == ["cam0/0/1"]


def test_faults_of_a_dry_run_name_file_rule_and_cure(recorded: Path, tmp_path: Path) -> None:
    rules = [{"name": "r", "actuator": "log", "on_enter": "swim"}]
    (tmp_path / "task.yaml").write_text(
        yaml.safe_dump({"bundle": "demo", "rules": rules, "actuators": {"log": {"kind": "log"}}})
    )
    result = CliRunner().invoke(cli.app, ["rules", "test", str(tmp_path / "task.yaml"), str(recorded)])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{tmp_path / 'task.yaml'}: rule 'r': on_enter 'swim' is not among")
    empty = record(tmp_path / "empty", [Arming(True, "start", 0)])
    with pytest.raises(ConfigError, match="no behaviour in it; record with a task that names a bundle"):
        rehearse(Recording.open(empty), TaskConfig.model_validate(TASK))


def yoked(**source: Any) -> RuleConfig:
    return RuleConfig.model_validate({"name": "yoked", "actuator": "log", "on_times": source})


@pytest.mark.parametrize(("trials", "actions"), [("fired", {"fired"}), ("all", {"fired", "sham"})])
def test_a_yoked_rule_acts_when_the_master_did(recorded: Path, trials: str, actions: set[str]) -> None:
    (rule,) = with_times([yoked(recording=str(recorded), rule="light", trials=trials)])
    wanted = [one for one in decisions_of(recorded) if one.rule == "light" and one.action in actions]
    assert rule.on_times is not None and rule.on_times.session_s is not None
    assert list(rule.on_times.session_s) == pytest.approx([(one.t_due_ns - START_NS) / 1e9 for one in wanted], abs=1e-6)
    engine = Rules([rule], CLASSES, True)
    engine.begin(START_NS)
    # Another animal, which only rests: the same seconds, each at the next set.
    fired = [one for step in range(330) for one in engine.step(behavior("still", 5000 + 33 * step))]
    assert len(fired) == len(wanted) > 3
    for one, master in zip(fired, sorted(wanted, key=lambda each: each.t_due_ns), strict=True):
        assert (one.action, one.reason) == ("fired", "time")
        assert 0 <= one.t_decided_ns - master.t_due_ns <= 33 * MS + 1000


def test_times_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["trial", "due_s"], ["0", "4.5"], ["1", "0.25"]])
    (rule,) = with_times([yoked(csv=str(path), column="due_s")])
    assert rule.on_times is not None and rule.on_times.session_s == (0.25, 4.5)


def make_table(folder: Path, text: str) -> dict[str, Any]:
    (folder / "times.csv").write_text(text)
    return {"csv": str(folder / "times.csv")}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lambda folder, _: make_table(folder, "a\n1\n"), r"no column 'session_s' \(a\); set on_times.column"),
        (lambda folder, _: make_table(folder, "session_s\n1\n-2\n"), "line 3: '-2' is no time"),
        (lambda folder, _: make_table(folder, "session_s\nsoon\n"), "line 2: 'soon' is no time"),
        (lambda folder, _: make_table(folder, "session_s\n"), "gives 0 times; between 1 and 20000"),
        (lambda folder, _: {"csv": str(folder / "gone.csv")}, "cannot be read .*check the path"),
        (lambda _, rec: {"recording": str(rec), "rule": "laser"}, r"'laser' decided nothing in .*\(light, nest\)"),
    ],
)
def test_times_that_cannot_be_read(
    source: Callable[[Path, Path], dict[str, Any]], said: str, tmp_path: Path, recorded: Path
) -> None:
    with pytest.raises(ConfigError, match=f"rule 'yoked'.*{said}"):
        with_times([yoked(**source(tmp_path, recorded))])


def test_a_recording_without_arming_begins_with_its_first_behaviour(tmp_path: Path) -> None:
    messages = [msgspec.structs.replace(behavior(label, t_ms)) for t_ms, label in ((5000, "still"), (6000, "groom"))]
    rules = [{"name": "r", "actuator": "log", "on_enter": "groom", "when": {"session": {"from_s": 0.9, "to_s": 1.1}}}]
    task = TaskConfig.model_validate({"bundle": "demo", "rules": rules, "actuators": {"log": {"kind": "log"}}})
    found = rehearse(Recording.open(record(tmp_path / "rec", messages)), task)
    assert [one.reason for one in found.decisions] == ["onset"]
    assert found.seconds == pytest.approx(1.0)
