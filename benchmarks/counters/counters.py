"""Actors of the benchmarks: what they do themselves is next to nothing."""

from loom_core import Actor

TURN = "x" * 2_000


class Counter(Actor):
    """Counts what it is sent."""

    def default_state(self):
        return {"total": 0}

    def execute(self, message):
        self.update_state(lambda state: state.update(total=state["total"] + message))
        return self.state["total"]


class Spreader(Actor):
    """Counts, and passes each message on to one counter of its own."""

    def default_state(self):
        return {"total": 0}

    def execute(self, message):
        self.update_state(lambda state: state.update(total=state["total"] + message))
        self.send(f"Counter/{self.id}", message)


class Talk(Actor):
    """Keeps all that was said: its state grows by 2 KB with each message, or by as many as it is told."""

    def default_state(self):
        return {"said": []}

    def execute(self, message):
        self.update_state(lambda state: state["said"].extend([TURN] * message))
        return len(self.state["said"])


class Planner(Actor):
    """The same as a durable turn with one activity."""

    def default_state(self):
        return {"said": []}

    def execute(self, message):
        answer = yield self.call_activity("noop", message)
        self.update_state(lambda state: state["said"].append(TURN))
        return answer


class Clerk(Actor):
    """Passes each message on to a queue."""

    def execute(self, message):
        self.send("queue:letters", message)
