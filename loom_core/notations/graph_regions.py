"""Which nodes of a graph run in which block: loops and parallel branches are found and told apart here.

A region is what runs in one block. Its units are nodes, loops (a node that closes a circle, lists its `body`,
or begins what is reached from it) and parallel nodes; loops and parallel nodes hold regions of their own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from loom_core.notations import graph as definition
from loom_core.notations.checks import Checks
from loom_core.notations.document import MAX_NESTING
from loom_core.notations.graph_read import Edge, Reader
from loom_core.notations.order import Edges, circle, circles, reachable


@dataclass(slots=True, eq=False)
class Region:
    """`loop` is the node whose rounds these are, in `units` the nodes that stand for what runs here.

    `edges` lead from unit to unit, without those that go back; `inner` has the regions of loops and branches.
    """

    loop: str | None
    edges: dict[str, dict[str, None]]
    inner: dict[str, list["Region"]] = field(default_factory=dict[str, list["Region"]])


type Chain = tuple[tuple[Region, str], ...]
"""From the outside inwards: each region that a node is in, and the unit that it belongs to there."""


class Regions:
    """The regions of a graph.

    Afterwards `root` is the outermost region, `back` has the edges that go back with the node that closes
    their loop, `chains` the place of every node.
    """

    def __init__(self, checks: Checks, graph: Reader) -> None:
        self.checks, self.members, self.holders = checks, graph.members, graph.holders
        self.edges = list(dict.fromkeys(graph.edges))
        self.back: dict[Edge, str] = {}
        self.chains: dict[str, Chain] = {}
        self.dead: set[str] = set()
        outermost = [name for name in self.members if name not in self.holders]
        self.root = self._region(outermost, frozenset(), None, ())
        for name, member in self.members.items():
            self.chains.setdefault(name, ((self.root, name),))
            target = member.mode.loop_back_to if isinstance(member.mode, definition.Loop) else None
            if target in self.members and name not in self.dead and name not in self.back.values():
                path = f"{member.path}.metadata.loop_back_to"
                checks.refuse(path, f"{target!r} does not lead to {name!r}")

    def within(self, name: str, unit: str) -> bool:
        """Whether a node is in the rounds or branches of a unit; a loop node is in its own rounds."""
        return any(outer == unit for _, outer in self.chains[name][:-1])

    def loop(self, name: str) -> str | None:
        """The innermost loop that a node is in."""
        loops = [region.loop for region, _ in self.chains[name] if region.loop is not None]
        return loops[-1] if loops else None

    def meet(self, source: Chain, target: Chain) -> tuple[Region, str, str]:
        """The innermost region that two nodes share, and their units there."""
        shared = [(a, one, other) for (a, one), (b, other) in zip(source, target, strict=False) if a is b]
        return shared[-1]

    def _region(self, names: Sequence[str], done: frozenset[str], loop: str | None, outside: Chain) -> Region:
        """The region of these nodes and what they hold; `done` are the loop nodes that have their loop."""
        direct = self._between(names)
        units, bodies = self._close(direct, done)
        self._open(direct, units, bodies, done, loop)
        region = Region(loop, _contracted(direct, units))
        self._refuse_unreached(region)
        for name in names:
            self.chains[name] = (*outside, (region, units[name]))
        if len(outside) > MAX_NESTING:
            message = f"loops and branches stand more than {MAX_NESTING} deep in each other"
            self.checks.refuse(self.members[names[0]].path, message)
            return region
        for unit in region.edges:
            region.inner[unit] = self._inner(unit, bodies.get(unit), done, (*outside, (region, unit)))
        return region

    def _inner(self, unit: str, body: list[str] | None, done: frozenset[str], chain: Chain) -> list[Region]:
        """The regions that a unit holds: the rounds of a loop, the branches of a parallel node."""
        held: dict[int, list[str]] = {}
        for name, (holder, number) in self.holders.items():
            if holder == unit:
                held.setdefault(number, []).append(name)
        mode = self.members[unit].mode
        if body is None and isinstance(mode, definition.Loop) and mode.body is not None and unit not in done:
            body = [unit, *held.get(0, [])]
        if body is not None:
            self._go_back(unit, body)
            return [self._region(body, done | {unit}, unit, chain)]
        if isinstance(mode, definition.Parallel):
            return [self._region(held[number], done, None, chain) for number in sorted(held)]
        return []

    def _between(self, names: Collection[str]) -> dict[str, dict[str, list[Edge]]]:
        """The edges among nodes and what they hold, by the nodes that these lead from and to."""
        found: dict[str, dict[str, list[Edge]]] = {name: {} for name in names}
        for edge in self.edges:
            source, target = (self._climb(name, found) for name in edge)
            if source is None or target is None or edge in self.back:
                continue
            if source != target or edge == (source, target):
                found[source].setdefault(target, []).append(edge)
        return found

    def _climb(self, name: str, here: Collection[str]) -> str | None:
        while name not in here:
            if name not in self.holders:
                return None
            name = self.holders[name][0]
        return name

    def _close(self, direct: Edges, done: frozenset[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The unit of each node and the nodes of each loop, as far as circles tell."""
        units = {name: name for name in direct}
        bodies: dict[str, list[str]] = {}
        for component in circles(direct):
            closer = self._closer(component, direct, done)
            if closer is not None:
                bodies[closer] = component
                units.update(dict.fromkeys(component, closer))
        return units, bodies

    def _closer(self, component: list[str], direct: Edges, done: frozenset[str]) -> str | None:
        """The outermost loop node of a circle: without its own ways back, most other loops are left.

        Of several, it is the one that is come to from outside the circle.
        """
        inside = {name: [other for other in direct[name] if other in component] for name in component}
        left: dict[str, int] = {}
        for name in component:
            if self._could_close(name, done):
                back = self._ways_back(name, inside)
                rest = {s: [t for t in targets if (s, t) not in back] for s, targets in inside.items()}
                others = {other for found in circles(rest) for other in found}
                if name not in others:
                    left[name] = sum(self._could_close(other, done) for other in others)
        best = [name for name, count in left.items() if count == max(left.values())]
        if len(best) > 1:
            before = [targets for source, targets in direct.items() if source not in component]
            best = [name for name in best if any(name in targets for targets in before)] or best
        if len(best) == 1:
            return best[0]
        if self.dead.isdisjoint(component):
            way = " -> ".join(circle(direct, component))
            message = (
                f"{best[0]!r} and {best[1]!r} could both be the outer loop here; give one of them a `body`"
                if best
                else f"no loop node closes the circle {way}"
            )
            self.checks.refuse(self.members[component[0]].path, message)
            self.dead.update(component)
        return None

    def _could_close(self, name: str, done: frozenset[str]) -> bool:
        mode = self.members[name].mode
        return isinstance(mode, definition.Loop) and mode.body is None and name not in done

    def _ways_back(self, loop: str, inside: Edges) -> set[Edge]:
        """The edges that go back in the loop of this node; `inside` are those among its nodes."""
        mode = self.members[loop].mode
        target = mode.loop_back_to if isinstance(mode, definition.Loop) else None
        if target is None:
            return {(source, loop) for source, targets in inside.items() if loop in targets}
        begin = self._climb(target, inside) if target in self.members else None
        if begin is None:
            return set()
        round_ = reachable({**inside, loop: ()}, [begin])
        return {(loop, other) for other in inside[loop] if other in round_}

    def _go_back(self, loop: str, body: Sequence[str]) -> None:
        inside = self._between(body)
        for source, target in self._ways_back(loop, inside):
            self.back.update(dict.fromkeys(inside[source][target], loop))

    def _open(
        self,
        direct: Edges,
        units: dict[str, str],
        bodies: dict[str, list[str]],
        done: frozenset[str],
        loop: str | None,
    ) -> None:
        """Take what is reached from a loop or event node that is on no circle as its rounds."""
        edges = _contracted(direct, units)
        reach = {
            name: reachable(edges, [name])
            for name in edges
            if name not in bodies and name not in done and self.members[name].opens
        }
        for number, (name, found) in enumerate(reach.items()):
            if loop in found:
                is_event = isinstance(self.members[name].mode, definition.Event)
                instead = "`max_iterations: 1`" if is_event else "a `body`"
                message = f"its rounds would have {loop!r} in them, whose loop it is in; give it {instead}"
                self.checks.refuse(self.members[name].path, message)
            for other, others in list(reach.items())[:number]:
                both = found & others
                events = all(isinstance(self.members[n].mode, definition.Event) for n in (name, other))
                if both and (events or not (name in others or other in found)):
                    first = next(unit for unit in edges if unit in both)
                    shared = f"{other!r} and {name!r} both lead to {first!r}"
                    self.checks.refuse(self.members[name].path, f"{shared}, which can be in one loop only")
        outer = [name for name in reach if not any(name in reach[o] for o in reach if o != name)]
        for name in outer:
            bodies[name] = [member for member in direct if units[member] in reach[name]]
        for name in outer:
            units.update(dict.fromkeys(bodies[name], name))
        for name in list(bodies):
            if units[name] != name:
                del bodies[name]

    def _refuse_unreached(self, region: Region) -> None:
        led_to = {target for targets in region.edges.values() for target in targets}
        starts = [unit for unit in region.edges if unit not in led_to]
        for unit in region.edges.keys() - reachable(region.edges, starts) - self.dead:
            self.checks.refuse(
                self.members[unit].path, "can only be reached through a circle that never begins"
            )


def _contracted(direct: Edges, units: Mapping[str, str]) -> dict[str, dict[str, None]]:
    """The edges between units, of those between nodes."""
    edges: dict[str, dict[str, None]] = {units[name]: {} for name in direct}
    for source, targets in direct.items():
        for target in targets:
            if units[source] != units[target]:
                edges[units[source]][units[target]] = None
    return edges
