"""The durable engine: every instance and entity has an inbox, and finishing a work item is one transaction.

Everything here runs on one event loop; there are no locks because there are no other threads.
"""

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable

from loom_local.database import Database
from loom_local.engine.activities import Activities
from loom_local.engine.cache import Entities, Instances
from loom_local.engine.entities import EntityBatches
from loom_local.engine.locks import Locks
from loom_local.engine.orchestrations import Orchestrations
from loom_local.engine.protocol import check_sdk
from loom_local.engine.queries import Queries
from loom_local.engine.recovery import close_cleanly, recover
from loom_local.engine.requests import Requests
from loom_local.engine.slots import Slots, stop_process
from loom_local.engine.state import Entity, Instance, Message, Task, is_entity
from loom_local.engine.suspects import Suspects
from loom_local.engine.timers import Timers
from loom_local.engine.transaction import Transaction
from loom_local.engine.waiters import Waiters
from loom_local.engine.worker import EngineLimits, Worker

log = logging.getLogger("loom.engine")


class Engine:
    """Composition and delivery. Make it, `start` it on its loop, `stop` it there."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        limits: EngineLimits | None = None,
        clock: Callable[[], float] = time.time,
        on_defect: Callable[[BaseException], None] = stop_process,
    ) -> None:
        check_sdk()
        self.database = database
        self.worker = worker
        self.limits = limits or EngineLimits()
        self.clock = clock
        self.on_defect = on_defect
        """Called with what should not have been raised; memory may then disagree with the disk."""
        self.instances = Instances(database, self.limits.loaded_instances)
        self.entities = Entities(database, self.limits.loaded_entities)
        self.outstanding: defaultdict[str, dict[int, Task]] = defaultdict(dict)
        """Scheduled activities that have no result yet, by instance and sequence number."""
        self.timers = Timers(self.deliver, clock)
        self.locks = Locks()
        self.waiters = Waiters()
        self.requests = Requests(self.limits.requests, self.limits.request_age, clock)
        self.suspects = Suspects(self)
        self.queries = Queries(self)
        self.steps = Orchestrations(self)
        self.orchestrations: Slots[Instance] = Slots(self.limits.orchestrations, self.steps.run, on_defect)
        self.batches: Slots[Entity] = Slots(self.limits.entities, EntityBatches(self).run, on_defect)
        self.activities: Slots[Task] = Slots(
            self.limits.activities, Activities(self).run, on_defect, eager=True
        )
        self._seq = itertools.count(1)
        self._duties: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up whatever the file holds, and go on with it."""
        self._seq = itertools.count(await recover(self))
        loop = asyncio.get_running_loop()
        self._duties = [loop.create_task(self.timers.run()), loop.create_task(self._forget_requests())]
        for duty in self._duties:
            duty.add_done_callback(self._duty_ended)

    async def stop(self, grace: float) -> None:
        """Begin no more work, let what runs end within `grace` seconds, and note that the stop was clean."""
        for duty in self._duties:
            duty.cancel()
        await asyncio.gather(
            self.activities.drain(grace), self.batches.drain(grace), self.orchestrations.drain(grace)
        )
        self.waiters.cancel()
        await close_cleanly(self)

    def _duty_ended(self, duty: asyncio.Task[None]) -> None:
        if not duty.cancelled() and (error := duty.exception()):
            self.on_defect(error)

    def next_seq(self) -> int:
        return next(self._seq)

    def transaction(self) -> Transaction:
        return Transaction(self)

    def deliver(self, message: Message) -> None:
        """Put a visible message before whom it is for; a message to nobody is dropped from the file."""
        if is_entity(message.target):
            entity = self.entities.get(message.target)
            entity.inbox.append(message)
            self.enqueue_entity(entity)
            return
        instance = self.instances.get(message.target)
        if instance is None or instance.terminal:
            log.debug("dropped a message to %s, which has ended", message.target)
            drop = self.transaction()
            drop.consume(message)
            drop.commit()
            return
        instance.receive(message)
        if instance.begun:
            self.enqueue(instance)

    async def _forget_requests(self) -> None:
        while True:
            await asyncio.sleep(self.limits.request_age)
            oldest = self.clock() - self.limits.request_age
            await self.database.submit([("DELETE FROM requests WHERE at < ?", (oldest,))])

    def enqueue(self, instance: Instance) -> None:
        if instance.busy or instance.queued:
            return
        instance.queued = True
        pause = instance.not_before - self.clock()
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self.orchestrations.put, instance)
        else:
            self.orchestrations.put(instance)

    def enqueue_entity(self, entity: Entity, pause: float = 0.0) -> None:
        if entity.busy or entity.queued:
            return
        entity.queued = True
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self.batches.put, entity)
        else:
            self.batches.put(entity)
