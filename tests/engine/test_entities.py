import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from durabletask import entities, task
from durabletask.internal import orchestrator_service_pb2 as pb

from loom_local.engine.worker import EngineLimits
from tests.engine.sdk import App, hub, until


class Counter(entities.DurableEntity):
    def add(self, amount):
        total = (self.get_state(int) or 0) + amount
        self.set_state(total)
        return total

    def get(self):
        return self.get_state(int) or 0

    def append(self, item):
        self.set_state([*(self.get_state(list) or []), item])

    def fail(self):
        raise ValueError("no")


def counter(key: str) -> entities.EntityInstanceId:
    return entities.EntityInstanceId("counter", key)


def with_counter(app: App) -> App:
    app.entities["counter"] = Counter
    return app


async def state_of(client, key: str, kind=int):
    entity = await client.get_entity(counter(key))
    return entity.get_typed_state(kind) if entity else None


async def value(client, key: str, expected, kind=int) -> None:
    async with asyncio.timeout(10):
        while await state_of(client, key, kind) != expected:
            await asyncio.sleep(0.005)


async def test_signals_from_one_sender_are_applied_in_order(app: App, path: Path) -> None:
    async with hub(with_counter(app), path) as (_, client):
        for n in range(200):
            await client.signal_entity(counter("a"), "append", n)

        await value(client, "a", list(range(200)), list)


async def test_a_burst_of_signals_is_taken_in_batches(app: App, path: Path) -> None:
    all_sent, run_entity = asyncio.Event(), app.run_entity

    async def held(name: str, request: bytes) -> bytes:
        await all_sent.wait()
        return await run_entity(name, request)

    app.run_entity = held
    async with hub(with_counter(app), path) as (_, client):
        await asyncio.gather(*(client.signal_entity(counter("a"), "add", 1) for _ in range(1000)))
        all_sent.set()

        await value(client, "a", 1000)
        assert max(app.batches) > 10


async def test_an_orchestration_calls_an_entity_and_sees_its_failure(app: App, path: Path) -> None:
    @app.orchestrator
    def calls(context, _):
        first = yield context.call_entity(counter("a"), "add", 5)
        try:
            yield context.call_entity(counter("a"), "fail")
        except task.TaskFailedError as error:
            return [first, error.details.message, (yield context.call_entity(counter("a"), "get"))]
        return "no failure"

    async with hub(with_counter(app), path) as (_, client):
        run = await client.schedule_new_orchestration("calls")
        state = await client.wait_for_orchestration_completion(run, timeout=10)

        assert '"no"' in state.serialized_output or "no" in state.serialized_output
        assert state.serialized_output.startswith("[5, ")
        assert state.serialized_output.endswith(", 5]")


async def test_a_retried_signal_with_the_same_request_id_counts_once_even_after_a_restart(
    app: App, path: Path
) -> None:
    request = pb.SignalEntityRequest(instanceId="@counter@a", name="add", requestId=str(uuid.uuid4()))
    request.input.value = "1"
    async with hub(with_counter(app), path) as (sidecar, client):
        await asyncio.gather(*(sidecar.call("SignalEntity", request) for _ in range(5)))
        await value(client, "a", 1)
        await sidecar.call("SignalEntity", request)

    async with hub(app, path) as (sidecar, client):
        await sidecar.call("SignalEntity", request)
        await client.signal_entity(counter("a"), "add", 10)
        await value(client, "a", 11)


async def test_a_delayed_signal_arrives_when_it_is_due_also_after_a_restart(app: App, path: Path) -> None:
    due = datetime.now(UTC) + timedelta(milliseconds=400)
    async with hub(with_counter(app), path) as (_, client):
        await client.signal_entity(counter("a"), "add", 7, signal_time=due)
        assert await state_of(client, "a") is None

    async with hub(app, path) as (_, client):
        await value(client, "a", 7)
        assert datetime.now(UTC) >= due


async def test_a_critical_section_excludes_everybody_else_and_keeps_their_order(app: App, path: Path) -> None:
    @app.orchestrator
    def transfer(context, amount):
        with (yield context.lock_entities([counter("a"), counter("b")])):
            a = yield context.call_entity(counter("a"), "get")
            yield context.create_timer(timedelta(milliseconds=20))
            again = yield context.call_entity(counter("a"), "get")
            yield context.call_entity(counter("a"), "add", -amount)
            yield context.call_entity(counter("b"), "add", amount)
        return a == again

    async with hub(with_counter(app), path) as (_, client):
        await client.signal_entity(counter("a"), "add", 1000)
        runs = []
        for n in range(10):
            runs.append(await client.schedule_new_orchestration("transfer", input=n))
            await client.signal_entity(counter("a"), "add", 1)
        states = [await client.wait_for_orchestration_completion(run, timeout=20) for run in runs]

        assert [state.serialized_output for state in states] == ["true"] * 10
        await value(client, "a", 1000 + 10 - 45)
        await value(client, "b", 45)


async def test_signals_to_a_locked_entity_wait_in_their_order(app: App, path: Path) -> None:
    @app.orchestrator
    def holds(context, _):
        with (yield context.lock_entities([counter("a")])):
            yield context.wait_for_external_event("release")

    async with hub(with_counter(app), path) as (_, client):
        run = await client.schedule_new_orchestration("holds")
        await until(lambda: len(app.dispatches) >= 2)
        for n in range(100):
            await client.signal_entity(counter("a"), "append", n)
        locked = await client.get_entity(counter("a"))
        assert locked.backlog_queue_size == 100
        assert await state_of(client, "a", list) is None

        await client.raise_orchestration_event(run, "release")
        await value(client, "a", list(range(100)), list)


async def test_locks_of_a_run_that_ended_are_released(app: App, path: Path) -> None:
    @app.orchestrator
    def leaves(context, _):
        with (yield context.lock_entities([counter("a")])):
            context.call_entity(counter("a"), "add", 1)  # not awaited: the SDK then forgets the unlock

    @app.orchestrator
    def holds(context, _):
        with (yield context.lock_entities([counter("a"), counter("b")])):
            yield context.wait_for_external_event("never")

    async with hub(with_counter(app), path) as (_, client):
        run = await client.schedule_new_orchestration("leaves")
        await client.wait_for_orchestration_completion(run, timeout=10)
        await client.signal_entity(counter("a"), "add", 10)
        await value(client, "a", 11)

        run = await client.schedule_new_orchestration("holds")
        await client.wait_for_orchestration_start(run, timeout=10)
        await until(lambda: len([d for d in app.dispatches if d[0] == "holds"]) >= 2)
        await client.terminate_orchestration(run)
        await client.signal_entity(counter("b"), "add", 1)
        await value(client, "b", 1)


async def test_a_lock_request_of_a_run_that_has_ended_is_dropped(app: App, path: Path) -> None:
    @app.orchestrator
    def holds(context, _):
        with (yield context.lock_entities([counter("a")])):
            yield context.wait_for_external_event("release")

    async with hub(with_counter(app), path) as (_, client):
        first = await client.schedule_new_orchestration("holds")
        await until(lambda: len(app.dispatches) >= 2)
        second = await client.schedule_new_orchestration("holds")
        await client.wait_for_orchestration_start(second, timeout=10)
        await client.terminate_orchestration(second)
        await client.wait_for_orchestration_completion(second, timeout=10)
        await client.raise_orchestration_event(first, "release")
        await client.wait_for_orchestration_completion(first, timeout=10)

        await client.signal_entity(counter("a"), "add", 1)
        await value(client, "a", 1)


async def test_entities_are_listed_in_pages_and_empty_ones_removed(app: App, path: Path) -> None:
    from durabletask.client import EntityQuery

    async with hub(with_counter(app), path) as (sidecar, client):
        for n in range(25):
            await client.signal_entity(counter(f"k{n:02}"), "add", n)
        await client.signal_entity(counter("empty"), "get")
        for n in range(25):
            await value(client, f"k{n:02}", n)

        found = await client.get_all_entities(EntityQuery(instance_id_starts_with="@counter@", page_size=10))
        assert [e.id.key for e in found] == [f"k{n:02}" for n in range(25)]

        await until(
            lambda: (
                sidecar.database.reader()
                .execute("SELECT COUNT(*) FROM entities WHERE id = '@counter@empty'")
                .fetchone()
                == (1,)
            )
        )
        assert (await client.clean_entity_storage(remove_empty_entities=True)).empty_entities_removed == 1


async def test_idle_entities_leave_memory_and_keep_their_state(app: App, path: Path) -> None:
    async with hub(with_counter(app), path, limits=EngineLimits(loaded_entities=50)) as (sidecar, client):
        for _ in range(2):
            for n in range(300):
                await client.signal_entity(counter(f"k{n}"), "add", 1)
        for n in range(300):
            await value(client, f"k{n}", 2)

        assert len(sidecar.engine.entities) < 120


async def test_an_entity_signals_others_and_starts_orchestrations_in_its_own_commit(
    app: App, path: Path
) -> None:
    class Hub(entities.DurableEntity):
        def go(self, n):
            self.entity_context.signal_entity(counter("a"), "add", n)
            self.entity_context.schedule_new_orchestration("noted", input=n, instance_id=f"noted-{n}")
            self.set_state(n)

        def bad(self, n):
            self.go(n)
            raise ValueError("rolled back")

    @app.orchestrator
    def noted(context, n):
        return n

    app.entities["hub"] = Hub
    async with hub(with_counter(app), path) as (_, client):
        await client.signal_entity(entities.EntityInstanceId("hub", "x"), "bad", 100)
        await client.signal_entity(entities.EntityInstanceId("hub", "x"), "go", 3)
        await value(client, "a", 3)
        state = await client.wait_for_orchestration_completion("noted-3", timeout=10)

        assert state.serialized_output == "3"
        assert await client.get_orchestration_state("noted-100") is None
