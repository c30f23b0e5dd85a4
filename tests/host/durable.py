"""Starting and watching orchestrations over HTTP."""

import asyncio
import json

WEBHOOKS = "/runtime/webhooks/durabletask"


async def finished(http, links):
    """Give the status document once the orchestration has ended."""
    while True:
        async with http.get(links["statusQueryGetUri"]) as reply:
            if reply.status == 200:
                return await reply.json()
            assert reply.status == 202
        await asyncio.sleep(0.02)


async def started(http, host, name, value):
    async with http.post(f"{host.url}/api/start/{name}", data=json.dumps(value)) as reply:
        assert reply.status == 202
        return await reply.json()


async def outcome(http, host, name, value):
    return await finished(http, await started(http, host, name, value))


async def state_of(http, host, name, key):
    async with http.get(f"{host.url}{WEBHOOKS}/entities/{name}/{key}") as reply:
        return await reply.json() if reply.status == 200 else None


async def until(condition):
    while not (value := await condition()):
        await asyncio.sleep(0.02)
    return value
