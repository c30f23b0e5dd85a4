from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.activities import Activities, activity
from loom_core.adapters.memory import MemoryBlobStore, MemoryStateStore
from loom_core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from loom_core.watches import MAX_WATCHES, Watches, check_pattern, matches, source


@dataclass
class Ended:
    id: str
    status: str = "completed"
    is_finished: bool = True


@dataclass
class FakeRuns:
    """Takes the events of every run but those that have ended or never were."""

    ended: set = field(default_factory=set)
    gone: set = field(default_factory=set)
    broken: set = field(default_factory=set)
    raised: list = field(default_factory=list)

    async def raise_event(self, run_id, name, payload):
        self._refuse(run_id)
        if run_id in self.ended:
            raise ConflictError(f"{run_id} is completed and takes no more events")
        self.raised.append((run_id, name, payload))

    async def get(self, run_id):
        self._refuse(run_id)
        return Ended(run_id, is_finished=run_id in self.ended)

    def _refuse(self, run_id):
        if run_id in self.gone:
            raise NotFoundError(f"there is no run {run_id}")
        if run_id in self.broken:
            raise UnavailableError("not now")

    @property
    def told(self):
        return sorted(run for run, _, _ in self.raised)


@dataclass
class File:
    name: str
    length: int | None = 3
    blob_properties: dict | None = None


@pytest.fixture
def state():
    return MemoryStateStore()


@pytest.fixture
def watches(state):
    return Watches(state)


async def kept(state):
    return sorted(document.body["run"] for document in await state.query("watches"))


@pytest.mark.parametrize(
    ("pattern", "path", "is_for"),
    [
        ("orders/a.json", "orders/a.json", True),
        ("orders/a.json", "orders/a_json", False),
        ("orders/a.json", "a.json", False),
        ("orders/*.json", "orders/a.json", True),
        ("orders/*.json", "orders/.json", True),
        ("orders/*.json", "orders/a.jsonl", False),
        ("orders/*.json", "orders/new/a.json", False),
        ("*.json", "a.json", True),
        ("*.json", "orders/a.json", False),
        ("*/*", "orders/a.json", True),
        ("20*/in-*-of-*.csv", "2026/in-1-of-2.csv", True),
        ("20*/in-*-of-*.csv", "2026/in-1-of.csv", False),
        ("aa*aa", "aaa", False),
        ("aa*aa", "aaaa", True),
        ("a*b*a", "aba", True),
        ("a*ba*a", "aba", False),
        ("orders/", "orders/a.json", True),
        ("orders/", "orders/", True),
        ("orders/", "orders/new/a.json", True),
        ("orders/", "orders", False),
        ("orders/", "reorders/a.json", False),
        ("*/new/", "orders/new/x/y", True),
        ("*/new/", "orders/old/x/y", False),
        ("orders/[ab]?.json", "orders/a1.json", False),
        ("Bestellungen/ä*", "Bestellungen/äöü", True),
    ],
)
async def test_a_pattern_is_a_file_a_name_with_stars_or_a_folder(watches, pattern, path, is_for):
    runs = FakeRuns()

    assert matches(pattern, path) is is_for
    await watches.watch("run-1", pattern, "e")
    await watches.changed(File(f"inbox/{path}"), runs)

    assert runs.told == (["run-1"] if is_for else [])


@given(st.lists(st.text("ab/*", min_size=1, max_size=4)), st.text("ab/", min_size=1, max_size=8))
async def test_what_a_file_finds_is_what_matches_it(patterns, path):
    watches, runs, expected = Watches(MemoryStateStore()), FakeRuns(), []
    for number, pattern in enumerate(patterns):
        try:
            check_pattern(pattern)
        except InvalidError:
            continue
        await watches.watch(f"run-{number}", pattern, "e")
        expected += [f"run-{number}"] if matches(pattern, path) else []

    await watches.changed(File(f"inbox/{path}"), runs)

    assert runs.told == sorted(expected)


async def test_the_event_tells_the_path_the_version_and_the_size(watches):
    runs = FakeRuns()
    await watches.watch("run-1", "orders/*.json", "file_change:orders/*.json")

    await watches.changed(File("inbox/orders/a.json", 12, {"ETag": '"0x1"'}), runs)
    await watches.changed(File("inbox/orders/b.json", None, {"ETag": {"of": "Azure"}}), runs)
    await watches.changed(File("inbox/orders/c.json"), runs)

    assert runs.raised == [
        ("run-1", "file_change:orders/*.json", payload)
        for payload in (
            {"path": "orders/a.json", "etag": '"0x1"', "size": 12},
            {"path": "orders/b.json", "etag": None, "size": 0},
            {"path": "orders/c.json", "etag": None, "size": 3},
        )
    ]


async def test_a_watch_is_kept_once_however_often_it_is_asked_for(watches, state):
    runs = FakeRuns()
    for _ in range(3):
        await watches.watch("run-1", "orders/", "e")
    await watches.watch("run-1", "orders/", "another")

    await watches.changed(File("inbox/orders/a"), runs)

    assert sorted(name for _, name, _ in runs.raised) == ["another", "e"]


async def test_runs_that_have_ended_or_are_gone_are_watched_for_no_longer(watches, state):
    for run in ("ended", "gone", "waits"):
        await watches.watch(run, "orders/", "e")
    runs = FakeRuns(ended={"ended"}, gone={"gone"})

    await watches.changed(File("inbox/orders/a"), runs)

    assert await kept(state) == runs.told == ["waits"]


async def test_watches_that_no_file_ever_meets_go_too_once_their_runs_have_ended(watches, state):
    for number in range(50):
        await watches.watch(f"run-{number}", f"never/{number}", "e")
    runs = FakeRuns(ended={f"run-{number}" for number in range(49)})
    for number in range(500):
        await watches.changed(File(f"inbox/other/{number}"), runs)
        if len(await kept(state)) == 1:
            break

    assert await kept(state) == ["run-49"]
    assert runs.raised == []


async def test_a_failure_comes_through_after_everybody_else_was_told(watches, state):
    for number in range(40):
        await watches.watch(f"run-{number:02}", "orders/", "e")
    runs = FakeRuns(broken={"run-07"})

    with pytest.raises(UnavailableError):
        await watches.changed(File("inbox/orders/a"), runs)

    assert len(runs.told) == 39
    assert len(await kept(state)) == 40


@pytest.mark.parametrize(
    "path", ["", "/", "/orders", "orders//a", "../a", "orders/./a", "a/**/b", "a\n", "a" * 1025, "a/" * 40]
)
async def test_what_is_no_path_is_refused(watches, path):
    with pytest.raises(InvalidError, match=r"\$\.path"):
        await watches.watch("run-1", path, "e")


async def test_there_is_a_limit_and_room_again_when_runs_have_ended(watches, state):
    for number in range(MAX_WATCHES):
        await watches.watch(f"run-{number}", f"orders/{number}", "e")

    with pytest.raises(UnavailableError, match="10000 files"):
        await watches.watch("one-more", "orders/", "e")
    await watches.watch("run-1", "orders/1", "e")
    await watches.changed(File("inbox/orders/5"), FakeRuns(ended={"run-5"}))

    await watches.watch("one-more", "orders/", "e")


async def test_a_file_finds_all_of_very_many_watches(watches):
    for number in range(2_500):
        await watches.watch(f"run-{number}", "orders/", "e")
    runs = FakeRuns()

    await watches.changed(File("inbox/orders/a"), runs)

    assert len(set(runs.told)) == 2_500


async def test_programs_ask_by_an_activity_that_users_can_neither_take_nor_define(watches):
    runs = FakeRuns()
    activities = Activities([], blobs=MemoryBlobStore(), own=[watches.activity])
    call = {"activity": "loom.watch", "input": {"run": "run-1", "path": "orders/", "event": "e"}}

    assert await activities.run(call) is None
    await watches.changed(File("inbox/orders/a"), runs)

    assert runs.told == ["run-1"]
    assert activities.names == frozenset()
    with pytest.raises(InvalidError, match=r"loom\.watch: names that begin with loom\. are Loom's own"):
        Activities([activity("loom.watch")(lambda value: value)], blobs=MemoryBlobStore())


def test_azure_is_asked_for_events_where_it_refuses_to_poll():
    assert source({}) == "LogsAndContainerScan"
    assert source({"WEBSITE_SKU": "FlexConsumption"}) == "EventGrid"
