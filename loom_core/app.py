"""The composition root: settings choose the adapters, folders hold what the app defines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from starlette.types import ASGIApp

from loom_core.activities import Activities
from loom_core.actors.actor import Actor
from loom_core.actors.entity import World
from loom_core.actors.turn import turn
from loom_core.catalogue.catalogue import Catalogue
from loom_core.catalogue.folders import load_actors, load_folder, load_modules
from loom_core.catalogue.names import Known
from loom_core.catalogue.shipped import load_pipelines
from loom_core.clients.actors import Actors
from loom_core.clients.programs import answer_messages, operate
from loom_core.clients.runs import Runs
from loom_core.durable.driver import Programs
from loom_core.durable.entities import Entities
from loom_core.durable.hub import Hub
from loom_core.errors import InvalidError, Problem
from loom_core.http.application import application
from loom_core.journals.dead_letters import DeadLetters
from loom_core.journals.store import Journals
from loom_core.journals.turns import TurnStates
from loom_core.notations import PROGRAMS
from loom_core.outbox import Outbox, flush
from loom_core.payloads import refer, resolve, spill
from loom_core.ports.blobs import BlobStore
from loom_core.ports.feed import ChangeFeed
from loom_core.ports.locks import LockManager
from loom_core.ports.queue import MessageQueue
from loom_core.ports.state import StateStore
from loom_core.relay import Relay
from loom_core.settings import Settings
from loom_core.watches import Watches


@dataclass(frozen=True, slots=True)
class App:
    """What `function_app.py` hands the triggers' calls to."""

    settings: Settings
    state: StateStore
    queue: MessageQueue
    locks: LockManager
    activities: Activities
    watches: Watches
    pipelines: Catalogue
    actors: Mapping[str, type[Actor]]
    """By name in lower case."""
    entities: Entities
    turn_states: TurnStates
    journals: Journals
    dead_letters: DeadLetters
    relay: Relay | None
    """Where the store has a feed of its changes."""
    programs: Programs
    """What the orchestrations run, by name."""
    http: ASGIApp

    def clients(self, hub: Hub) -> tuple[Runs, Actors]:
        """What the triggers ask of the durable backend."""
        actors = Actors(hub, self.actors, self.journals, self.dead_letters)
        return Runs(hub, self.activities.stops), actors


def compose(root: Path, environment: Mapping[str, str]) -> App:
    """Build the app whose `activities/`, `wasm/`, `actors/` and `pipelines/` lie in `root`.

    Raises InvalidError with every problem of settings and of what the folders hold; each names its file.
    """
    settings = Settings.read(environment, root)
    problems: list[Problem] = []
    functions = _collect(problems, lambda: load_folder(root / "activities"), [])
    modules = _collect(problems, lambda: load_modules(root / "wasm"), [])
    actors = _collect(problems, lambda: load_actors(root / "actors"), {})
    if problems:
        raise InvalidError(problems)
    state, blobs, queue = _state(settings), _blobs(settings), _queue(settings)
    watches, dead_letters = Watches(state), DeadLetters(state)
    journals = Journals(state, blobs, partial(spill, blobs), partial(resolve, blobs))
    activities = Activities(
        functions,
        modules,
        blobs=blobs,
        cache=settings.data / "compiled",
        own=[watches.activity, Outbox(journals, dead_letters, queue).activity],
    )
    world = World(
        types=actors, resolve=partial(resolve, blobs), chunk=journals.chunk, state_at=journals.state_at
    )
    turn_states = TurnStates(journals.state_at)
    programs = {
        **PROGRAMS,
        "actor_turn": partial(turn, actors, turn_states.get),
        "ask": answer_messages,
        "operate": operate,
        "flush": flush,
    }
    there: Known = {"activity": activities.names, "actor": [kind.name for kind in actors.values()]}
    pipelines = Catalogue(load_pipelines(root / "pipelines", there), there, state)
    http = application(pipelines, partial(resolve, blobs), partial(refer, blobs))
    return App(
        settings=settings,
        state=state,
        queue=queue,
        locks=_locks(settings),
        activities=activities,
        watches=watches,
        pipelines=pipelines,
        actors=actors,
        entities=Entities(world, journals, turn_states, partial(refer, blobs)),
        turn_states=turn_states,
        journals=journals,
        dead_letters=dead_letters,
        relay=Relay(cast("ChangeFeed", state), state) if settings.cosmos else None,
        programs=programs,
        http=http,
    )


def _blobs(settings: Settings) -> BlobStore:
    if settings.storage:
        from loom_core.adapters.azure_blob import AzureBlobStore  # noqa: PLC0415 - only the chosen one

        return AzureBlobStore(settings.storage, container=settings.blob_container)
    if settings.blobs == "memory":
        from loom_core.adapters.memory import MemoryBlobStore  # noqa: PLC0415 - only the chosen one

        return MemoryBlobStore()
    from loom_core.adapters.files import FileBlobStore  # noqa: PLC0415 - only the chosen one

    return FileBlobStore(settings.data / "blobs")


def _state(settings: Settings) -> StateStore:
    if settings.cosmos:
        from loom_core.adapters.cosmos import CosmosStateStore  # noqa: PLC0415 - only the chosen one

        return CosmosStateStore(
            settings.cosmos,
            database=settings.cosmos_database,
            container=settings.cosmos_container,
            tenant=settings.tenant,
        )
    if settings.store == "memory":
        from loom_core.adapters.memory import MemoryStateStore  # noqa: PLC0415 - only the chosen one

        return MemoryStateStore()
    from loom_core.adapters.sqlite import SqliteStateStore  # noqa: PLC0415 - only the chosen one

    return SqliteStateStore(settings.data / "state.db")


def _queue(settings: Settings) -> MessageQueue:
    if settings.servicebus:
        from loom_core.adapters.servicebus import ServiceBusMessageQueue  # noqa: PLC0415 - only the chosen one

        return ServiceBusMessageQueue(settings.servicebus)
    if settings.queue == "memory":
        from loom_core.adapters.memory import MemoryMessageQueue  # noqa: PLC0415 - only the chosen one

        return MemoryMessageQueue()
    from loom_core.adapters.embedded import EmbeddedMessageQueue  # noqa: PLC0415 - only the chosen one

    return EmbeddedMessageQueue()


def _locks(settings: Settings) -> LockManager:
    """Where the blobs are, if hosts share them; else on this machine."""
    if settings.storage:
        from loom_core.adapters.azure_blob import BlobLeaseLockManager  # noqa: PLC0415 - only the chosen one

        return BlobLeaseLockManager(settings.storage, container=settings.blob_container)
    if settings.store == "memory":
        from loom_core.adapters.memory import MemoryLockManager  # noqa: PLC0415 - only the chosen one

        return MemoryLockManager()
    from loom_core.adapters.sqlite import SqliteLockManager  # noqa: PLC0415 - only the chosen one

    return SqliteLockManager(settings.data / "locks.db")


def _collect[T](problems: list[Problem], load: Callable[[], T], otherwise: T) -> T:
    try:
        return load()
    except InvalidError as error:
        problems += error.problems
        return otherwise
