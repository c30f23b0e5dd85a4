"""What the nodes of a graph do, and in which order what they refer to makes them run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from loom_core.errors import InvalidError
from loom_core.expressions.parse import Expression, parse, parse_value
from loom_core.notations import graph as definition
from loom_core.notations.checks import RESERVED, Checks, at, unwrapped
from loom_core.notations.graph_members import Member
from loom_core.notations.graph_order import reachable
from loom_core.notations.graph_ports import Ports
from loom_core.notations.graph_regions import Chain, Region, Regions
from loom_core.notations.routes import KINDS, read_call, read_route
from loom_core.pipelines.plan import Call, Kind, Loop, Value, Wait, Work
from loom_core.wire.json import Json, dump

TARGETS: Final[tuple[Literal["function"] | Kind, ...]] = ("function", *KINDS)
"""The keys that name what a node calls; `function` names an activity."""


class Works:
    """By node: `own` is its own work, `decisions` decides for a conditional, `loops` has its rounds.

    The loops have no body yet. `referred` are the nodes in or to which an expression refers. What expressions
    refer to is added to the edges of the regions.
    """

    def __init__(self, checks: Checks, members: Mapping[str, Member], regions: Regions, ports: Ports) -> None:
        self.checks, self.members, self.regions, self.ports = checks, members, regions, ports
        self.own: dict[str, Work] = {}
        self.decisions: dict[str, Work] = {}
        self.loops: dict[str, Loop] = {}
        self.referred: set[str] = set()
        self.wrappers = {f"{name}-loop": name for name in members if regions.within(name, name)}
        checks.stages = {*members, *self.wrappers}
        for name, member in members.items():
            match member.mode:
                case definition.Event() as mode:
                    self._event(member, mode)
                case definition.Loop() as mode:
                    self._loop(member, mode)
                case definition.Conditional() as mode:
                    self._conditional(member, mode)
                case _:
                    self._own(member, self.ports.taken(name))

    def output(self, written: Json) -> Expression | None:
        """The run's output, which may refer to every node."""
        names: set[str] = set()
        expression = self.checks.read(written, "$.output", names)
        self.referred |= {self.wrappers.get(name, name) for name in names}
        return expression

    def decides(self, name: str) -> bool:
        """Whether the result of a loop node, which begins each round, decides whether there is a round."""
        match self.members[name].mode:
            case definition.Loop(loop_type="while", condition=None, loop_back_to=None):
                return True
            case _:
                return False

    def _own(self, member: Member, taken: Json) -> None:
        """What the node calls, or the value that it passes on."""
        key: Literal["function"] | Kind | None = next(
            (key for key in TARGETS if at(member.draft, key) is not None), None
        )
        waits: set[str] = set()
        call = None
        match key:
            case None:
                self.checks.read(at(member.draft, "input"), f"{member.path}.input", waits)
            case "function":
                call = read_call(self.checks, member.draft, member.path, waits, kind="activity", key=key)
            case _:
                call = read_call(self.checks, member.draft, member.path, waits, kind=key)
        self._refer(member, waits, f"{member.path}.input")
        given = self._expression(taken, f"{member.path}.input")
        self.own[member.id] = replace(call, input=given) if call else Value(value=given or parse("$.input"))

    def _event(self, member: Member, mode: definition.Event) -> None:
        match mode.event_type:
            case "timer":
                wait = Wait(seconds=parse_value(mode.interval))
            case "file_change":
                event = _literal(f"file_change:{mode.watch_path}")
                wait = Wait(event=event, watch=mode.watch_path)
            case "http_request":
                wait = Wait(event=_literal(mode.event or member.id))
        self.own[member.id] = wait
        limit = None if mode.max_iterations == -1 else mode.max_iterations
        self.loops[member.id] = Loop(body=(), limit=limit, strict=False)

    def _conditional(self, member: Member, mode: definition.Conditional) -> None:
        self._own(member, self.ports.taken(member.id))
        path, waits = f"{member.path}.metadata", set[str]()
        condition = self.checks.read(mode.condition, f"{path}.condition", waits, bare=True)
        if condition is not None:
            self.decisions[member.id] = Value(value=condition)
        if mode.condition_func is not None:
            metadata = at(member.draft, "metadata")
            route = read_route(self.checks, metadata, path, waits, kind="activity", key="condition_func")
            if route is not None:
                taken = parse(f"$.stages['{member.id}']")
                self.decisions[member.id] = Call(route=route, input=taken)
        self._refer(member, waits - {member.id}, f"{path}.condition")

    def _loop(self, member: Member, mode: definition.Loop) -> None:
        path = f"{member.path}.metadata"
        if mode.item in RESERVED:
            self.checks.refuse(f"{path}.as", f"{mode.item!r} is taken; choose another name")
        if not self.regions.within(member.id, member.id):
            self._own(member, self.ports.taken(member.id))
            return
        heads = mode.loop_back_to is None
        outside, inside = set[str](), set[str]()
        items = self.checks.read(mode.items, f"{path}.items", outside, bare=True)
        count = self.checks.read(mode.count, f"{path}.count", outside, bare=True)
        condition = self.checks.read(mode.condition, f"{path}.condition", inside, bare=True)
        again = None
        if mode.loop_type == "while" and not (heads and mode.condition is not None):
            again = parse(f"$.stages['{member.id}']") if mode.condition is None else condition
            condition = None
        if count is not None:
            text = unwrapped(mode.count) if isinstance(mode.count, str) else mode.count
            condition = self._expression(f"$.loop.index < ({text})", f"{path}.count")
        if mode.loop_type == "for" and heads:
            given = at(member.draft, "input")
            place = "$.loop.index" if mode.count is not None else f"$.{mode.item}"
            self._own(member, place if given is None else given)
            if mode.items is None and mode.count is None:
                items = self._brought(member, path)
        else:
            self._own(member, self.ports.taken(member.id))
            if mode.loop_type == "for" and mode.items is None and mode.count is None:
                self.checks.refuse(f"{path}.items", "is required, or a count")
        self._refer(member, outside, f"{path}.items", outside=True)
        self._refer(member, inside, f"{path}.condition", decides=True)
        self.loops[member.id] = Loop(
            body=(),
            items=items,
            item=mode.item,
            condition=condition,
            again=again,
            limit=None if mode.max_iterations == -1 else mode.max_iterations,
            collect=mode.loop_type == "for",
        )

    def _brought(self, member: Member, path: str) -> Expression | None:
        """The items of a loop that a connection brings."""
        ahead = [
            link
            for links in self.ports.into[member.id].values()
            for link in links
            if link.edge not in self.regions.back
        ]
        if len(ahead) == 1:
            return parse(self.ports.source(ahead[0]))
        self.checks.refuse(
            f"{path}.items", "is required, or a count, or one connection that brings the items"
        )
        return None

    def _expression(self, document: Json, path: str) -> Expression | None:
        """Parse what was read before; together it can be nested too deep, or too long."""
        if document is None:
            return None
        try:
            return parse_value(document)
        except InvalidError as error:
            if not any(problem.path.startswith(path) for problem in self.checks.problems):
                self.checks.refuse(path, error.problems[0].message)
            return None

    def _refer(
        self, member: Member, names: set[str], path: str, *, outside: bool = False, decides: bool = False
    ) -> None:
        """Let the node wait for those that its expressions refer to, unless they speak of the round before.

        With `outside`, they are evaluated before the node's rounds; with `decides`, before or after each.
        """
        chains = self.regions.chains
        here = chains[member.id][:-1] if outside else chains[member.id]
        for name in sorted(names):
            loop = self.wrappers.get(name)
            self.referred |= {loop or name, member.id}
            there = chains[name] if loop is None else _around(chains[loop], loop)
            region, source, target = self.regions.meet(there, here)
            looped = any(place.loop is not None for place, _ in here[: _index(here, region) + 1])
            if decides and member.id in (region.loop, name):
                continue
            if source == target:
                if name != member.id or not looped:
                    self.checks.refuse(path, f"{name!r} is not done before this, or in another branch")
            elif target not in region.edges[source]:
                if source not in reachable(region.edges, [target]):
                    region.edges[source][target] = None
                elif not looped:
                    self.checks.refuse(path, f"{name!r} comes after {member.id!r}")


def _around(chain: Chain, loop: str) -> Chain:
    """The place of the loop of a node, in whose rounds the node itself is."""
    return chain[: 1 + next(index for index, (_, unit) in enumerate(chain) if unit == loop)]


def _index(chain: Chain, region: Region) -> int:
    return next(index for index, (place, _) in enumerate(chain) if place is region)


def _literal(text: str) -> Expression:
    """An expression that gives this text, whatever is in it."""
    return parse(dump(text))
