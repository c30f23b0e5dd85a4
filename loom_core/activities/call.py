"""The call that an activity serves, for one that asks."""

import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """`key` is the same for every attempt at the same step: hand it on as an idempotency key.

    `strategy` is the way the pipeline chose for this call, if it did. `stop` is set when the call is asked to
    stop; a function in a thread looks at it (`is_set()`) or waits on it (`wait(seconds)`).
    """

    activity: str
    run: str = ""
    key: str = ""
    strategy: str = ""
    at: float = field(default_factory=time.time)
    """When it was scheduled, in seconds since the epoch."""
    stop: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)


current_call: ContextVar[Call] = ContextVar("current_call")
