"""A bank whose money must be all there in the end, whatever was killed on the way."""

from loom_core import Actor
from loom_core.errors import InvalidError, StepFailedError

OPENING = 100_00


class Account(Actor):
    """Answers with what it has then, or with nothing if it has not enough; closed ones take nothing."""

    def default_state(self):
        return {"cents": OPENING}

    def execute(self, message):
        if self.id.startswith("closed"):
            raise InvalidError("the account is closed")
        cents = self.state["cents"] + message["cents"]
        if cents < 0:
            return None
        self.update_state(lambda state: state.update(cents=cents))
        return cents


class Transfer(Actor):
    """Moves money, and back if nobody takes it; tells the ledger and the queue how it ended."""

    def execute(self, message):
        outcome = "moved"
        taken = yield self.call_actor("Account", message["from"], {"cents": -message["cents"]})
        if taken is None:
            outcome = "refused"
        else:
            try:
                yield self.call_actor("Account", message["to"], {"cents": message["cents"]})
            except StepFailedError:
                yield self.call_actor("Account", message["from"], {"cents": message["cents"]})
                outcome = "returned"
        self.update_state(lambda state: state.update({outcome: state.get(outcome, 0) + 1}))
        self.send(message["ledger"], {"id": message["id"], "outcome": outcome})
        self.send("queue:tally", message["id"])
        return outcome


class Ledger(Actor):
    """Keeps what it has seen, and what it has seen twice."""

    def default_state(self):
        return {"seen": {}, "twice": []}

    def execute(self, message):
        def note(state):
            if message["id"] in state["seen"]:
                state["twice"].append(message["id"])
            state["seen"][message["id"]] = message.get("outcome", "")

        self.update_state(note)
