"""The composition root: settings choose the adapters, folders hold what the app defines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from loom_core.activities import Activities
from loom_core.catalogue.catalogue import Catalogue
from loom_core.catalogue.folders import load_folder, load_modules
from loom_core.catalogue.shipped import load_pipelines
from loom_core.errors import InvalidError, Problem
from loom_core.http.application import application
from loom_core.ports.blobs import BlobStore
from loom_core.ports.state import StateStore
from loom_core.settings import Settings
from loom_core.watches import Watches


@dataclass(frozen=True, slots=True)
class App:
    """What `function_app.py` hands the triggers' calls to."""

    settings: Settings
    state: StateStore
    activities: Activities
    watches: Watches
    pipelines: Catalogue
    http: ASGIApp


def compose(root: Path, environment: Mapping[str, str]) -> App:
    """Build the app whose `activities/`, `wasm/` and `pipelines/` lie in `root`.

    Raises InvalidError with every problem of settings, activities, modules or pipelines; each names its file.
    """
    settings = Settings.read(environment, root)
    problems: list[Problem] = []
    functions = _collect(problems, lambda: load_folder(root / "activities"), [])
    modules = _collect(problems, lambda: load_modules(root / "wasm"), [])
    if problems:
        raise InvalidError(problems)
    state = _state(settings)
    watches = Watches(state)
    activities = Activities(
        functions,
        modules,
        blobs=_blobs(settings),
        cache=settings.data / "compiled",
        own=[watches.activity],
    )
    shipped = load_pipelines(root / "pipelines", activities.names)
    pipelines = Catalogue(shipped, activities.names, state)
    http = application(pipelines, activities.resolve, activities.refer)
    return App(settings, state, activities, watches, pipelines, http)


def _blobs(settings: Settings) -> BlobStore:
    if settings.blobs == "memory":
        from loom_core.adapters.memory import MemoryBlobStore  # noqa: PLC0415 - only the chosen one

        return MemoryBlobStore()
    from loom_core.adapters.files import FileBlobStore  # noqa: PLC0415 - only the chosen one

    return FileBlobStore(settings.data / "blobs")


def _state(settings: Settings) -> StateStore:
    if settings.store == "memory":
        from loom_core.adapters.memory import MemoryStateStore  # noqa: PLC0415 - only the chosen one

        return MemoryStateStore()
    from loom_core.adapters.sqlite import SqliteStateStore  # noqa: PLC0415 - only the chosen one

    return SqliteStateStore(settings.data / "state.db")


def _collect[T](problems: list[Problem], load: Callable[[], T], otherwise: T) -> T:
    try:
        return load()
    except InvalidError as error:
        problems += error.problems
        return otherwise
