"""Commands: what a program asks of the world, as values.

A program is a generator that yields a command (or another program, which then runs as a branch of it) and
is sent the command's result; a failed command is thrown into it as `StepFailedError` or `TimedOutError`.
Whoever drives the program (`durable` on the Durable Task SDK, `testing` in memory) gives the same meaning
to each command, so a program is deterministic as long as it reads nothing but its input and its results.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from loom_core.wire.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class CallActivity:
    """Run an activity once; the result is its output. Retries are the program's business."""

    name: str
    input: Json
    timeout: float | None = None
    """Seconds until the program is thrown `TimedOutError`; None waits for ever."""
    key: str = ""
    """The idempotency key, the same for every attempt at the same work. If empty, the driver gives one."""
    strategy: str = ""
    """Told to the activity: which of its ways to take."""


@dataclass(frozen=True, slots=True)
class CallActor:
    """Send an actor a message and wait for its answer, which is the result."""

    type: str
    id: str
    input: Json
    key: str = ""
    """The idempotency key, as for an activity; it is the message's id."""
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class CallEntity:
    """Run an operation of an entity; the result is its answer."""

    type: str
    id: str
    operation: str
    input: Json
    insists: bool = True
    """Whether it is asked for again while the actor's store cannot be reached."""


@dataclass(frozen=True, slots=True)
class SendEvent:
    """Send an event to another instance; the result is None, at once."""

    instance: str
    name: str
    payload: Json


@dataclass(frozen=True, slots=True)
class CallBatch:
    """Run one activity over several inputs in one call.

    The result is a list with one outcome per input, in order: `{"ok": output}` or
    `{"error": {"type", "message", "retryable"}}`.
    """

    name: str
    inputs: tuple[Json, ...]
    timeout: float | None = None
    keys: tuple[str, ...] = ()
    """An idempotency key for each input; the driver gives them if it is empty."""


@dataclass(frozen=True, slots=True)
class RunProgram:
    """Run a registered program as a durable child with its own history; the result is its output.

    `program` is the name it is registered under (`"lane"`), `input` is handed to it.
    """

    program: str
    input: Json
    key: str = ""
    """What the keys of its work begin with, so that `Stop` finds it."""
    graceful: bool = False
    """Whether it ends itself when it is asked to, and has something to make good; others are terminated."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask work that is not waited for any more to stop, if its key is `scope` or begins with it and a slash.

    Running activities are told, children cancelled. The result is None as soon as all have been asked.
    """

    scope: str


@dataclass(frozen=True, slots=True)
class All:
    """Run every step at once; the result is their results in order. The first failure is thrown."""

    steps: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Run every step at once; the result is `(index, result)` of the first that ends; the rest are left."""

    steps: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Run the steps in order with at most `width` in flight: the next starts when one ends.

    The result is the list of their results in order. The first failure is thrown at once and no further
    step starts; with `collect`, a failure stands in its place as the exception instead. `steps` is consumed
    lazily, one step per free place, and may be infinite in principle.
    """

    steps: Iterable["Step"]
    width: int
    collect: bool = False


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this many seconds on a durable timer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitEvent:
    """Wait for an event sent to the run; the result is its payload. `TimedOutError` after `timeout` s."""

    name: str
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Now:
    """The replay-safe current time; the result is seconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Show this document as the run's live status (at most 16 KB); the result is None, at once."""

    status: JsonObject


@dataclass(frozen=True, slots=True)
class ContinueAsNew:
    """End this execution and start the same program again with this input and an empty history."""

    input: Json


type Command = (
    CallActivity
    | CallActor
    | CallEntity
    | SendEvent
    | CallBatch
    | RunProgram
    | Stop
    | All
    | AnyOf
    | Window
    | Sleep
    | WaitEvent
    | Now
    | Publish
    | ContinueAsNew
)
type Program = Generator[Command | Program, Any, Any]
type Step = Command | Program
