"""All entities of a namespace, their clock and their timers. Knows nothing of the network."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.emulators.servicebus.clock import Clock, Timers
from tests.emulators.servicebus.errors import ServiceBusError, not_found
from tests.emulators.servicebus.filters import any_of
from tests.emulators.servicebus.journal import Journal
from tests.emulators.servicebus.properties import AD_HOC, ConfigError, Properties
from tests.emulators.servicebus.queue import DEAD_LETTERS, Queue

MAX_NAME = 260


def name_in(address: str) -> str:
    """The entity's, from its name or a URL."""
    _, scheme, rest = address.partition("://")
    return (rest.partition("/")[2] if scheme else address).strip("/")


def path(address: str) -> str:
    """As `name_in`, in small letters."""
    return name_in(address).lower()


class Broker:
    """`work_to_do` is called when `work` should be, soon. Raises ConfigError."""

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        *,
        auto: bool = False,
        journal: Journal | None = None,
        work_to_do: Callable[[], None] = lambda: None,
    ) -> None:
        self.journal = journal or Journal()
        self.clock = Clock(self.journal.offset())
        self.timers = Timers()
        self._auto, self._work_to_do = auto, work_to_do
        self._entities: dict[str, Queue] = {}
        self._awake: set[Queue] = set()
        try:
            for namespace in (config or {}).get("UserConfig", {}).get("Namespaces", []):
                self._configure(namespace)
            for queue in self.queues():
                self._connect(queue)
        except (AttributeError, KeyError, TypeError, ServiceBusError) as error:
            raise ConfigError(f"the configuration is not as it should be: {error!r}") from error
        self._restore()

    def _configure(self, namespace: dict[str, Any]) -> None:
        for queue in namespace.get("Queues", []):
            self._add(queue["Name"], Properties.read(queue.get("Properties", {})))
        for topic in namespace.get("Topics", []):
            self._add_topic(topic)

    def _add(self, name: str, properties: Properties) -> Queue:
        queue = Queue(self, name, properties)
        if queue.key in self._entities or not 0 < len(name) <= MAX_NAME:
            raise ConfigError(f"the name {name[:MAX_NAME]!r} is taken, or no name")
        self._entities[queue.key] = queue
        queue.dead_letters = Queue(self, name + "/$DeadLetterQueue", queue.properties, dead=True)
        queue.dead_letters.sessions_required = False
        return queue

    def _add_topic(self, values: dict[str, Any]) -> None:
        topic = self._add(values["Name"], Properties.read(values.get("Properties", {})))
        topic.is_topic, topic.dead_letters = True, None
        subscriptions = []
        for entry in values.get("Subscriptions", []):
            name = f"{values['Name']}/Subscriptions/{entry['Name']}"
            queue = self._add(name, Properties.read(entry.get("Properties", {})))
            subscriptions.append((any_of(tuple(entry.get("Rules") or ())), queue))
        topic.routes = lambda message: [queue for passes, queue in subscriptions if passes(message)]

    def _connect(self, queue: Queue) -> None:
        target, grave = queue.properties.forward_to, queue.properties.forward_dead_letters_to
        if target and not queue.is_dead_letters:
            self.entity(target)
            queue.routes = lambda _message: [self.entity(target)]
        if grave and not queue.is_dead_letters:
            self.entity(grave)
            queue.forwards_dead_letters = lambda: self.entity(grave)

    def _restore(self) -> None:
        for key, name, last, sessions in self.journal.entities():
            queue = self._entities.get(key) or self._add(name, AD_HOC)
            queue.last = last
            if queue.properties.sessions is None and sessions is not None:
                queue.sessions_required = bool(sessions)
        for queue in self.queues():
            for id_, state in self.journal.session_states(queue.key):
                queue.sessions.get(id_).state = state
            queue.duplicates.load(self.journal.ids(queue.key))
            for message in self.journal.messages(queue.key):
                queue.restore(message)

    def now(self) -> float:
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        """Put the clock forward; what falls due meanwhile happens."""
        self.clock.offset += seconds
        self.journal.put_forward(self.clock.offset)
        self._work_to_do()

    def entity(self, address: str) -> Queue:
        """Raises ServiceBusError (not found)."""
        key = path(address)
        dead = key.endswith(DEAD_LETTERS)
        queue = self._entities.get(key.removesuffix(DEAD_LETTERS))
        if queue is None:
            if not self._auto or dead or not 0 < len(key) <= MAX_NAME or "$" in key:
                raise not_found(address[:MAX_NAME])
            queue = self._add(name_in(address), AD_HOC)
        found = queue.dead_letters if dead else queue
        if found is None:
            raise not_found(address[:MAX_NAME])
        return found

    def queues(self) -> Iterator[Queue]:
        for queue in list(self._entities.values()):
            yield queue
            if queue.dead_letters is not None:
                yield queue.dead_letters

    def wake(self, queue: Queue) -> None:
        self._awake.add(queue)
        self._work_to_do()

    def work(self) -> None:
        """Whatever is due, then deliveries, then everything into the journal."""
        self.timers.run(self.now())
        while self._awake:
            self._awake.pop().pump()
        self.journal.commit()
