"""A document with nodes in, a `Plan` out, or one `InvalidError` that lists everything that is wrong with it.

Loops become hidden stages called `<id>-loop`, with the loop node in their body; what a conditional decides by
a condition of its own is the hidden stage `<id>-if`, what a parallel node hands to its branches `<id>-in`.
"""

from collections.abc import Iterator
from dataclasses import replace

from loom_core.notations import graph as definition
from loom_core.notations.checks import Checks, closed_fields
from loom_core.notations.graph_ports import Ports
from loom_core.notations.graph_read import Reader
from loom_core.notations.graph_regions import Region, Regions
from loom_core.notations.graph_work import Works
from loom_core.notations.order import ordered
from loom_core.pipelines.plan import Block, Call, Gate, Parallel, Plan, Stage
from loom_core.wire.json import JsonObject


def compile_graph(document: JsonObject) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    return _Compiler(document).plan()


class _Compiler:
    def __init__(self, document: JsonObject) -> None:
        self.document = document
        self.checks = Checks()
        self.written = self.checks.shape(definition.Graph, document, "$")
        self.graph = Reader(self.checks, document)
        self.members = self.graph.members
        self.regions = Regions(self.checks, self.graph)
        self.ports = Ports(self.checks, self.graph, self.regions)
        self.inside = {
            link.source
            for link in self.graph.links
            if isinstance(self.members[link.source].mode, definition.Parallel)
            and self.regions.within(link.target, link.source)
        }
        """The parallel nodes that hand their input to their branches."""
        self.linked: dict[tuple[int, str], dict[str, None]] = {}
        self.opened: dict[tuple[int, str], list[Gate]] = {}
        self.decisive: set[str] = set()
        """The stages whose branches open anything."""

    def plan(self) -> Plan:
        items = [m.mode.item for m in self.members.values() if isinstance(m.mode, definition.Loop)]
        self.checks.fields = closed_fields(self.document.get("input"), ["loop", *items])
        self._link()
        works = Works(self.checks, self.graph, self.regions, self.ports)
        output = works.output(self.document)
        self._refuse_lonely(works)
        self._refuse_taken()
        written = self.checks.passed(self.written)
        block = self._block(self.regions.root, works)
        return written.plan(self.document, block, output, warnings=self.checks.warnings, notation="graph")

    def _link(self) -> None:
        """Note which unit leads to which in each region; connections and paths that cannot be are refused."""
        chains = self.regions.chains
        for link in self.graph.links:
            region, source, target = self.regions.meet(chains[link.source], chains[link.target])
            if source != target:
                if link.edge not in self.regions.back:
                    self.linked.setdefault((id(region), target), {})[source] = None
            elif link.source != source and link.target == source:
                message = f"{link.source!r} is in a branch of {source!r}; its output is part of that node's"
                self.checks.refuse(link.path, message)
            elif link.source != source:
                self.checks.refuse(link.path, f"the branches of {source!r} know nothing of each other")
        for way in self.graph.ways:
            region, source, target = self.regions.meet(chains[way.source], chains[way.target])
            mode = self.members[target].mode
            begin = mode.loop_back_to if isinstance(mode, definition.Loop) else None
            if (way.source, way.target) in self.regions.back or way.source == way.target:
                self.checks.refuse(way.path, "a path cannot lead back; that is for a loop node to decide")
            elif chains[way.source][-1][0] is not region:
                self.checks.refuse(way.path, f"leads out of {source!r}, in which {way.source!r} is")
            elif way.target not in (target, begin):
                self.checks.refuse(way.path, f"leads into {target!r}, but not to where that begins")
            else:
                gate = Gate(self._decider(way.source), way.branch)
                self.opened.setdefault((id(region), target), []).append(gate)
                self.decisive.add(gate.stage)

    def _decider(self, name: str) -> str:
        mode = self.members[name].mode
        own = isinstance(mode, definition.Conditional) and mode.condition is None and not mode.condition_func
        return name if own else f"{name}-if"

    def _refuse_lonely(self, works: Works) -> None:
        known = {name for edge in self.graph.edges for name in edge} | self.regions.holders.keys()
        known |= {holder for holder, _ in self.regions.holders.values()} | works.referred
        faults = [problem.path for problem in self.checks.problems]
        for name, member in self.members.items() if len(self.members) > 1 else ():
            if name not in known and not any(path.startswith(f"{member.path}.") for path in faults):
                self.checks.refuse(member.path, f"{name!r} is connected to no other node")

    def _refuse_taken(self) -> None:
        """Refuse ids that hidden stages have."""
        deciders = {self._decider(way.source): way.source for way in self.graph.ways}
        hidden = {
            **{f"{name}-loop": name for name in self.members if self.regions.within(name, name)},
            **{f"{name}-in": name for name in self.inside},
            **{decider: name for decider, name in deciders.items() if decider != name},
        }
        for taken in hidden.keys() & self.members.keys():
            message = f"{taken!r} is what a part of {hidden[taken]!r} is called"
            self.checks.refuse(f"{self.members[taken].path}.nodeId", message)

    def _block(self, region: Region, works: Works) -> Block:
        place = {name: index for index, name in enumerate(self.members)}
        order = ordered(region.edges, place)
        decides = region.loop is not None and works.decides(region.loop)
        gated: set[str] = set()
        stages: list[Stage] = []
        for unit in order:
            gates = self._gates(region, unit, gated, decides=decides)
            gated.update({unit} if gates else ())
            before = [name for name in order if unit in region.edges[name]]
            after = {self._stage(region, name) for name in before} | {gate.stage for gate in gates}
            stages.extend(self._unit(region, unit, works, frozenset(after), gates))
        return tuple(stages)

    def _stage(self, region: Region, unit: str) -> str:
        is_loop = region.inner.get(unit) and not isinstance(self.members[unit].mode, definition.Parallel)
        return f"{unit}-loop" if is_loop else unit

    def _gates(self, region: Region, unit: str, gated: set[str], *, decides: bool) -> tuple[Gate, ...]:
        """A path decides alone; else one of the nodes that lead here must have run, if any may be skipped."""
        opened = self.opened.get((id(region), unit))
        if opened:
            return tuple(opened)
        sources = list(self.linked.get((id(region), unit), ()))
        loop = region.loop if decides and unit != region.loop else None
        gates = [Gate(self._stage(region, name)) for name in sources if name != loop]
        if loop is not None and (loop in sources or not sources):
            gates.append(Gate(loop, "true"))
        is_open = any(name != loop and name not in gated for name in sources)
        return () if is_open else tuple(gates)

    def _unit(
        self, region: Region, unit: str, works: Works, after: frozenset[str], gates: tuple[Gate, ...]
    ) -> Iterator[Stage]:
        """The stage of a unit, and those that go with it."""
        member, inner = self.members[unit], region.inner.get(unit, [])
        bare = Stage(name=unit, path=member.path, work=works.own[unit], after=after, gates=gates)
        stage = replace(bare, timeout=member.written.timeout, on_error=member.written.on_error)
        if isinstance(bare.work, Call):
            stage = replace(stage, retry=member.written.retry_policy and member.written.retry_policy.policy)
        match member.mode:
            case definition.Parallel():
                if unit in self.inside:
                    yield replace(bare, name=f"{unit}-in", hidden=True)
                    stage = replace(stage, after=after | {f"{unit}-in"})
                yield replace(
                    stage, work=Parallel(branches=tuple(self._block(branch, works) for branch in inner))
                )
            case definition.Loop() | definition.Event() if inner:
                rounds = replace(works.loops[unit], body=self._block(inner[0], works))
                yield replace(stage, name=f"{unit}-loop", work=rounds, retry=None, hidden=True)
            case definition.Loop() | definition.Event() if region.loop == unit:
                branching = works.decides(unit) and len(region.edges) > 1
                yield replace(stage, timeout=None, on_error="fail", branching=branching)
            case definition.Conditional() if (decider := self._decider(unit)) in self.decisive:
                yield replace(stage, branching=decider == unit)
                if decider != unit:
                    yield Stage(
                        name=decider,
                        path=member.path,
                        work=works.decisions[unit],
                        after=frozenset({unit}),
                        gates=(Gate(unit),) if gates else (),
                        branching=True,
                        hidden=True,
                    )
            case _:
                yield stage
