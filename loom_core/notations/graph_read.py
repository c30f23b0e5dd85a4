"""The nodes and ways of a graph as far as they are well written; what is not is refused where it stands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loom_core.notations import graph as definition
from loom_core.notations.checks import Checks, at, list_at, text_at
from loom_core.notations.routes import KINDS
from loom_core.pipelines.plan import Kind
from loom_core.wire.json import Json, JsonObject

CALLS: Mapping[str, Kind] = {"function": "activity", **KINDS}
"""Under which keys a node names what does its work."""

type Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Member:
    """A node: `path` is where it stands, `draft` what is written there, `written` that in the right shape."""

    id: str
    path: str
    mode: definition.Metadata
    draft: Json
    written: definition.Node

    @property
    def opens(self) -> bool:
        """Whether its rounds are what is reached from it, if nothing else says what they are."""
        match self.mode:
            case definition.Loop(body=body, loop_back_to=back):
                return body is None and back is None
            case definition.Event(max_iterations=rounds):
                return rounds != 1
            case _:
                return False

    @property
    def lists(self) -> Sequence[tuple[str, Sequence[str]]]:
        """The lists of nodes that run within this one, each with its path."""
        match self.mode:
            case definition.Parallel(parallel_branches=branches):
                path = f"{self.path}.metadata.parallel_branches"
                return [(f"{path}[{number}]", branch) for number, branch in enumerate(branches)]
            case definition.Loop(body=list() as body):
                return [(f"{self.path}.metadata.body", body)]
            case _:
                return []


@dataclass(frozen=True, slots=True)
class Link:
    """A connection; `path` is where it stands in the document."""

    source: str
    target: str
    source_port: definition.Port
    target_port: definition.Port
    path: str

    @property
    def edge(self) -> Edge:
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class Way:
    """What a conditional node opens with a branch; `path` is where that is written."""

    source: str
    branch: str
    target: str
    path: str


class Reader:
    """`members` are the nodes by id, in their order; `links`, `ways` and `edges` lead only to those.

    `holders` has, by node, the node that lists it and in which of its lists.
    """

    def __init__(self, checks: Checks, document: JsonObject) -> None:
        self.checks = checks
        self.members: dict[str, Member] = {}
        drafts = {f"$.nodes[{index}]": draft for index, draft in enumerate(list_at(document, "nodes"))}
        for path, draft in drafts.items():
            self._node(draft, path)
        checks.refuse_doubles({path: text_at(draft, "nodeId") for path, draft in drafts.items()}, "nodeId")
        self.links = list(self._links(list_at(document, "connections")))
        self.ways = list(self._ways())
        self.edges: list[Edge] = [
            *(link.edge for link in self.links),
            *((way.source, way.target) for way in self.ways),
            *self._implied(),
        ]
        self.holders = self._holders()

    def _node(self, draft: Json, path: str) -> None:
        written = self.checks.shape(definition.Node, draft, path)
        member = Member(
            id=text_at(draft, "nodeId"),
            path=path,
            mode=self._mode(draft, f"{path}.metadata"),
            draft=draft,
            written=written or definition.Node.model_validate({"nodeId": "x"}),
        )
        self._check(member)
        if member.id:
            self.members.setdefault(member.id, member)

    def _mode(self, draft: Json, path: str) -> definition.Metadata:
        metadata = at(draft, "metadata")
        name = at(metadata, "execution_mode") or "sequential"
        if metadata is not None and not isinstance(metadata, dict):
            self.checks.refuse(path, "should be an object")
        elif not isinstance(name, str) or name not in definition.MODES:
            self.checks.refuse(f"{path}.execution_mode", f"is none of {', '.join(definition.MODES)}")
        elif metadata and (mode := self.checks.shape(definition.MODES[name], metadata, path)):
            return mode
        return definition.Sequential()

    def _check(self, member: Member) -> None:
        """Refuse what a mode lacks and what it has no use for."""
        checks, metadata, path = self.checks, at(member.draft, "metadata"), member.path
        place, useless = f"{path}.metadata", "has no use here; connect a node that has it"
        double = "the node calls something already, by its {}"
        calls = checks.one_of(member.draft, path, [*CALLS], double=double)
        needed: Sequence[str] = ()
        missing = ""
        match member.mode:
            case definition.Conditional():
                needed = ("condition", "condition_func")
                missing = "" if calls else "is required, or a condition_func, or a function"
            case definition.Loop(loop_type=kind):
                needed, free = _LOOPS[kind]
                missing = "is required, or a function" if kind == "while" and not calls else ""
                checks.forbid(metadata, place, free, f"has no use in a loop of type {kind!r}")
            case definition.Parallel():
                checks.forbid(member.draft, path, CALLS, useless)
            case definition.Event(event_type=kind):
                needed, free = _EVENTS[kind]
                missing = f"is required for a {kind}" if needed else ""
                checks.forbid(metadata, place, free, f"has no use for a {kind}")
                checks.forbid(member.draft, path, (*CALLS, "input", "inputs"), useless)
            case _:
                pass
        checks.one_of(metadata, place, needed, missing=missing, double="there is a {} already")

    def _known(self, name: str, path: str) -> bool:
        if name in self.members:
            return True
        self.checks.refuse(path, f"there is no node {name!r}")
        return False

    def _listed(self, names: Sequence[str], path: str) -> Iterator[tuple[str, str]]:
        """Those of the names that are nodes, each with its path."""
        for index, name in enumerate(names):
            if self._known(name, f"{path}[{index}]"):
                yield name, f"{path}[{index}]"

    def _links(self, drafts: Sequence[Json]) -> Iterator[Link]:
        for index, draft in enumerate(drafts):
            path = f"$.connections[{index}]"
            written = self.checks.shape(definition.Connection, draft, path)
            ends = [
                self._known(name, f"{path}.{key}")
                for key in ("sourceNodeId", "targetNodeId")
                if (name := text_at(draft, key))
            ]
            if written is not None and all(ends):
                ports = written.source_port, written.target_port
                yield Link(written.source_node_id, written.target_node_id, *ports, path)

    def _ways(self) -> Iterator[Way]:
        for member in self.members.values():
            if isinstance(mode := member.mode, definition.Conditional):
                for branch, names in (("true", mode.true_path), ("false", mode.false_path)):
                    for name, path in self._listed(names, f"{member.path}.metadata.{branch}_path"):
                        yield Way(member.id, branch, name, path)

    def _implied(self) -> Iterator[Edge]:
        """The ways that no connection says: back in a loop, and along the branches of a parallel node."""
        for member in self.members.values():
            back = member.mode.loop_back_to if isinstance(member.mode, definition.Loop) else None
            if back is not None and self._known(back, f"{member.path}.metadata.loop_back_to"):
                yield member.id, back
            for path, names in member.lists:
                known = [name for name, _ in self._listed(names, path)]
                if isinstance(member.mode, definition.Parallel):
                    yield from pairwise(known)

    def _holders(self) -> dict[str, tuple[str, int]]:
        """What is listed twice, or in itself, is refused."""
        held: dict[str, tuple[str, int]] = {}
        for member in self.members.values():
            for number, (path, names) in enumerate(member.lists):
                for place, name in enumerate(names):
                    itself = name == member.id and isinstance(member.mode, definition.Loop)
                    if itself or name not in self.members:
                        continue
                    holder = held.setdefault(name, (member.id, number))
                    if holder != (member.id, number) or name in names[:place]:
                        self.checks.refuse(f"{path}[{place}]", f"{name!r} is listed in {holder[0]!r} already")
        for name in list(held):
            way = [name]
            while (holder := held.get(way[-1])) and holder[0] not in way:
                way.append(holder[0])
            if holder:
                message = f"is listed in itself: {' in '.join([*way, holder[0]])}"
                self.checks.refuse(self.members[name].path, message)
                del held[name]
        return held


_LOOPS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "for": (("items", "count"), ("condition",)),
    "while": (("condition",), ("items", "count")),
    "infinite": ((), ("condition", "items", "count")),
}
"""Of which keys a loop has one, and which it has not, by its type."""
_EVENTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "timer": (("interval",), ("watch_path", "event")),
    "file_change": (("watch_path",), ("interval", "event")),
    "http_request": ((), ("interval", "watch_path")),
}
"""The key that an event needs, and those that it has not, by its type."""
