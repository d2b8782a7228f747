"""How the system runs the processes of a rig: cores, priority, locked memory, spinning, garbage collection."""

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, field_validator

from ..sync.strict import StrictModel

Cores = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Priority = Annotated[int, Field(ge=1, le=98)]


class NodeProcess(StrictModel):
    """The options of one process.

    Attributes:
        cores: it runs on these only; None: wherever the system puts it.
        priority: of SCHED_FIFO, 1 to 98; None: the usual scheduler.
        lock_memory: none of its memory is ever paged out.
        spin: the model's loop and the worker threads of its engine wait busily.
        collect_between_sets: Python's garbage collector runs after heartbeats only.
    """

    cores: Cores | None = None
    priority: Priority | None = None
    lock_memory: bool = False
    spin: bool = False
    collect_between_sets: bool = False


class ProcessConfig(StrictModel):
    """The ``process`` section of a rig file. Nodes are named as in the process table, ``*`` stands for anything.

    Attributes:
        cores: node → the cores that it runs on; the first name that fits counts.
        realtime: node → its priority under SCHED_FIFO, 1 to 98; likewise. Nothing else runs on a core that such a
            process keeps busy.
        lock_memory: no memory of any process is ever paged out.
        spin: the model's loop and the worker threads of its engine wait busily: faster where cores are to spare, slower
            where they are shared.
        collect_between_sets: Python's garbage collector is kept out of the loops: what was loaded is never looked at
            again, and collection runs in small steps after heartbeats.
    """

    cores: dict[str, Cores] = Field(default_factory=dict[str, list[int]])
    realtime: dict[str, Priority] = Field(default_factory=dict[str, int])
    lock_memory: bool = False
    spin: bool = False
    collect_between_sets: bool = False

    @field_validator("cores")
    @classmethod
    def _each_once(cls, cores: dict[str, list[int]]) -> dict[str, list[int]]:
        for node, chosen in cores.items():
            if len(set(chosen)) < len(chosen):
                raise ValueError(f"{node}: a core stands twice in {chosen}")
        return cores

    def of(self, node: str) -> NodeProcess:
        """The options of one node."""
        return NodeProcess(
            cores=next((cores for name, cores in self.cores.items() if fnmatchcase(node, name)), None),
            priority=next((one for name, one in self.realtime.items() if fnmatchcase(node, name)), None),
            lock_memory=self.lock_memory,
            spin=self.spin,
            collect_between_sets=self.collect_between_sets,
        )
