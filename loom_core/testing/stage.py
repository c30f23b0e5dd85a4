"""The stage: actors in memory, with all that they have on a host, for the tests of an app.

    stage = Stage(Counter, activities={"llm": lambda given: "yes"})
    assert stage.ask("Counter/a", {"amount": 60}) == 60
    assert stage.state("Counter/a") == {"total": 60}

Time stands still but for `advance`, and for `ask`, which waits as long as it takes.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from loom_core import errors
from loom_core.actors.actor import Actor
from loom_core.actors.ask import ask
from loom_core.clients.programs import operate
from loom_core.errors import StepFailedError
from loom_core.journals.view import shown
from loom_core.notations import pipeline_program
from loom_core.testing.bench import Bench
from loom_core.testing.executions import Factory, Failed
from loom_core.wire.commands import CallEntity
from loom_core.wire.json import Json, JsonObject
from loom_core.wire.messages import QUEUE, Message, iso, message, split


class Stage:
    """`seed`, `crashes`, `outages` and `duration` are as for a Bench.

    Messages take what `message` of `wire` takes: `id`, `type`, `priority`, `ttl` in seconds, `sender`,
    `correlation`, `traceparent`. Actors that no type is given of raise InvalidError.
    """

    def __init__(
        self,
        *types: type[Actor],
        activities: Mapping[str, Callable[[Any], Any]] | None = None,
        duration: Callable[[str, Any], float] = lambda _name, _input: 0.0,
        seed: int = 0,
        crashes: bool = False,
        outages: bool = False,
    ) -> None:
        self.bench = Bench(
            activities or {}, actors=types, duration=duration, seed=seed, crashes=crashes, outages=outages
        )
        self._cast = self.bench.cast
        self._number = 0

    def send(self, to: str, payload: Json = None, **about: Any) -> str:
        """Have a message on its way, whose id is the result."""
        return self.send_all([(to, payload)], **about)[0]

    def send_all(self, messages: list[tuple[str, Json]], **about: Any) -> list[str]:
        """Have messages on their way, in order; those of one actor come together."""
        made = [self._message(to, payload, dict(about)) for to, payload in messages]
        for to in dict.fromkeys(one["actorId"] for one in made):
            own = [one for one in made if one["actorId"] == to]
            self._cast.call(CallEntity(*split(to), "deliver", {"messages": own}), lambda _: None)
        return [one["messageId"] for one in made]

    def event(self, to: str, name: str, data: Json = None, **about: Any) -> str:
        """Have an event on its way, whose id is the result."""
        return self.send(to, {"eventType": name, "data": data}, type="event", **about)

    def resume(self, to: str, payload: Json = None, **about: Any) -> str:
        """Have a message on its way that ends a suspension."""
        return self.send(to, payload, type="resume", **about)

    def ask(self, to: str, payload: Json = None, **about: Any) -> Any:
        """Send a message and run until it is answered. Raises StepFailedError if that is with an error."""
        self._number += 1
        instance = f"ask-{self._number}"
        one = self._message(to, payload, about)
        [answer] = self._await(lambda _: ask(instance, [one]), instance, one["actorId"])
        if answer["status"] == "duplicate":
            raise StepFailedError(one["actorId"], "ConflictError", "this message has come before")
        if answer["status"] != "done":
            error = answer["error"]
            raise StepFailedError(
                one["actorId"], error["type"], error["message"], retryable=error["retryable"]
            )
        return answer["result"]

    def cancel(self, to: str, message_id: str | None = None) -> Json:
        """Cancel the running turn, or a message by its id. Raises ConflictError if there is none."""
        return self._operate(to, "cancel", {"messageId": message_id})

    def rollback(self, to: str, seq: int) -> Json:
        """Make the state what it was after this entry of the journal. Raises ConflictError."""
        return self._operate(to, "rollback", {"to": seq})

    def pipeline(self, definition: JsonObject, given: Json = None) -> Any:
        """Run a pipeline with these actors and activities; the result is its output."""
        return self.bench.run(pipeline_program, {"run": "run-1", "definition": definition, "input": given})

    def run(self) -> None:
        """Until nothing is left to do now."""
        self.advance(0)

    def advance(self, seconds: float) -> None:
        """Let this time pass, and all happen that happens in it."""
        self.bench.advance(seconds)
        self.bench.check_replays()

    def state(self, to: str, at: int | None = None) -> Any:
        """The state now, or after an entry of the journal."""
        to = self._cast.known(to)
        return self._cast.kept[to].load() if at is None else self._cast.state_at(to, at)

    def journal(self, to: str, *types: str) -> list[dict[str, Any]]:
        """The entries of the journal, or those of some types."""
        entries = self._cast.kept[self._cast.known(to)].entries
        return [entry for entry in entries if not types or entry["type"] in types]

    def status(self, to: str) -> dict[str, Any]:
        """The actor as the API shows it."""
        to = self._cast.known(to)
        return shown(to, self.document(to))

    def document(self, to: str) -> dict[str, Any]:
        """What the actor's entity keeps, beside the state. Raises KeyError for an actor that there is not."""
        kept = self._cast.kept.get(self._cast.known(to))
        if kept is None or kept.document == "null":
            raise KeyError(f"nobody has sent {to} a message")
        return json.loads(kept.document)

    def sent_to(self, target: str) -> list[Any]:
        """The payloads that actors sent to a `Type/id`, or to a `queue:NAME` that has them."""
        if target.startswith(QUEUE):
            return [one["payload"] for one in self._cast.queues[target.removeprefix(QUEUE)].values()]
        sent = (entry for kept in self._cast.kept.values() for entry in kept.entries)
        return [e["payload"] for e in sent if e["type"] == "message_sent" and e["to"] == target]

    @property
    def dead_letters(self) -> list[dict[str, Any]]:
        """The messages that no attempt could serve, each with its error."""
        return list(self._cast.dead.values())

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """The activities that were called, each with its input."""
        return self.bench.calls

    def _message(self, to: str, payload: Json, about: dict[str, Any]) -> Message:
        self._number += 1
        if about.get("ttl") is not None:
            about["ttl"] = int(about["ttl"] * 1000)
        id_ = about.pop("id", f"msg-{self._number}")
        at = iso(self.bench.now)
        return message(self._cast.known(to), payload, id_, at, **about)

    def _operate(self, to: str, operation: str, given: Json) -> Json:
        to = self._cast.known(to)
        asked = {"type": split(to)[0], "id": split(to)[1], "operation": operation, "input": given}
        try:
            return self._await(lambda _: operate(asked), "", to)
        except StepFailedError as error:
            raise getattr(errors, error.error_type)(error.message) from None

    def _await(self, program: Factory, instance: str, to: str) -> Any:
        ended: list[Any] = []
        self.bench.begin(program, {}, ended.append, instance=instance)
        try:
            self.bench.until(ended)
        except AssertionError as error:
            raise AssertionError(f"{to} never answers: {error}; it is {self.status(to)}") from None
        if isinstance(ended[0], Failed):
            raise ended[0].error
        return ended[0]
