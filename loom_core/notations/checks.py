"""What every notation checks alike: shapes, expressions, what these refer to. No problem hides another."""

from collections.abc import Collection
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loom_core.errors import InvalidError, Problem
from loom_core.wire.expressions import Expression, Reference, member, parse, parse_value
from loom_core.wire.json import Json

RESERVED = frozenset({"input", "run", "stages", "loop"})
"""The names in an expression's scope that no item and no output may take."""
RUN_KEYS = frozenset({"id", "startedAt", "now", "uuid"})


@dataclass(slots=True)
class Checks:
    """The problems and warnings of one document; `stages` are the names that expressions may refer to."""

    stages: Collection[str] = ()
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])

    def refuse(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def warn(self, path: str, message: str) -> None:
        self.warnings.append(Problem(path, message))

    def shape[Model: BaseModel](self, model: type[Model], document: Json, path: str) -> Model | None:
        """The document as the model has it, or None and the problems at their paths."""
        try:
            return model.model_validate(document)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.refuse(path + _place(document, detail), _message(detail))
            return None

    def read(self, value: Json, path: str, waits: set[str], *, bare: bool = False) -> Expression | None:
        """Parse what stands at the path and note which stages it waits for; `bare` text is an expression."""
        if value is None:
            return None
        try:
            expression = parse(value) if bare and isinstance(value, str) else parse_value(value)
        except InvalidError as error:
            self.problems.extend(Problem(path + found.path[1:], found.message) for found in error.problems)
            return None
        for reference in sorted(expression.references, key=repr):
            self._refer(reference, path, waits)
        return expression

    def wait(self, name: Json, path: str, waits: set[str]) -> None:
        """Note that the stage called `name` is waited for; one that does not exist is a problem."""
        if not isinstance(name, str):
            return
        if name in self.stages:
            waits.add(name)
            return
        longer = next((other for other in self.stages if other.startswith(f"{name}-")), None)
        hint = f"; a name with a dash is written $.stages['{longer}']" if longer else ""
        self.refuse(path, f"there is no stage {name!r}{hint}")

    def _refer(self, reference: Reference, path: str, waits: set[str]) -> None:
        match reference:
            case ("stages", str(name), *_):
                self.wait(name, path, waits)
            case ("stages", *_):
                self.refuse(path, "$.stages must go on with the name of a stage")
            case () | (None, *_):
                self.refuse(path, "$ must go on with a name; the whole input is $.input")
            case ("run", key, *_) if key not in RUN_KEYS:
                self.refuse(path, f"a run has {', '.join(sorted(RUN_KEYS))} and nothing else")
            case _:
                return


def at(value: Json, key: str) -> Json:
    """What an object has under a key; None where there is no object or no such key."""
    return value.get(key) if isinstance(value, dict) else None


def _place(document: Json, detail: ErrorDetails) -> str:
    """The path of a validation error within the document, without the union members that pydantic puts in."""
    path, here = "", document
    for key in detail["loc"]:
        if isinstance(here, list) and isinstance(key, int):
            path, here = f"{path}[{key}]", here[key]
        elif isinstance(here, dict) and (key in here or detail["type"] == "missing"):
            path, here = member(path, str(key)), here.get(str(key))
    return path


def _message(detail: ErrorDetails) -> str:
    known = {"missing": "is required", "extra_forbidden": "is not a known key"}
    return known.get(detail["type"]) or detail["msg"].removeprefix("Input ")
