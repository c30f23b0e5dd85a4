"""The composition root: settings choose the adapters, folders hold what the app defines."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from loom_core.activities import Activities, load_folder, load_modules
from loom_core.errors import InvalidError, Problem
from loom_core.http.application import application
from loom_core.http.pipelines import Shipped
from loom_core.notations import parse
from loom_core.ports.blobs import BlobStore
from loom_core.ports.state import StateStore
from loom_core.settings import Settings
from loom_core.watches import Watches
from loom_core.wire.json import Json


@dataclass(frozen=True, slots=True)
class App:
    """What `function_app.py` hands the triggers' calls to."""

    settings: Settings
    state: StateStore
    activities: Activities
    watches: Watches
    pipelines: Mapping[str, Shipped]
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
    pipelines = load_pipelines(root / "pipelines", activities.names)
    http = application(pipelines, activities.resolve, activities.refer)
    return App(settings, state, activities, watches, pipelines, http)


def load_pipelines(folder: Path, activities: frozenset[str]) -> dict[str, Shipped]:
    """Parse every `*.json` of the folder; a pipeline's name is the one in its document.

    Raises InvalidError with all problems: of JSON, of definitions, activities that do not exist, names that
    are taken.
    """
    problems: list[Problem] = []
    found: dict[str, tuple[Path, Shipped]] = {}
    for path in sorted(folder.glob("*.json")):
        own: list[Problem] = []
        shipped = _load_pipeline(path, activities, own)
        problems += [Problem(str(path), str(problem)) for problem in own]
        if shipped is None:
            continue
        other = found.setdefault(shipped.name, (path, shipped))[0]
        if other != path:
            problems.append(Problem(str(path), f"{other} also defines a pipeline {shipped.name!r}"))
    if problems:
        raise InvalidError(problems)
    return {name: shipped for name, (_, shipped) in found.items()}


def _load_pipeline(path: Path, activities: frozenset[str], problems: list[Problem]) -> Shipped | None:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        problems.append(Problem("$", f"not JSON: {error}"))
        return None
    plan = _collect(problems, lambda: parse(document), None)
    problems += _missing(document, activities)
    return plan and Shipped(plan.name, plan.version, document, plan.input_schema, plan.warnings)


def _missing(document: Json, activities: frozenset[str]) -> list[Problem]:
    """Every activity that is called and does not exist, whatever else is wrong with the definition."""
    stages = document.get("stages") if isinstance(document, dict) else None
    called = [
        (index, stage.get("activity"))
        for index, stage in enumerate(stages if isinstance(stages, list) else ())
        if isinstance(stage, dict)
    ]
    return [
        Problem(f"$.stages[{index}].activity", f"there is no activity {name!r}")
        for index, name in called
        if isinstance(name, str) and name not in activities
    ]


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
