"""The graph format as it is written: nodes, connections between their ports, and what a node's mode needs."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation, StringConstraints

from loom_core.notations.document import (
    MAX_STAGES,
    Document,
    Identifier,
    Name,
    Part,
    Retry,
    Seconds,
    Text,
    Unit,
    Worker,
)

MAX_CONNECTIONS = 1_000
MAX_PORTS = 50
MAX_BRANCHES = 50

type Port = Annotated[int, Field(ge=0, lt=MAX_PORTS)] | Name
type Ports = Annotated[int, Field(ge=0, le=MAX_PORTS)] | Annotated[list[Name], Field(max_length=MAX_PORTS)]
type Ids = Annotated[list[Name], Field(max_length=MAX_STAGES)]
type Rounds = Annotated[int, Field(ge=-1, le=1_000_000_000)]
"""How many at most; -1 is without a limit."""
type Formula = Annotated[str, StringConstraints(min_length=1)]
type EventName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=64)]


class Metadata(Part):
    """What a mode needs; its keys are in snake case.

    execution_mode: When and how often the node runs.
    max_iterations: How many rounds at most; -1 is without a limit.
    """

    model_config = ConfigDict(alias_generator=None)


class Sequential(Metadata):
    """Once, as soon as what leads to it is done."""

    execution_mode: Literal["sequential"] = "sequential"


class Conditional(Metadata):
    """`condition` or `condition_func` decides, else the result of the node's own function.

    condition: An expression that decides between the paths.
    condition_func: The activity whose result decides between the paths.
    true_path: The nodes that run only if it holds.
    false_path: The nodes that run only if it does not.
    """

    execution_mode: Literal["conditional"]
    condition: Formula | bool | None = None
    condition_func: Worker | None = None
    true_path: Ids = Field(default_factory=list[str])
    false_path: Ids = Field(default_factory=list[str])


class Loop(Metadata):
    """Without `loop_back_to`, the loop node begins each round; with it, the loop node ends each round.

    loop_type: `for` each item, `while` something holds, or `infinite`.
    loop_back_to: The node that a round begins with; without it, it begins with the loop node.
    body: The nodes of a round, where no circle of connections shows them.
    items: A list, or an expression that gives one: a round for each item.
    count: How many rounds, a number or an expression.
    as: The name of the item in expressions.
    condition: An expression: a round as long as it holds.
    """

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
    """The nodes in its branches, side by side.

    parallel_branches: Lists of nodes: the lists run side by side, the nodes of each in order.
    """

    execution_mode: Literal["parallel"]
    parallel_branches: Annotated[
        list[Annotated[Ids, Field(min_length=1)]], Field(min_length=1, max_length=MAX_BRANCHES)
    ]


class Event(Metadata):
    """`interval` is in seconds; `event` is the name to raise, by default the node's id.

    event_type: What is waited for.
    interval: Seconds.
    watch_path: The files that are watched.
    event: The name of the event to raise; by default the node's id.
    """

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


class Node(Unit):
    """`function` is an activity's name; `actor`, `agent` and `pipeline` name other targets.

    nodeId: What the node is called; unique.
    name: For people.
    function: The activity that does the work, or a choice; without one the input is passed on.
    agent: The agent that does the work, or a choice among several.
    inputs: The input ports: their names, or how many there are.
    outputs: The output ports: their names, or how many there are.
    input: Values with expressions, for the input ports that are not connected.
    metadata: The node's mode, and what that needs.
    timeout: Seconds, all attempts and waits included.
    retryPolicy: How often and when a failed call is tried again.
    """

    node_id: Name
    name: Text = ""
    function: Worker | None = None
    agent: Worker | None = None
    inputs: Ports | None = None
    outputs: Ports | None = None
    metadata: SkipValidation[Mode | None] = None
    timeout: Seconds | None = None
    retry_policy: Retry | None = None


class Connection(Part):
    """A way from node to node.

    sourceNodeId: The node whose output flows.
    targetNodeId: The node whose input it becomes.
    sourcePort: The output port, by name or number; 0 of a single one is the whole output.
    targetPort: The input port, by name or number.
    """

    source_node_id: Name
    target_node_id: Name
    source_port: Port = 0
    target_port: Port = 0


class Graph(Document):
    """A pipeline of nodes; connections are checked one by one too.

    nodes: 1 to 100 nodes.
    connections: What flows from node to node.
    """

    nodes: Annotated[list[SkipValidation[Node]], Field(min_length=1, max_length=MAX_STAGES)]
    connections: Annotated[list[SkipValidation[Connection]], Field(max_length=MAX_CONNECTIONS)] | None = None
