"""The nodes and ways of a graph as far as they are well written; what is not is refused where it stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loom_core.notations import graph as definition
from loom_core.notations.checks import Checks, at, list_at, text_at
from loom_core.notations.graph_members import Member
from loom_core.notations.graph_ports import Link
from loom_core.notations.graph_regions import Edge
from loom_core.notations.routes import KINDS
from loom_core.wire.json import Json, JsonObject

TARGETS = ("function", *KINDS)


@dataclass(frozen=True, slots=True)
class Way:
    """What a conditional node opens with a branch; `path` is where that is written."""

    source: str
    branch: str
    target: str
    path: str


class Reader:
    """`members` are the nodes by id, in their order; `links`, `ways` and `edges` lead only to those."""

    def __init__(self, checks: Checks, document: JsonObject) -> None:
        self.checks = checks
        self.members: dict[str, Member] = {}
        drafts = list_at(document, "nodes")
        for index, draft in enumerate(drafts):
            self._node(draft, f"$.nodes[{index}]")
        paths = [f"$.nodes[{index}]" for index in range(len(drafts))]
        checks.refuse_doubles([text_at(draft, "nodeId") for draft in drafts], paths, "nodeId")
        self.links = list(self._links(list_at(document, "connections")))
        self.ways = list(self._ways())
        self.edges = [
            *(link.edge for link in self.links),
            *((way.source, way.target) for way in self.ways),
            *self._implied(),
        ]

    def _node(self, draft: Json, path: str) -> None:
        written = self.checks.shape(definition.Node, draft, path)
        member = Member(
            id=text_at(draft, "nodeId"),
            path=path,
            mode=self._mode(draft, f"{path}.metadata"),
            draft=draft,
            written=written or definition.Node.model_validate({"nodeId": "x"}),
        )
        self._check(member, [key for key in TARGETS if at(draft, key) is not None])
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

    def _check(self, member: Member, calls: list[str]) -> None:
        """Refuse what a mode lacks and what it has no use for."""
        path = member.path
        place = f"{path}.metadata"
        for key in calls[1:]:
            self.checks.refuse(f"{path}.{key}", f"the node calls something already, by its {calls[0]}")
        match member.mode:
            case definition.Conditional() as mode:
                self._choose(place, mode, ("condition", "condition_func"), required=not calls)
            case definition.Loop() as mode:
                needed, free = _LOOPS[mode.loop_type]
                self._choose(place, mode, needed, required=mode.loop_type == "while" and not calls)
                for key in free:
                    self._forbid(place, mode, key, f"has no use in a loop of type {mode.loop_type!r}")
            case definition.Parallel():
                self._refuse_use(member, calls)
            case definition.Event() as mode:
                needed, free = _EVENTS[mode.event_type]
                if needed and getattr(mode, needed) is None:
                    self.checks.refuse(f"{place}.{needed}", f"is required for a {mode.event_type}")
                for key in free:
                    self._forbid(place, mode, key, f"has no use for a {mode.event_type}")
                self._refuse_use(member, [*calls, "input", "inputs"])
            case _:
                pass

    def _refuse_use(self, member: Member, keys: Sequence[str]) -> None:
        for key in keys:
            if at(member.draft, key) is not None:
                self.checks.refuse(f"{member.path}.{key}", "has no use here; connect a node that has it")

    def _choose(
        self, place: str, mode: definition.Metadata, keys: tuple[str, ...], *, required: bool
    ) -> None:
        given = [key for key in keys if getattr(mode, key) is not None]
        for key in given[1:]:
            self.checks.refuse(f"{place}.{key}", f"there is a {given[0]} already")
        if required and not given:
            others = "".join(f", or a {key}" for key in keys[1:])
            self.checks.refuse(f"{place}.{keys[0]}", f"is required{others}, or a function")

    def _forbid(self, place: str, mode: definition.Metadata, key: str, message: str) -> None:
        if getattr(mode, key) is not None:
            self.checks.refuse(f"{place}.{key}", message)

    def _known(self, name: str, path: str) -> bool:
        if name in self.members:
            return True
        self.checks.refuse(path, f"there is no node {name!r}")
        return False

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
                yield Link(
                    source=written.source_node_id,
                    target=written.target_node_id,
                    source_port=written.source_port,
                    target_port=written.target_port,
                    path=path,
                )

    def _ways(self) -> Iterator[Way]:
        for member in self.members.values():
            if isinstance(mode := member.mode, definition.Conditional):
                for branch, listed in (("true", mode.true_path), ("false", mode.false_path)):
                    for place, name in enumerate(listed):
                        path = f"{member.path}.metadata.{branch}_path[{place}]"
                        if self._known(name, path):
                            yield Way(member.id, branch, name, path)

    def _implied(self) -> Iterator[Edge]:
        """The ways that no connection says: back in a loop, and along the branches of a parallel node."""
        for member in self.members.values():
            match member.mode:
                case definition.Loop(loop_back_to=back, body=body):
                    if back is not None and self._known(back, f"{member.path}.metadata.loop_back_to"):
                        yield member.id, back
                    for place, name in enumerate(body or ()):
                        self._known(name, f"{member.path}.metadata.body[{place}]")
                case definition.Parallel(parallel_branches=branches):
                    for number, branch in enumerate(branches):
                        path = f"{member.path}.metadata.parallel_branches[{number}]"
                        known = [n for place, n in enumerate(branch) if self._known(n, f"{path}[{place}]")]
                        yield from pairwise(known)
                case _:
                    pass


_LOOPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "for": (("items", "count"), ("condition",)),
    "while": (("condition",), ("items", "count")),
    "infinite": ((), ("condition", "items", "count")),
}
"""Of which keys a loop has one, and which it has not, by its type."""
_EVENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "timer": ("interval", ("watch_path", "event")),
    "file_change": ("watch_path", ("interval", "event")),
    "http_request": ("", ("interval", "watch_path")),
}
"""The key that an event needs, and those that it has not, by its type."""
