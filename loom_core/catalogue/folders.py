"""What the folders of an app hold: Python files that define activities, and WASM modules with manifests."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from loom_core.activities import MARK, Definition
from loom_core.activities.schema import problems_of
from loom_core.errors import InvalidError, Problem


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
