"""Actors that have children, wait and remind themselves; each tells the ledger when it has done so."""

from loom_core import Actor
from loom_core.errors import TimedOutError


class Family(Actor):
    def execute(self, message):
        total = 0
        for number in range(message["children"]):
            total += yield self.spawn_child("Child", number, id=f"{self.id}-{number}")
        self.send(message["ledger"], {"id": message["id"], "outcome": total})


class Child(Actor):
    def execute(self, message):
        return (yield self.call_activity("double", message))


class Waiter(Actor):
    def execute(self, message):
        try:
            outcome = yield self.wait_for_event("go", message.get("timeout"))
        except TimedOutError:
            outcome = "nobody came"
        self.update_state(lambda state: state.update(served=state.get("served", 0) + 1))
        self.send(message["ledger"], {"id": message["id"], "outcome": outcome})


class Alarm(Actor):
    def execute(self, message):
        if message["left"]:
            self.schedule(0.05, {**message, "left": message["left"] - 1})
        else:
            self.send(message["ledger"], {"id": message["id"]})
