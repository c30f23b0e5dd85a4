"""Actors that the tests of this folder play with."""

from typing import Any

from loom_core import Actor
from loom_core.resilience.retry import RetryPolicy


class Log(Actor):
    """Keeps the payloads that it is sent, and sends on what is to be sent on."""

    def default_state(self):
        return {"got": []}

    def execute(self, message):
        self.update_state(lambda state: state["got"].append(message))
        for to in message.get("to", ()) if isinstance(message, dict) else ():
            self.send(to, {"from": self.address})
        return len(self.state["got"])


class Turn(Actor):
    """Runs the steps that its message has, one after the other."""

    retry = RetryPolicy(max_attempts=3, backoff_ms=(1_000,), jitter=0)

    def default_state(self):
        return {"did": []}

    def execute(self, message):  # noqa: C901 - a case each
        results: list[Any] = []
        for step, *about in message:
            match step:
                case "call":
                    results.append((yield self.call_activity(*about)))
                case "ask":
                    results.append((yield self.call_actor(*about)))
                case "spawn":
                    results.append((yield self.spawn_child(*about)))
                case "wait":
                    results.append((yield self.wait_for_event(*about)))
                case "suspend":
                    results.append((yield self.suspend(*about)))
                case "rollback":
                    yield self.rollback(*about)
                case "send":
                    self.send(*about)
                case "did":
                    self.update_state(lambda state, did=about[0]: state["did"].append(did))
                case "raise":
                    raise RuntimeError(about[0])
        return results


def types(stage, address):
    return [entry["type"] for entry in stage.journal(address)]
