"""Rules in words, the page that shows them, and faults that name rule and cure."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ethostream.deploy import cli
from ethostream.deploy.config import load_run, load_task
from ethostream.deploy.run_checks import check_rules, fixed_task
from ethostream.inference.config import TaskConfig
from ethostream.inference.rules.arming_config import ArmingConfig
from ethostream.inference.rules.config import RuleConfig
from ethostream.inference.rules.engine import Rules
from ethostream.inference.rules.explanation import explain_arming, explain_rule
from ethostream.inference.rules.reasons import CAUSES, REASONS, WITHHELD
from ethostream.inference.rules.zones import BoxMmConfig, PolygonPxConfig
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from typer.testing import CliRunner

RULE: dict[str, Any] = {"name": "puff", "on_enter": "groom", "actuator": "valve"}
TASK: dict[str, Any] = {"bundle": "demo", "rules": [RULE], "actuators": {"valve": {"kind": "log"}}}


def one_line(text: str) -> str:
    """Words with single spaces between."""
    return " ".join(text.split())


def block(page: str, before: str, language: str) -> str:
    """The first fenced block of the page after the words ``before``."""
    found = re.search(rf"{re.escape(before)}.*?^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found, before
    return found.group(1)


def test_the_page_shows_the_example_and_what_explain_says_of_it(repository: Path) -> None:
    page = (repository / "docs" / "rules.md").read_text()
    example = repository / "examples" / "closed_loop_task.yaml"
    assert block(page, "`examples/closed_loop_task.yaml`:", "yaml") == example.read_text()
    said = CliRunner().invoke(cli.app, ["rules", "explain", str(example)])
    assert said.exit_code == 0, said.output
    shown = block(page, "`ethostream rules explain examples/closed_loop_task.yaml`:", "text")
    assert shown.split() == said.output.split()
    assert len(shown.strip().split("\n\n")) == len(load_task(example).rules) + 1


def test_the_page_lists_every_reason_in_order(repository: Path) -> None:
    page = (repository / "docs" / "rules.md").read_text()
    section = page.split("## What withholds")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE)
    assert dict(rows) == REASONS
    assert [name for name, _ in rows] == [*CAUSES, *WITHHELD]


def test_explain_says_every_kind_with_its_units() -> None:
    rule = RuleConfig.model_validate(
        {
            "name": "r",
            "actuator": "laser",
            "on_exit": "groom",
            "when": {
                "probability": {"behavior": "rear", "min": 0.2, "max": 0.6},
                "dwell": {"min_ms": 300, "max_ms": 12_000},
                "label": ["rear", "still"],
                "zones": [{"zone": "nest", "inside": False, "animal": 1}, {"zone": "left"}],
                "session": {"from_s": 30},
                "rules": [{"rule": "other", "within_ms": 500}],
            },
            "max_gap_frames": 1,
            "require_complete": False,
            "max_count": 1,
            "delay_ms": 50,
            "sham": {"fraction": 0.25},
        }
    )
    zones = {
        "nest": BoxMmConfig(x_mm=(0, 80), y_mm=(0, 60.5), z_mm=(0, 40)),
        "left": PolygonPxConfig(view="top", points_px=((0, 0), (9, 0), (0, 9))),
    }
    assert explain_rule(rule, zones).text == one_line(
        """
        r: has laser act 50 ms after the decision, when groom ends. It must hold that the probability of rear is
        between 0.2 and 0.6, the behaviour lasted at least 300 ms and at most 12 s, the behaviour of the moment
        is rear or still, animal 1 is outside nest (x 0 to 80 mm, y 0 to 60.5 mm, z 0 to 40 mm), by a position
        of at most 100 ms ago, the animal is in left (a polygon of 3 corners in px in view top), it is from 30 s
        to the end of the session, and rule other had a trial within the last 500 ms. It is withheld while
        disarmed, while the model is not warm, at its start and after a gap that it could not bridge, when more
        than 1 frame just before had no input, when the frames were exposed more than 250 ms before the
        decision, or when the position is not known. There is at most 1 trial in a session. Each trial is a
        sham with probability 0.25: nothing acts, and all else is as if it had, limits included. The seed is
        drawn when a run starts.
        """
    )
    arming = {"at_start": False, "line": {"kind": "edge", "line": "in1", "edge": "falling", "for_s": 30}}
    assert explain_arming(ArmingConfig.model_validate(arming)).startswith(
        one_line(
            """
            Rules start disarmed, until a person says `ethostream arm --yes`. They may fire only for 30 s after each
            falling edge of input line in1 of the trigger board. A board that is missing, or sends nothing for 2 s,
            disarms them
            """
        )
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"on_exit": "rear"}, r"rules\.0 \(puff\).*exactly one of on_enter.*given: on_enter, on_exit"),
        ({"on_enter": None}, r"exactly one of on_enter.*given: none"),
        ({"when": {"dwell": {"min_ms": 300}}}, r"lasted 0 ms; use on_enter: \{behavior: ..., after_ms: 300\}"),
        ({"when": {"probability": {"min": 0.9, "max": 0.5}}}, "min 0.9 is above max 0.5"),
        ({"when": {"zones": [{"zone": "nest"}]}}, "'puff': zone 'nest' is not defined"),
        ({"when": {"rules": [{"rule": "tail", "within_ms": 5}]}}, "'puff': when.rules names 'tail'"),
        ({"when": {"rules": [{"rule": "puff", "within_ms": 5}]}}, "'puff': when.rules names the rule itself"),
        ({"when": {"rules": [{"rule": "puff"}]}}, "either within_ms or not_within_ms"),
        ({"sham": {"fraction": 0.3, "block": 7}}, "0.3 of 7 trials is no whole number"),
        ({"max_duty": {"share": 0.01, "over_s": 1, "pulse_ms": 20}}, "it would never fire; raise share"),
        ({"on_enter": None, "on_sequence": {"steps": [{"behavior": "rear"}] * 2}}, "every one but the first needs"),
        ({"on_enter": None, "on_times": {"csv": "a.csv", "session_s": [1]}}, "one of session_s, csv and recording"),
        ({"refractory_s": 1}, r"rules\.0 \(puff\)\.refractory_s: unknown key"),
    ],
)
def test_a_fault_names_the_rule_and_the_cure(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        validate(TaskConfig, TASK | {"rules": [RULE | changes]}, "task.yaml")
    assert "task.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"zones": {"a": {"kind": "box_mm", "x_mm": [9, 1], "y_mm": [0, 1]}}}, "x_mm: 9 to 1 is empty"),
        ({"zones": {"a": {"kind": "polygon_mm", "points_mm": [[0, 0], [1, 1], [2, 2]]}}}, "enclose no area"),
        ({"arming": {"windows": [{"from_s": 5}, {"from_s": 9}]}}, "from 9 s begins before the one before it ends"),
        ({"arming": {"line": {"kind": "level", "line": "trigger"}}}, "arming.line"),
        (
            {
                "zones": {"a": {"kind": "box_mm", "x_mm": [0, 1], "y_mm": [0, 1]}},
                "rules": [RULE | {"when": {"zones": [{"zone": "a"}]}}],
            },
            "in millimetres, and nothing says where the animal is: set tracking",
        ),
    ],
)
def test_a_fault_of_zones_and_arming_names_the_cure(task: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validate(TaskConfig, TASK | task, "task.yaml")


def test_a_duty_is_reckoned_with_the_pulses_that_the_actuator_makes() -> None:
    serial = {"kind": "serial", "port": "/dev/ttyACM0", "pulse_ms": 10, "n_pulses": 5, "period_ms": 50}
    for pulse_ms, fits in ((50, True), (49, False)):
        rule = RULE | {"max_duty": {"share": 0.1, "over_s": 10, "pulse_ms": pulse_ms}}
        task = TASK | {"rules": [rule], "actuators": {"valve": serial}}
        if fits:
            validate(TaskConfig, task, "task.yaml")
            continue
        with pytest.raises(ConfigError, match=r"'puff': max_duty.pulse_ms 49: actuator 'valve' is asked for 50 ms"):
            validate(TaskConfig, task, "task.yaml")


def test_the_example_fits_the_demo_rig(repository: Path) -> None:
    run = load_run(repository / "deploy" / "demo" / "rig.yaml", repository / "examples" / "closed_loop_task.yaml")
    check_rules(fixed_task(run.task), run.rig, list(run.rig.cameras))
    line = {"line": {"kind": "level", "line": "in0"}}
    task = fixed_task(run.task).model_copy(update={"arming": ArmingConfig.model_validate(line)})
    with pytest.raises(ConfigError, match=r"'in0': the rig's board does not watch it \(no input\); set trigger.inputs"):
        check_rules(task, run.rig, list(run.rig.cameras))


def test_what_does_not_suit_the_model_is_refused() -> None:
    zones = {"left": PolygonPxConfig(view="top", points_px=((0, 0), (9, 0), (0, 9)))}
    inside = RuleConfig.model_validate(RULE | {"when": {"zones": [{"zone": "left"}]}})
    with pytest.raises(ConfigError, match=r"'puff'.*in view 'top', which the model does not see \(side\)"):
        Rules([inside], ["groom"], True, zones=zones, views=["side"])
    steps = [{"behavior": "groom"}, {"behavior": "dance", "within_ms": 9}]
    sequence = RuleConfig.model_validate({"name": "s", "actuator": "v", "on_sequence": {"steps": steps}})
    with pytest.raises(ConfigError, match=r"'s': on_sequence.steps\[1\] 'dance' is not among the model's classes"):
        Rules([sequence], ["groom"], True)
    with pytest.raises(ConfigError, match="'puff': draws at random and has no seed"):
        Rules([RuleConfig.model_validate(RULE | {"jitter_ms": 5})], ["groom"], True)


def test_explain_checks_behaviours_against_the_model_and_names_the_file(tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text(yaml.safe_dump(TASK | {"rules": [RULE | {"on_enter": "dance"}]}))
    said = CliRunner().invoke(cli.app, ["rules", "explain", str(task)])
    assert isinstance(said.exception, ConfigError)
    assert str(said.exception).startswith(f"{task}: rule 'puff': on_enter 'dance' is not among the model's classes")


def test_a_run_draws_the_seeds_that_are_missing_and_a_further_part_all_of_them() -> None:
    rules = [RULE | {"jitter_ms": 5, "seed": 3}, RULE | {"name": "b", "sham": {"fraction": 0.5}}]
    task = validate(TaskConfig, TASK | {"rules": rules}, "task.yaml")
    fixed = fixed_task(task)
    assert fixed.rules[0].seed == 3 and fixed.rules[1].seed is not None
    again = fixed_task(fixed, again=True)
    assert not {one.seed for one in again.rules} & {None, *(one.seed for one in fixed.rules)}
    assert fixed_task(fixed) == fixed  # what a recording holds is fixed already


def test_explain_says_what_a_model_that_looks_ahead_costs(
    write_tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_tiny_bundle(look_ahead_frames=3)
    task = TASK | {"bundle": str(folder), "max_look_ahead_frames": 3, "rules": [RULE | {"on_enter": "rear"}]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    said = CliRunner().invoke(cli.app, ["rules", "explain", str(tmp_path / "task.yaml")])
    assert said.exit_code == 0, said.output
    assert "waits for 3 frames of the future: every decision comes 100 ms later" in said.output
