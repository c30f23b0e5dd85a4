"""Whatever a plan is made of, it means the same however often it continues as new."""

from collections import Counter
from functools import partial

from hypothesis import given, note, settings
from hypothesis import strategies as st

from loom_core.expressions.parse import parse_value
from loom_core.pipelines import session
from loom_core.pipelines.lanes import lane_program
from loom_core.pipelines.plan import (
    Call,
    Compensation,
    Gate,
    Loop,
    Parallel,
    Plan,
    Route,
    Scatter,
    Stage,
    Target,
    Value,
    Wait,
    blocks,
)
from loom_core.pipelines.run import pipeline_program
from loom_core.resilience.retry import RetryPolicy
from loom_core.testing import Bench

WORK = Target("activity", "work")
UNDO = Compensation(
    route=Route(default=Target("activity", "undo")), input=parse_value("$.run.uuid"), retry=None
)


class Plans:
    """Draws plans whose outcome does not depend on what is quicker."""

    def __init__(self, random, *, fails=True, undoes=True):
        self.random, self.fails, self.undoes = random, fails, undoes
        self.made = 0
        self.library = {}

    def chance(self, part=0.5):
        return self.random.random() < part

    def name(self):
        self.made += 1
        return f"s{self.made}"

    def plan(self, depth=2):
        return Plan(
            name="plan", version="1", description="", input_schema=None, stages=self.block(depth),
            output=None, warnings=(),
        )  # fmt: skip

    def told(self, main):
        named = {"main": main, **self.library}
        return "\n".join(line for name, plan in named.items() for line in (name, *outline(plan.stages)))

    def block(self, depth, *, may_fail=False):
        made = []
        is_row = self.chance()
        for _ in range(self.random.randint(1, 4)):
            names = [stage.name for stage in made]
            after = names[-1:] if is_row else [name for name in names if self.chance(0.4)]
            stage = self.stage(depth, after, made)
            made.append(stage)
        if may_fail and is_row and self.fails and self.chance():
            made.insert(self.random.randint(0, len(made)), self.call("always"))
            made = [
                Stage(**{**fields(one), "after": frozenset({before.name} if before else ())})
                for before, one in zip([None, *made], made, strict=False)
            ]
        return tuple(made)

    def stage(self, depth, after, made):
        more = {"after": frozenset(after)}
        ways = [stage for stage in made if stage.branching]
        if ways and self.chance():
            way = self.random.choice(ways)
            more["gates"] = (Gate(way.name, self.random.choice(["true", "false", None])),)
            more["after"] |= {way.name}
        if self.undoes and self.chance(0.3):
            more["compensation"] = UNDO
        kinds = [self.value, self.simple, self.simple, self.wait, self.late, self.event, self.scatter]
        if depth:
            kinds += [self.loop, self.loop, self.parallel, self.inner]
        return self.random.choice(kinds)(depth, **more)

    def make(self, work, name=None, **more):
        name = name or self.name()
        return Stage(name=name, path=f"$.{name}", work=work, **more)

    def value(self, _depth, **more):
        return self.make(
            Value(value=parse_value(self.random.choice([0, 1]))), branching=self.chance(0.7), **more
        )

    def call(self, kind, **more):
        name = self.name()
        taken = parse_value({"key": name, "kind": kind, "rounds": "$.loop.index", "uuid": "$.run.id"})
        return self.make(Call(route=Route(default=WORK), input=taken), name, **more)

    def simple(self, _depth, **more):
        kind = self.random.choice(["good", "once", "always"] if self.fails else ["good"])
        if kind == "once":
            more["retry"] = RetryPolicy(max_attempts=2, backoff_ms=(10,))
        if kind == "always":
            more["on_error"] = self.random.choice(["skip", "collect"])
        return self.call(kind, **more)

    def wait(self, _depth, **more):
        return self.make(Wait(seconds=parse_value(self.random.choice([0, 1, 5]))), **more)

    def late(self, _depth, **more):
        how = self.random.choice(["skip", "branch"])
        return self.make(Wait(event=parse_value("never")), timeout=2.0, on_timeout=how, **more)

    def event(self, _depth, **more):
        return self.make(Wait(event=parse_value("again")), **more)

    def scatter(self, _depth, **more):
        name = self.name()
        taken = parse_value({"key": name, "kind": "good", "rounds": "$.item", "uuid": "$.loop.index"})
        call = Call(route=Route(default=WORK), input=taken)
        items = parse_value(list(range(self.random.choice([0, 1, 3, 8]))))
        work = Scatter(call=call, items=items, item="item", condition=None, concurrency=3, batch_size=1)
        return self.make(work, name, **more)

    def container(self, more):
        if self.fails and self.chance():
            more["on_error"] = self.random.choice(["skip", "collect"])
            return True
        return False

    def loop(self, depth, **more):
        body = self.block(depth - 1, may_fail=self.container(more))
        rounds = self.random.randint(0, 3)
        match self.random.randint(0, 2):
            case 0:
                how = {"items": parse_value(list(range(rounds)))}
            case 1:
                how = {"condition": parse_value(f"{{{{ $.loop.index < {rounds} }}}}")}
            case _:
                how = {"again": parse_value(f"{{{{ $.loop.index < {rounds} }}}}")}
        return self.make(Loop(body=body, collect=self.chance(), **how), **more)

    def parallel(self, depth, **more):
        may_fail = self.container(more)
        branches = [self.block(depth - 1, may_fail=may_fail) for _ in range(self.random.randint(1, 3))]
        return self.make(Parallel(branches=tuple(branches)), **more)

    def inner(self, depth, **more):
        may_fail, name = self.container(more), f"p{len(self.library)}"
        self.library[name] = None
        stages = self.block(depth - 1, may_fail=may_fail)
        self.library[name] = Plan(
            name=name, version="1", description="", input_schema=None, stages=stages, output=None, warnings=()
        )
        return self.make(Call(route=Route(default=Target("pipeline", name))), **more)


def outline(block, indent=1):
    """A block as text, for whoever has to find out why it fails."""
    lines = []
    for stage in block:
        more = {
            name: value
            for name, value in fields(stage).items()
            if value and name not in {"name", "path", "work", "retry", "compensation"}
        }
        work = stage.work
        kind = type(work).__name__
        if isinstance(work, Call):
            kind += f" {work.route.default.name}"
        if isinstance(work, Wait):
            kind += " event" if work.event else " seconds"
        lines.append(f"{'  ' * indent}{stage.name}: {kind} {more} {bool(stage.compensation)}")
        for inner in blocks(work):
            lines += ["  " * indent + "  -", *outline(inner, indent + 2)]
    return lines


def fields(stage):
    return {name: getattr(stage, name) for name in Stage.__slots__}


class World:
    """Runs a plan; every call is known by its key."""

    def __init__(self, plans, main, *, seed=0, events=()):
        self.plans = plans.library | {"main": main}
        self.tried = Counter()
        program = partial(pipeline_program, self.plans.__getitem__)
        self.bench = Bench(
            {"work": self.work, "undo": lambda taken: taken},
            programs={"pipeline": program, "lane": lane_program},
            duration=lambda _name, taken: len(str(taken)) * seed % 7,
            events=[*((0, "again", "event") for _ in range(400)), *events],
            seed=seed,
        )
        self.keys = Counter()
        perform = self.bench.perform

        def listen(command, done):
            if key := getattr(command, "key", ""):
                self.keys[type(command).__name__, key] += 1
            return perform(command, done)

        self.bench.perform = listen
        self.program = program

    def work(self, taken):
        self.tried[str(taken)] += 1
        if taken["kind"] == "always" or (taken["kind"] == "once" and self.tried[str(taken)] % 2):
            raise ValueError("no")
        return taken["rounds"]

    def payload(self):
        return {
            "run": "run-1",
            "definition": "main",
            "input": {},
            "library": {name: name for name in self.plans},
        }

    def run(self, **more):
        return self.bench.run(self.program, {**self.payload(), **more})

    @property
    def calls(self):
        return Counter(f"{name} {taken}" for name, taken in self.bench.calls)

    @property
    def counts(self):
        shown = self.bench.published[-1]["stages"] if self.bench.published else {}
        told = ("status", "done", "total", "failed", "skipped")
        return {name: [stage[key] for key in told] for name, stage in shown.items()}


@settings(max_examples=60, deadline=None)
@given(random=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_a_run_is_the_same_however_often_it_continues_as_new(random, seed):
    plans = Plans(random)
    main = plans.plan()
    note(plans.told(main))
    seen = []
    for limit in (10**9, 50, 5, 2, 1):
        world = World(plans, main, seed=seed)
        was, session.LIMIT = session.LIMIT, limit
        try:
            output = world.run()
        finally:
            session.LIMIT = was
        lives = [execution for execution in world.bench.executions if execution.is_run]
        seen.append((output, world.calls, world.counts))
        assert len(lives) < 1_000
        assert seen[-1] == seen[0]
