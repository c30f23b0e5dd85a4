"""What keeps a function from its queue: told once, in words that say what to do, and tried again."""

import logging
import re
from collections.abc import Sequence

_log = logging.getLogger(__name__)
_SECRET = re.compile(r"(SharedAccess(?:Key|Signature)|sig)=[^;&\s'\"]+", re.IGNORECASE)


class Outage:
    """One for each function. `pauses` are in seconds, the last of them for ever."""

    def __init__(
        self, function: str, queue: str, namespace: str, *, has_sessions: bool, pauses: Sequence[float]
    ) -> None:
        self._function = function
        self._queue = queue
        self._namespace = namespace
        self._has_sessions = has_sessions
        self._pauses = pauses
        self._told: type[Exception] | None = None
        self._failures = 0

    def begins(self, error: Exception) -> float:
        """Tell why, unless it is told already; give the seconds until the next try."""
        words, waits = self._words(error)
        if self._told is not type(error):
            self._told = type(error)
            _log.error("queue function %s receives nothing for now: %s", self._function, words)
        pause = self._pauses[-1 if waits else min(self._failures, len(self._pauses) - 1)]
        self._failures += 1
        return pause

    def ends(self) -> None:
        if self._told is not None:
            _log.info("queue function %s receives from queue %s again", self._function, self._queue)
        self._told, self._failures = None, 0

    def _words(self, error: Exception) -> tuple[str, bool]:
        """What to do about it; and whether only somebody's doing helps."""
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - cold start
        from azure.servicebus import exceptions as sdk  # noqa: PLC0415 - cold start

        queue, namespace = self._queue, self._namespace
        said = _SECRET.sub(r"\1=…", " ".join(str(error).split()))[:300]
        if isinstance(error, sdk.MessagingEntityNotFoundError):
            return f"there is no queue {queue!r} in namespace {namespace}: create it", True
        if "amqp:not-allowed" in str(error):
            there, wanted = ("no ", "True") if self._has_sessions else ("", "False")
            said = f"queue {queue!r} in namespace {namespace} has {there}sessions, and the function says"
            return f"{said} is_sessions_enabled={wanted}: change one of them", True
        if isinstance(error, sdk.ServiceBusAuthenticationError | sdk.ServiceBusAuthorizationError):
            remedy = "give it the role Azure Service Bus Data Receiver there"
            return f"namespace {namespace} refuses this identity ({said}): {remedy}", True
        inner = getattr(error, "inner_exception", None)  # the SDK wraps it
        if isinstance(error, ClientAuthenticationError) or isinstance(inner, ClientAuthenticationError):
            return f"there is no identity for namespace {namespace} ({said}): sign in with `az login`", True
        remedy = "check its name and the network, or start the emulator; it is tried again"
        return f"namespace {namespace} cannot be reached ({said}): {remedy}", False
