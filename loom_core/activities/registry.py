"""`@activity`: plain functions that carry a name, found by importing the files of a folder."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from loom_core.activities.definition import NAME
from loom_core.errors import InvalidError, Problem

MARK = "__loom_activity__"


def activity[F: Callable[..., Any]](name: str) -> Callable[[F], F]:
    """Name a function, sync or async, as an activity; the function itself stays as it is.

    A function with one parameter is given the whole input. With several parameters, or keyword-only ones, the
    input is an object with these keys. Type hints and pydantic models among them are checked, strictly, and
    make the schema; a parameter without a hint takes any JSON.

    Raises InvalidError for a name that is not a letter and up to 63 more of `A-Za-z0-9._-`.
    """
    if not re.fullmatch(NAME, name):
        raise InvalidError(f"{name!r} is not a name for an activity")

    def mark(function: F) -> F:
        if not inspect.isfunction(cast("object", function)):
            raise InvalidError(f"the activity {name} is not a function: {function!r}")
        setattr(function, MARK, name)
        return function

    return mark


def load_folder(folder: Path) -> list[Callable[..., Any]]:
    """Import every Python file of a folder that does not begin with `_`, and give the activities they define.

    The modules are named after the folder (`activities/noop.py` is `activities.noop`). Raises InvalidError
    that names every file that fails to import, and why.
    """
    found: dict[int, Callable[..., Any]] = {}
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
            found |= {id(value): value for value in own if hasattr(value, MARK)}
    if problems:
        raise InvalidError(problems)
    return list(found.values())


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
