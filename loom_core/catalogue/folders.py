"""What the folders of an app hold: Python files that define activities, and WASM modules with manifests."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic import ValidationError

from loom_core.activities import MARK, Definition
from loom_core.actors.actor import Actor
from loom_core.errors import InvalidError, Problem
from loom_core.schema import problems_of
from loom_core.wire.messages import TYPE

RESERVED: Final = frozenset(
    {
        *("http", "health", "run_program", "run_activity", "stop_work", "file_changed"),
        *("actor_turn", "actor_mailbox", "ask", "flush", "sweep"),
    }
)
"""Names of functions of every app."""


def load_folder(folder: Path) -> list[Callable[..., Any]]:
    """The functions marked as activities in the files of a folder. Raises InvalidError as `_load` does."""
    return _load(folder, lambda value: hasattr(value, MARK))


def load_actors(folder: Path) -> dict[str, type[Actor]]:
    """The actor types that the files of a folder define, by name in lower case.

    Raises InvalidError as `_load` does, and for names that two types claim or that Azure refuses.
    """
    types: dict[str, type[Actor]] = {}
    problems: list[Problem] = []
    for kind in _load(folder, lambda value: isinstance(value, type) and issubclass(value, Actor)):
        where = sys.modules[kind.__module__].__file__ or kind.__module__
        other = types.setdefault(kind.name.lower(), kind)
        if not TYPE.match(kind.name) or kind.name.lower() in RESERVED:
            problems.append(Problem(where, f"{kind.name!r} cannot be the name of an actor type"))
        elif other is not kind:
            problems.append(Problem(where, f"{other.__module__} also defines the actor type {kind.name}"))
    if problems:
        raise InvalidError(problems)
    return types


def _load(folder: Path, is_wanted: Callable[[object], bool]) -> list[Any]:
    """Import every Python file of a folder that does not begin with `_`, and give what is wanted of them.

    The modules are named after the folder (`activities/noop.py` is `activities.noop`). Raises InvalidError
    that names every file that fails to import, and why.
    """
    found: dict[int, Any] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("[!_.]*.py")):
        try:
            module = _import(f"{folder.name}.{path.stem}", path.resolve())
        except Exception as error:  # noqa: BLE001 - a file may fail in any way; all failures are told together
            problems.append(Problem(str(path), f"{type(error).__name__}: {error}"))
        else:
            own = (
                value
                for value in vars(module).values()
                if getattr(value, "__module__", "") == module.__name__
            )
            found |= {id(value): value for value in own if is_wanted(value)}
    if problems:
        raise InvalidError(problems)
    return list(found.values())


def load_modules(folder: Path) -> list[Definition]:
    """Read every `<folder>/<activity>/manifest.json` and check that its module is the one it pins.

    Raises InvalidError naming every manifest or module that is not as it should be.
    """
    problems: list[Problem] = []
    definitions: list[Definition] = []
    for path in sorted(folder.glob("*/manifest.json")):
        try:
            definition = Definition.model_validate_json(path.read_bytes())
            module = path.parent / definition.module
            found = hashlib.sha256(module.read_bytes()).hexdigest()
        except ValidationError as error:
            problems += [Problem(str(path), str(problem)) for problem in problems_of(error)]
        except OSError as error:
            problems.append(Problem(str(path), f"{error.filename}: {error.strerror}"))
        else:
            if found != definition.digest:
                problems.append(Problem(str(path), f"$.sha256: {definition.module} has sha256 {found}"))
            definitions.append(definition.model_copy(update={"source": str(module)}))
    if problems:
        raise InvalidError(problems)
    return definitions


def _import(name: str, path: Path) -> ModuleType:
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
