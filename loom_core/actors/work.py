"""What an actor does with one message, until it is committed."""

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field
from inspect import GEN_CREATED, getgeneratorstate
from typing import Any, Final

from loom_core.errors import InvalidError
from loom_core.patches import both
from loom_core.wire.commands import CallEntity, Program
from loom_core.wire.json import Json, dump
from loom_core.wire.messages import Message, split

MAX_STATE: Final = 1024 * 1024
MAX_INLINE: Final = 16 * 1024
"""Characters of a state up to which it is part of the history of a turn's orchestration."""


@dataclass(slots=True, kw_only=True)
class Work:
    """`entries` are for the journal, without numbers yet; `state` is as they leave it."""

    address: str
    message: Message
    state: Json
    now: float
    turn: str = ""
    """The id of the durable turn, if it is one."""
    types: Container[str] = ()
    """The types of actors there are, in lower case."""
    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    suspended: str | None = None
    children: dict[str, str] = field(default_factory=dict[str, str])
    """The actors that were called, by the key of the call."""
    done: dict[str, Json] = field(default_factory=dict[str, Json])
    """What actors answered, to earlier attempts too: they are not asked again."""
    due: list[tuple[str, Program]] = field(default_factory=list[tuple[str, Program]])
    """What is to be yielded, and its name."""
    numbers: int = 0
    grown: int = 0
    """Characters of the patches: the state has grown by no more."""

    def check(self, type: str) -> None:  # noqa: A002 - the field's word
        """Raises InvalidError for a type of actors that there is not."""
        if type.lower() not in self.types:
            raise InvalidError(f"there is no actor type {type[:100]!r}")

    def become(self, after: Json) -> None:
        """Have another state, and journal how it differs. Raises InvalidError for what is not plain JSON."""
        patches, inverse = both(self.state, after)
        if patches:
            self.grown += self.record("state_patches", patches=patches, inverse=inverse)
            self.state = after

    def settle(self, outcome: Json, size: int) -> int:
        """Call when all is done, with a bound on the characters of the state before; the result is a new one.

        Raises InvalidError, or what JSON raises, for what cannot be committed.
        """
        dump(outcome)
        for name, steps in self.due:
            if getgeneratorstate(steps) == GEN_CREATED:
                raise InvalidError(f"{name} is to be yielded")
        size += self.grown
        if self.grown and size > MAX_STATE:
            size = len(dump(self.state))
            if size > MAX_STATE:
                raise InvalidError(f"the state would have more than {MAX_STATE} characters")
        return size

    def record(self, kind: str, **about: Json) -> int:
        """The result is how long it is. Raises InvalidError for what is not plain JSON."""
        try:
            size = len(dump(about))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidError(f"{kind}: this is not plain JSON: {error}") from None
        self.entries.append({"type": kind, **about})
        return size

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    @property
    def scope(self) -> str:
        """What all keys begin with."""
        return f"{self.address}/{self.message['messageId']}"

    def key(self) -> str:
        """An idempotency key, the same in every attempt at this message."""
        return f"{self.scope}/{self.number()}"

    def child(self) -> str:
        """An id for a child, the same in every attempt at this message."""
        return hashlib.sha256(self.key().encode()).hexdigest()[:26]

    def commit(self, **more: Json) -> CallEntity:
        """Hand what has gathered to the entity; its answer is `{"event"}` if one was waiting."""
        entries, self.entries = self.entries, []
        return CallEntity(*split(self.address), "turn", {"turn": self.turn, "entries": entries, **more})
