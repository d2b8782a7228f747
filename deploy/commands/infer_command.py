"""``ethostream infer``: a model on this host for a rig on another one, which sends crops."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ...sync.errors import NodeError


def infer(
    crops: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where the rig publishes crops: its `remote_model.crops`.")
    ],
    time: Annotated[str, typer.Option(metavar="ADDRESS", help="The rig's time server: its `time.serve`.")],
    publish: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Of this host, where the rig hears the model: its `remote_model.model`."),
    ],
    keys: Annotated[
        Path | None, typer.Option(help="This host's keys (`ethostream keys make`); needed beyond loopback.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Name of the rig's keys, where the allow-list holds several hosts.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The rig's bundle on this host, where its path is another one here.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End with the first run; else wait for the next.")] = False,
) -> None:
    """Run the model of a rig on this host, for instance because the GPU is here.

    The rig crops, sends the crops of each frame set and records what the model answers; its task file says which model,
    rules and actuators, and the actuators are driven from here. Start this before the rig or after it: the rig waits
    for two minutes. Ctrl-C ends it.

    Example: `ethostream infer --crops tcp://10.0.0.5:17650 --time tcp://10.0.0.5:17700 --publish tcp://10.0.0.9:17651
    --keys gpu-keys`
    """
    from ...inference.remote_model_node import RemoteModelNodeConfig
    from ...streaming.node import NodeSpec, run_node
    from ...sync.clock import ClockAnchor
    from ...sync.strict import validate

    options = {"crops": crops, "time": time, "host": host, "bundle": bundle and str(bundle.resolve()), "once": once}
    given = {key: value for key, value in options.items() if value}
    config = validate(RemoteModelNodeConfig, given, "ethostream infer")
    anchor = ClockAnchor.take()
    spec = NodeSpec(
        node="model",
        entry="ethostream.inference.remote_model_node:main",
        session="none",
        anchor_utc_ns=anchor.utc_ns,
        anchor_monotonic_ns=anchor.monotonic_ns,
        endpoints={"model": publish},
        parent_pid=os.getppid(),
        keys=keys,
        config=config.model_dump(mode="json"),
    )
    if run_node(spec, in_terminal=True) != 0:
        raise NodeError("the model ended with an error, see above")
