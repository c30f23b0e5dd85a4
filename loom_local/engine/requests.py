"""Which signals have been accepted lately, so that a client's retry of one is not a second signal."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable


class Requests:
    """A window of request ids, bounded in number and age. The file keeps them too: in the inbox while the
    signal waits there, then in `requests`.
    """

    def __init__(self, most: int, age: float, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self._age = age
        self._clock = clock
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    @staticmethod
    def parse(request_id: str) -> bytes | None:
        """The 16 bytes of a request id, or None when the client sent none that could be recognised again."""
        try:
            return uuid.UUID(request_id).bytes
        except ValueError:
            return None

    def remember(self, request_id: bytes, at: float | None = None) -> bool:
        """Note a request; False when it was seen before."""
        if request_id in self._seen:
            return False
        now = self._clock()
        self._seen[request_id] = now if at is None else at
        while self._seen:
            oldest, since = next(iter(self._seen.items()))
            if len(self._seen) <= self._most and since > now - self._age:
                break
            del self._seen[oldest]
        return True
