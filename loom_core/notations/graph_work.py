"""What the nodes of a graph do, and in which order what they refer to makes them run."""

from dataclasses import replace

from loom_core.errors import InvalidError
from loom_core.expressions.parse import Expression, parse, parse_value
from loom_core.notations import graph as definition
from loom_core.notations.checks import RESERVED, Checks, at
from loom_core.notations.graph_ports import Ports
from loom_core.notations.graph_read import CALLS, Member, Reader
from loom_core.notations.graph_regions import Chain, Region, Regions
from loom_core.notations.order import reachable
from loom_core.notations.routes import read_call, read_route
from loom_core.pipelines.plan import Call, Loop, Value, Wait, Work
from loom_core.wire.json import Json, JsonObject, dump


class Works:
    """By node: `own` is its own work, `decisions` decides for a conditional, `loops` has its rounds.

    The loops have no body yet. `referred` are the nodes in or to which an expression refers. What expressions
    refer to is added to the edges of the regions.
    """

    def __init__(self, checks: Checks, graph: Reader, regions: Regions, ports: Ports) -> None:
        self.checks, self.members, self.regions, self.ports = checks, graph.members, regions, ports
        self.own: dict[str, Work] = {}
        self.decisions: dict[str, Work] = {}
        self.loops: dict[str, Loop] = {}
        self.referred: set[str] = set()
        self.wrappers = {f"{name}-loop": name for name in self.members if regions.within(name, name)}
        checks.stages = {*self.members, *self.wrappers}
        for member in self.members.values():
            match member.mode:
                case definition.Event() as mode:
                    self._event(member, mode)
                case definition.Loop() as mode:
                    self._loop(member, mode)
                case definition.Conditional() as mode:
                    self._conditional(member, mode)
                case _:
                    self._own(member, self.ports.taken(member.id))

    def output(self, document: JsonObject) -> Expression | None:
        """The run's output, which may refer to every node."""
        names: set[str] = set()
        expression = self.checks.read(document, "$", "output", names)
        self.referred |= {self.wrappers.get(name, name) for name in names}
        return expression

    def decides(self, name: str) -> bool:
        """Whether the result of a loop node, which begins each round, decides whether there is a round."""
        mode = self.members[name].mode
        if not isinstance(mode, definition.Loop) or mode.loop_type != "while":
            return False
        return mode.condition is None and mode.loop_back_to is None

    def _own(self, member: Member, taken: Json) -> None:
        """What the node calls, or the value that it passes on."""
        waits: set[str] = set()
        call = read_call(self.checks, member.draft, member.path, waits, keys=CALLS)
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
        metadata = at(member.draft, "metadata")
        condition = self.checks.read(metadata, path, "condition", waits, bare=True)
        if condition is not None:
            self.decisions[member.id] = Value(value=condition)
        if mode.condition_func is not None:
            route = read_route(self.checks, metadata, path, waits, key="condition_func", kind="activity")
            if route is not None:
                self.decisions[member.id] = Call(route=route, input=parse(f"$.stages['{member.id}']"))
        self._refer(member, waits - {member.id}, f"{path}.condition")

    def _loop(self, member: Member, mode: definition.Loop) -> None:
        path, metadata = f"{member.path}.metadata", at(member.draft, "metadata")
        if mode.item in RESERVED:
            self.checks.refuse(f"{path}.as", f"{mode.item!r} is taken; choose another name")
        if not self.regions.within(member.id, member.id):
            self._own(member, self.ports.taken(member.id))
            return
        outside, inside = set[str](), set[str]()
        items = self.checks.read(metadata, path, "items", outside, bare=True)
        count = self.checks.read(metadata, path, "count", outside, bare=True)
        condition = self.checks.read(metadata, path, "condition", inside, bare=True)
        again, heads, each = None, mode.loop_back_to is None, mode.loop_type == "for"
        if mode.loop_type == "while" and not (heads and condition is not None):
            again, condition = condition or parse(f"$.stages['{member.id}']"), None
        if count is not None:
            condition = self.checks.parse(mode.count, f"{path}.count", "$.loop.index < ({})")
        taken = self.ports.taken(member.id) if not (each and heads) else at(member.draft, "input")
        if each and heads and taken is None:
            taken = "$.loop.index" if mode.count is not None else f"$.{mode.item}"
        self._own(member, taken)
        if each and mode.items is None and mode.count is None:
            items = self._brought(member, f"{path}.items", heads=heads)
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

    def _brought(self, member: Member, path: str, *, heads: bool) -> Expression | None:
        """The items that a connection brings to a loop, if it begins each round."""
        into = [link for links in self.ports.into[member.id].values() for link in links]
        ahead = [link for link in into if link.edge not in self.regions.back]
        if heads and len(ahead) == 1:
            return parse(self.ports.source(ahead[0]))
        other = ", or one connection that brings the items" if heads else ""
        self.checks.refuse(path, f"is required, or a count{other}")
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
