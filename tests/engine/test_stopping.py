import asyncio
from pathlib import Path

import azure.durable_functions as df
import grpc
import pytest
from azure.durable_functions.client import SyncDurableFunctionsClient
from durabletask.internal import orchestrator_service_pb2 as pb

from loom_local.sidecar.service import Sidecar
from tests.engine.sdk import App, binding, hub


def with_waiting(app: App) -> App:
    @app.orchestrator
    def waiting(context, _):
        yield context.wait_for_external_event("go")

    return app


async def test_a_client_that_waits_when_the_host_stops_is_told_that_it_is_unavailable(path: Path) -> None:
    sidecar = Sidecar(path, with_waiting(App()), durable=False)
    await sidecar.start()
    client = df.DurableFunctionsClient(binding(sidecar.address))
    await client.schedule_new_orchestration("waiting", instance_id="w")
    await client.wait_for_orchestration_start("w", timeout=10)
    waiting = asyncio.create_task(client.wait_for_orchestration_completion("w", timeout=30))
    await asyncio.sleep(0)
    await client.get_orchestration_state("w")  # by now the engine has taken up the call before
    await sidecar.stop(1.0)

    with pytest.raises(grpc.RpcError) as told:
        await waiting
    assert told.value.code() == grpc.StatusCode.UNAVAILABLE
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as told:
            await client.get_orchestration_state("w")
        assert told.value.code() == grpc.StatusCode.UNAVAILABLE
    await client.close()


async def test_a_sync_client_that_waits_when_the_host_stops_is_told_so_too(path: Path) -> None:
    def wait(client: SyncDurableFunctionsClient) -> None:
        client.wait_for_orchestration_completion("w", timeout=30)

    sidecar = Sidecar(path, with_waiting(App()), durable=False)
    await sidecar.start()
    client = SyncDurableFunctionsClient(binding(sidecar.address))
    await asyncio.to_thread(client.schedule_new_orchestration, "waiting", instance_id="w")
    waiting = asyncio.create_task(asyncio.to_thread(wait, client))
    while not sidecar.engine.waiters._waiting:
        await asyncio.sleep(0.005)
    await sidecar.stop(1.0)

    for call in (lambda: waiting, lambda: asyncio.to_thread(wait, client)):
        with pytest.raises(grpc.RpcError) as told:
            await call()
        assert told.value.code() == grpc.StatusCode.UNAVAILABLE
    client.close()


async def test_a_client_used_on_many_loops_keeps_none_of_those_that_have_ended(path: Path) -> None:
    async with hub(with_waiting(App()), path) as (_, client):
        for _ in range(5):
            await asyncio.to_thread(lambda: asyncio.run(client.get_orchestration_state("nobody")))
        (channel,) = _channels(client)
        assert len(channel._calls) <= 2


def _channels(client: df.DurableFunctionsClient) -> list:
    from loom_local.sidecar.channel import AsyncChannel

    return [each for each in vars(client).values() if isinstance(each, AsyncChannel)]


async def test_nobody_is_answered_before_the_file_has_been_taken_up(path: Path, monkeypatch) -> None:
    from loom_local.engine import engine, recovery

    async with hub(with_waiting(App()), path) as (_, client):
        await client.schedule_new_orchestration("waiting", instance_id="w")

    sidecar = Sidecar(path, with_waiting(App()), durable=False)
    answered = []

    async def recover(taken_up) -> int:
        async with grpc.aio.insecure_channel(sidecar.address) as channel:
            call = channel.unary_unary(
                "/TaskHubSidecarService/StartInstance",
                request_serializer=pb.CreateInstanceRequest.SerializeToString,
                response_deserializer=pb.CreateInstanceResponse.FromString,
            )
            try:
                answered.append(await call(pb.CreateInstanceRequest(name="waiting"), timeout=0.5))
            except grpc.RpcError:
                return await recovery.recover(taken_up)
        raise AssertionError("answered")

    monkeypatch.setattr(engine, "recover", recover)
    await sidecar.start()
    await sidecar.stop(1.0)
    assert answered == []


async def test_a_host_that_could_not_start_leaves_the_file_to_the_next(path: Path, monkeypatch) -> None:
    from loom_local.engine import engine

    async def fails(_) -> int:
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "recover", fails)
        with pytest.raises(OSError, match="no"):
            await Sidecar(path, App(), durable=False).start()
    async with hub(with_waiting(App()), path):
        pass
