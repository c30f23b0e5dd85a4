"""The graph format as it is written: nodes, connections between their ports, and what a node's mode needs."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation, StringConstraints

from loom_core.notations.parts import (
    MAX_STAGES,
    Identifier,
    Name,
    Part,
    PipelineName,
    Retry,
    Seconds,
    Text,
    Version,
)
from loom_core.notations.routes import Worker
from loom_core.pipelines.plan import OnError

MAX_CONNECTIONS = 1_000
MAX_PORTS = 50
MAX_BRANCHES = 50
MAX_DEPTH = 16
"""How deep loops and branches may stand in each other."""

type Port = Annotated[int, Field(ge=0, lt=MAX_PORTS)] | Name
type Ports = Annotated[int, Field(ge=0, le=MAX_PORTS)] | Annotated[list[Name], Field(max_length=MAX_PORTS)]
type Ids = Annotated[list[Name], Field(max_length=MAX_STAGES)]
type Rounds = Annotated[int, Field(ge=-1, le=1_000_000_000)]
"""How many at most; -1 is without a limit."""
type Formula = Annotated[str, StringConstraints(min_length=1)]
type EventName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=64)]


class Metadata(Part):
    """What a mode needs; its keys are in snake case."""

    model_config = ConfigDict(alias_generator=None)


class Sequential(Metadata):
    execution_mode: Literal["sequential"] = "sequential"


class Conditional(Metadata):
    """`condition` or `condition_func` decides, else the result of the node's own function."""

    execution_mode: Literal["conditional"]
    condition: Formula | bool | None = None
    condition_func: Worker | None = None
    true_path: Ids = Field(default_factory=list[str])
    false_path: Ids = Field(default_factory=list[str])


class Loop(Metadata):
    """Without `loop_back_to`, the loop node begins each round; with it, the loop node ends each round."""

    execution_mode: Literal["loop"]
    loop_type: Literal["for", "while", "infinite"] = "while"
    max_iterations: Rounds = 1_000
    loop_back_to: Name | None = None
    body: Ids | None = None
    items: Formula | list[Any] | None = None
    count: Formula | Annotated[int, Field(ge=0)] | None = None
    item: Identifier = Field(default="item", alias="as")
    condition: Formula | bool | None = None


class Parallel(Metadata):
    execution_mode: Literal["parallel"]
    parallel_branches: Annotated[
        list[Annotated[Ids, Field(min_length=1)]], Field(min_length=1, max_length=MAX_BRANCHES)
    ]


class Event(Metadata):
    """`interval` is in seconds; `event` is the name to raise, by default the node's id."""

    execution_mode: Literal["event"]
    event_type: Literal["timer", "file_change", "http_request"]
    interval: Seconds | None = None
    watch_path: Annotated[str, StringConstraints(min_length=1, max_length=1_024)] | None = None
    event: EventName | None = None
    max_iterations: Rounds = -1


type Mode = Sequential | Conditional | Loop | Parallel | Event
MODES: dict[str, type[Metadata]] = {
    "sequential": Sequential,
    "conditional": Conditional,
    "loop": Loop,
    "parallel": Parallel,
    "event": Event,
}


class Node(Part):
    """`function` is an activity's name; `actor`, `agent` and `pipeline` name other targets."""

    node_id: Name
    name: Text = ""
    function: Worker | None = None
    activity: Worker | None = None
    actor: Worker | None = None
    agent: Worker | None = None
    pipeline: Worker | None = None
    actor_id: Any = None
    inputs: Ports | None = None
    outputs: Ports | None = None
    input: Any = None
    metadata: SkipValidation[Mode | None] = None
    timeout: Seconds | None = None
    retry_policy: Retry | None = None
    on_error: OnError = "fail"


class Connection(Part):
    source_node_id: Name
    target_node_id: Name
    source_port: Port = 0
    target_port: Port = 0


class Graph(Part):
    """The document; nodes and connections are checked one by one, so that no fault hides another."""

    name: PipelineName
    version: Version = ""
    description: Text = ""
    input: dict[str, Any] | bool | None = None
    nodes: Annotated[list[SkipValidation[Node]], Field(min_length=1, max_length=MAX_STAGES)]
    connections: Annotated[list[SkipValidation[Connection]], Field(max_length=MAX_CONNECTIONS)] | None = None
    output: Any = None
    timeout: Seconds | None = None
