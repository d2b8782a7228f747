"""Time between hosts, keys and LSL as the rig file asks for them: which processes there are, and what is refused."""

from pathlib import Path

import pytest
from ethostream.deploy.config import load_run
from ethostream.deploy.process_table import live_table, replay_table
from ethostream.deploy.replay_run import replay_rig
from ethostream.sync.errors import ConfigError


def rig_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rig.yaml"
    path.write_text(f"name: r\ncameras: {{a: {{kind: simulated, view: 0}}}}\n{text}\n")
    return path


def test_processes_are_in_the_table_only_when_the_rig_file_asks(tmp_path: Path) -> None:
    def nodes(text: str) -> dict[str, str]:
        run = load_run(rig_file(tmp_path, text))
        return {row.node: row.entry for row in live_table(run, {}, 60.0, None)}

    plain = nodes("")
    assert not {"time_server", "time_follower", "trusted_time", "lsl_inlet", "lsl_outlet"} & set(plain)
    asked = nodes(
        "time: {source: chrony, serve: 'tcp://127.0.0.1:17700', follow: 'tcp://127.0.0.1:17701'}\n"
        "lsl: {outlet: true, inlets: {eeg: {type: EEG}}}"
    )
    assert set(asked) - set(plain) == {"time_server", "time_follower", "trusted_time", "lsl_inlet", "lsl_outlet"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time: {serve: 'tcp://192.0.2.1:17700'}", "time.serve.*only ipc and loopback.*keys"),
        ("time: {follow: 'tcp://192.0.2.1:17700'}", "time.follow.*keys"),
        ("bus: {transport: tcp, bind: 192.0.2.1}", "bus.bind.*keys"),
        ("bus: {bind: 0.0.0.0, keys: k}", "all of them at once"),
        ("bus: {bind: 192.0.2.1, keys: k}", "no effect with transport ipc"),
        ("bus: {bind: localhost}", "one IPv4 address"),
        ("time: {serve: here}", "time.serve"),
        ("lsl: {inlets: {eeg: {}}}", "give name, type or source_id"),
        ("lsl: {inlets: {eeg: {name: \"a' or 'b\"}}}", "lsl.inlets.eeg.name"),
    ],
)
def test_what_others_could_reach_is_refused_without_keys(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_run(rig_file(tmp_path, text))


def test_a_replay_speaks_to_nobody_outside(tmp_path: Path) -> None:
    text = (
        "bus: {transport: tcp, bind: 192.0.2.1, keys: k}\n"
        "time: {source: chrony, serve: 'tcp://192.0.2.1:17700', follow: 'tcp://192.0.2.2:17700'}\n"
        "lsl: {outlet: true, inlets: {eeg: {type: EEG}}}"
    )
    run = load_run(rig_file(tmp_path, text))
    replayed = run.model_copy(update={"rig": replay_rig(run.rig, monitor=False)})
    plain = load_run(rig_file(tmp_path, "bus: {transport: tcp}\nmonitor: {enabled: false}"))
    assert type(replayed).model_validate(replayed.model_dump()) == plain
    assert [row.node for row in replay_table(replayed, {}, 60.0, {})] == ["replay", "inference"]


def test_a_folder_of_keys_is_looked_for_beside_the_rig_file(tmp_path: Path) -> None:
    run = load_run(rig_file(tmp_path, "bus: {transport: tcp, bind: 192.0.2.1, keys: k}"))
    assert run.rig.bus.keys == tmp_path / "k"
