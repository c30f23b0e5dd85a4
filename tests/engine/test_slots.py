import asyncio

from loom_local.engine.slots import Slots


class Work:
    """Items that run until they are let go."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.doors: dict[int, asyncio.Event] = {}

    async def run(self, item: int) -> None:
        self.begun.append(item)
        self.doors[item] = asyncio.Event()
        try:
            await self.doors[item].wait()
        finally:
            self.ended.append(item)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_run_at_once_and_the_rest_in_order() -> None:
    work = Work()
    slots = Slots(2, work.run)
    for item in range(5):
        slots.put(item)
    await turns()
    assert work.begun == [0, 1]
    work.doors[1].set()
    await turns()
    assert work.begun == [0, 1, 2]
    work.doors[0].set()
    work.doors[2].set()
    await turns()
    assert work.begun == [0, 1, 2, 3, 4]
    assert slots.started == 5
    await slots.drain(0)


async def test_draining_begins_nothing_more_and_waits_for_what_runs() -> None:
    work = Work()
    slots = Slots(1, work.run)
    slots.put(1)
    slots.put(2)
    await turns()
    draining = asyncio.create_task(slots.drain(10))
    await turns()
    assert not draining.done()
    work.doors[1].set()
    await draining
    assert (work.begun, work.ended) == ([1], [1])
    slots.put(3)
    await turns()
    assert work.begun == [1]


async def test_what_outlives_the_grace_is_cancelled_and_has_ended_when_draining_has() -> None:
    work, defects = Work(), list[BaseException]()
    slots = Slots(2, work.run, defects.append)
    slots.put(1)
    slots.put(2)
    await turns()
    await slots.drain(0.01)
    assert sorted(work.ended) == [1, 2]
    await turns()
    assert defects == []


async def test_an_error_in_the_work_is_a_defect_and_the_slot_is_free_again() -> None:
    defects: list[BaseException] = []

    async def run(item: int) -> None:
        if item == 1:
            raise KeyError(item)
        if item == 2:
            raise asyncio.CancelledError

    slots = Slots(1, run, defects.append)
    for item in (1, 2, 3):
        slots.put(item)
    await turns(20)
    assert slots.started == 3
    assert [type(each) for each in defects] == [KeyError, asyncio.CancelledError]


async def test_eager_work_begins_inside_put_and_still_keeps_to_the_limit() -> None:
    work = Work()
    slots = Slots(2, work.run, eager=True)
    for item in range(3):
        slots.put(item)
    assert work.begun == [0, 1]
    work.doors[0].set()
    await turns()
    assert work.begun == [0, 1, 2]
    for door in work.doors.values():
        door.set()
    await slots.drain(1)


async def test_eager_work_that_never_waits_runs_to_its_end_however_much_there_is() -> None:
    done: list[int] = []

    async def run(item: int) -> None:
        done.append(item)

    slots = Slots(1, run, eager=True)
    for item in range(3_000):
        slots.put(item)
    await turns(6_000)
    assert done == list(range(3_000))
