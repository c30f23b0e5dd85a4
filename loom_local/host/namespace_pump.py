"""Feeds one function from one queue of a namespace.

Its workers each have a receiver of their own, which is for one call at a time. There is one at first; who
gets work makes sure that others wait, up to what host.json allows, and who has none for long goes.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loom_local.broker import Delivery
from loom_local.host.function import Function
from loom_local.host.functions import HandlerError
from loom_local.host.namespace_messages import delivered
from loom_local.host.namespace_outage import Outage
from loom_local.host.namespace_settlement import lost, renew, settle
from loom_local.host.queue_binding import bind_many, bind_one
from loom_local.host.queues import SESSION_TURN, Feeding, QueueOptions
from loom_local.host.triggers import CANCELLATION, Invoke, finish, spawn

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSession

_log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries while a queue cannot be received from."""
LONG = 60.0
"""Seconds a worker waits for work before it asks again, or goes."""
AHEAD = 8
"""Workers that wait while there is work: a receiver takes half a second to open."""
SOONEST_RENEWAL = 1.0
_CLOSING = 2.0


class Pump:
    """`start` once, `stop` once."""

    def __init__(
        self,
        function: Function,
        invoke: Invoke,
        *,
        client: "ServiceBusClient",
        namespace: str,
        options: QueueOptions,
        pauses: Sequence[float],
    ) -> None:
        self._function = function
        self._invoke = invoke
        self._client = client
        self._how = Feeding.of(function, options)
        self._idle = max(options.session_idle_timeout.total_seconds(), 0.05)
        self._max_renewal = options.max_auto_lock_renewal_duration.total_seconds()
        self._outage = Outage(
            function.name, self._how.queue, namespace, has_sessions=self._how.sessions, pauses=pauses
        )
        self._workers: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._busy: set[asyncio.Task[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False

    def start(self) -> None:
        """Begin with one worker."""
        worker = spawn(self._work(), f"queue {self._how.queue}")
        for group in (self._workers, self._waiting):
            group.add(worker)
            worker.add_done_callback(group.discard)

    async def stop(self, grace: float) -> None:
        self._stopping = True
        for worker in self._workers - self._busy:
            worker.cancel()
        await finish({*self._workers}, grace)
        await finish({*self._closing}, _CLOSING)

    async def _work(self) -> None:
        me = _me()
        while not self._stopping:
            self._waiting.add(me)
            receiver = self._receiver()
            pause = 0.0
            try:
                await receiver.__aenter__()
                self._outage.ends()
                await self._serve(receiver)
                if self._how.sessions:
                    continue
            except Exception as error:  # noqa: BLE001 - whatever it is, the queue is to be served
                if not _is_nothing(error):
                    pause = self._outage.begins(error)
            finally:
                self._close(receiver)
            if self._waiting - {me}:  # one that waits is enough
                self._waiting.discard(me)
                return
            await asyncio.sleep(pause)

    def _receiver(self) -> "ServiceBusReceiver":
        from azure.servicebus import NEXT_AVAILABLE_SESSION  # noqa: PLC0415 - cold start

        session = NEXT_AVAILABLE_SESSION if self._how.sessions else None
        return self._client.get_queue_receiver(self._how.queue, session_id=session, max_wait_time=LONG)

    def _close(self, receiver: "ServiceBusReceiver") -> None:
        """Give back at once what it holds; its end takes a second, and nobody waits for that."""
        closing = asyncio.get_running_loop().create_task(_closed(receiver))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _serve(self, receiver: "ServiceBusReceiver") -> None:
        """Work off a session, or a queue without any, until nothing comes or the receiver is lost."""
        left = SESSION_TURN
        third = max(self._lasts(receiver.session) / 3, SOONEST_RENEWAL) if self._how.sessions else LONG
        while left and not self._stopping:
            if self._how.sessions:
                messages = await self._of_session(receiver, third)
            else:
                messages = await receiver.receive_messages(self._how.size, max_wait_time=LONG)
            if messages and not await self._handle(receiver, messages):
                return
            if not messages and (self._how.sessions or len(self._waiting) > 1):
                return
            left -= self._how.sessions

    async def _of_session(
        self, receiver: "ServiceBusReceiver", third: float
    ) -> Sequence["ServiceBusReceivedMessage"]:
        """What comes next, if it does before the session has been idle for long; it is kept meanwhile.

        With each message at least a third of the lock's time is left.
        """
        idle = self._idle
        while idle > 0:
            if self._lasts(receiver.session) < 2 * third and not await renew(receiver, (), sessions=True):
                break
            wait = min(idle, third)
            if messages := await receiver.receive_messages(self._how.size, max_wait_time=wait):
                return messages
            idle -= wait
        return ()

    async def _handle(
        self, receiver: "ServiceBusReceiver", messages: Sequence["ServiceBusReceivedMessage"]
    ) -> bool:
        """Call the function and settle by the outcome; say whether the receiver is still good."""
        me = _me()
        self._waiting.discard(me)
        self._busy.add(me)
        free = 0 if self._stopping else self._how.width - len(self._workers)
        for _ in range(min(free, AHEAD - len(self._waiting))):
            self.start()
        try:
            done, held = await self._call(receiver, messages)
            if done and held and not self._how.auto_complete:
                return True
            how = receiver.complete_message if done else receiver.abandon_message
            return await settle(self._how.queue, how if held else lost, messages)
        except asyncio.CancelledError:
            await settle(self._how.queue, receiver.abandon_message, messages)
            raise
        finally:
            self._busy.discard(me)
            if not self._how.sessions:
                self._waiting.add(me)

    async def _call(
        self, receiver: "ServiceBusReceiver", messages: Sequence["ServiceBusReceivedMessage"]
    ) -> tuple[bool, bool]:
        """Say whether it went well, and whether the locks held: they are renewed the while."""
        run = asyncio.get_running_loop().create_task(self._run(receiver, messages))
        lock = receiver.session if self._how.sessions else messages[0]
        pause = max(self._lasts(lock) / 3, SOONEST_RENEWAL)
        until, held = asyncio.get_running_loop().time() + self._max_renewal, True
        try:
            while not (await asyncio.wait({run}, timeout=pause))[0]:
                if held and asyncio.get_running_loop().time() < until:
                    held = await renew(receiver, messages, sessions=self._how.sessions)
            await run
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait({run}, timeout=CANCELLATION / 2)
            raise
        except Exception as failure:  # noqa: BLE001 - it counts against these messages, whatever it is
            _log.error(
                "queue function %s failed on message %s of queue %s (%d in the batch, delivery %d)",
                self._function.name,
                messages[0].sequence_number,
                self._how.queue,
                len(messages),
                (messages[0].delivery_count or 0) + 1,
                exc_info=failure.error if isinstance(failure, HandlerError) else failure,
            )
            return False, held
        return True, held

    async def _run(
        self, receiver: "ServiceBusReceiver", messages: Sequence["ServiceBusReceivedMessage"]
    ) -> None:
        deliveries = [self._delivered(receiver, message) for message in messages]
        (value, kind), metadata = bind_many(deliveries) if self._how.many else bind_one(deliveries[0])
        await self._invoke(self._function, value, kind=kind, metadata=metadata)

    def _delivered(self, receiver: "ServiceBusReceiver", message: "ServiceBusReceivedMessage") -> Delivery:
        until = (receiver.session if self._how.sessions else message).locked_until_utc
        return delivered(self._how.queue, message, until.timestamp() if until else 0.0)

    def _lasts(self, lock: "ServiceBusSession | ServiceBusReceivedMessage") -> float:
        """Seconds until it ends."""
        until = lock.locked_until_utc
        return (until.timestamp() if until else 0.0) - time.time()


def _me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _is_nothing(error: Exception) -> bool:
    """Whether no session came, which the service tells as a timeout of its own; or one ended."""
    from azure.servicebus.exceptions import SessionLockLostError  # noqa: PLC0415 - cold start

    return isinstance(error, SessionLockLostError) or "com.microsoft:timeout" in str(error)


async def _closed(receiver: "ServiceBusReceiver") -> None:
    try:
        await receiver.close()
    except Exception as error:  # noqa: BLE001 - it is gone either way
        _log.debug("a receiver did not close: %s", type(error).__name__)
