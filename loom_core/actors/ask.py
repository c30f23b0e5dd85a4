"""Asking actors: messages delivered, and their answers waited for."""

from collections.abc import Sequence
from typing import Any

from loom_core.errors import StepFailedError
from loom_core.wire.commands import All, CallActor, CallEntity, Program, WaitEvent
from loom_core.wire.json import digest
from loom_core.wire.messages import Message, address, iso, message, split


def ask(instance: str, messages: Sequence[Message]) -> Program:
    """Deliver messages; the result has an answer for each, in order.

    `{"messageId", "status"}`, with `result` if that is `done`, and with `error` if it is `failed`, `expired`
    or `cancelled`; one that came before is a `duplicate`. Events and resumptions, which nobody answers, are
    `accepted`. `instance` is the one that asks.
    """
    told = [
        {**one, "metadata": {**one["metadata"], "replyTo": {"instance": instance, "event": _event(one)}}}
        for one in messages
    ]
    groups = grouped(told)
    answers: list[Any] = yield All(
        tuple(CallEntity(*split(to), "deliver", {"messages": own}) for to, own in groups.items())
    )
    found = {(to, one["messageId"]): one for to, batch in zip(groups, answers, strict=True) for one in batch}
    asked = {_key(one): one for one in messages if one["messageType"] == "activate"}
    late = {key: one for key, one in asked.items() if found[key]["status"] == "accepted"}
    events: list[Any] = yield All(tuple(WaitEvent(_event(one)) for one in late.values()))
    for key, outcome in zip(late, events, strict=True):
        found[key] = {"messageId": key[1], **outcome}
    return [found[_key(one)] for one in messages]


def call_actor(step: CallActor, instance: str, key: str, now: float) -> Program:
    """Deliver a message whose id is `key`; the result is its answer's. Raises StepFailedError."""
    to = address(step.type, step.id)
    told = message(
        to, step.input, key, iso(now), unique=True, sender=instance, strategy=step.strategy or None
    )
    [answer] = yield from ask(instance, [told])
    if answer["status"] != "done":
        error = answer["error"]
        raise StepFailedError(to, error["type"], error["message"], retryable=error["retryable"])
    return answer["result"]


def grouped(messages: Sequence[Message]) -> dict[str, list[Message]]:
    """The messages of each actor, in order."""
    groups: dict[str, list[Message]] = {}
    for one in messages:
        groups.setdefault(one["actorId"], []).append(one)
    return groups


def _key(one: Message) -> tuple[str, str]:
    return one["actorId"], one["messageId"]


def _event(one: Message) -> str:
    return f"loom:reply:{digest(_key(one))[:16]}"
