"""What every notation checks alike: shapes, expressions, what these refer to. No problem hides another."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loom_core.errors import InvalidError, Problem
from loom_core.expressions.parse import Expression, Reference, member, parse, parse_value
from loom_core.notations.order import circle, circles
from loom_core.wire.json import Json, dump

MAX_PROBLEMS = 200
"""Nothing is checked further after so many, and so many warnings are noted."""
MAX_EXPRESSIONS = 64 * 1024
"""The characters of all expressions of a definition, without the texts that they stand in."""
RESERVED = frozenset({"input", "run", "stages", "loop"})
"""The names in an expression's scope that no item and no output may take."""
RUN_KEYS = frozenset({"id", "startedAt", "now", "uuid"})
_PLACEHOLDER = re.compile(r"\{\{(.*?)(?:\}\}|\Z)", re.DOTALL)


@dataclass(slots=True)
class Checks:
    """The problems and warnings of one document.

    `stages` are the names that expressions may refer to where the check is, `elsewhere` those that exist but
    may not be referred to from there. `fields`, if not None, are all the names that can have a value besides.
    """

    stages: Collection[str] = ()
    elsewhere: Collection[str] = ()
    fields: Collection[str] | None = None
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])
    parsed: int = 0

    def refuse(self, path: str, message: str) -> None:
        """Note a problem. Raises InvalidError when there are too many to go on."""
        if len(self.problems) == MAX_PROBLEMS:
            raise InvalidError([*self.problems, Problem("$", "has more problems than these")])
        _add(self.problems, Problem(path, message))

    def warn(self, path: str, message: str) -> None:
        if len(self.warnings) < MAX_PROBLEMS:
            _add(self.warnings, Problem(path, message))

    def shape[Model: BaseModel](self, model: type[Model], document: Json, path: str) -> Model | None:
        """The document as the model has it, or None and the problems at their paths.

        Raises InvalidError at once if the whole document has a list that is too long to look at all of it.
        """
        try:
            return model.model_validate(document)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
        for detail in details:
            self.refuse(path + _place(document, detail), _message(detail))
        if path == "$" and any(detail["type"] == "too_long" for detail in details):
            raise InvalidError(self.problems)
        return None

    def passed[Model](self, written: Model | None) -> Model:
        """What was checked. Raises InvalidError with every problem there is."""
        if self.problems or written is None:
            raise InvalidError(self.problems)
        return written

    def one_of(self, draft: Json, path: str, keys: Sequence[str], *, missing: str = "", double: str) -> str:
        """The first of the keys that the draft has, or "".

        Others beside it are refused (in `double`, `{}` is the first), and if `missing` says so, having none.
        """
        given = [key for key in keys if at(draft, key) is not None]
        for other in given[1:]:
            self.refuse(f"{path}.{other}", double.format(given[0]))
        if missing and not given:
            self.refuse(f"{path}.{keys[0]}", missing)
        return given[0] if given else ""

    def forbid(self, draft: Json, path: str, keys: Iterable[str], message: str) -> None:
        """Refuse each of the keys that the draft has."""
        for key in keys:
            if at(draft, key) is not None:
                self.refuse(f"{path}.{key}", message)

    def read(
        self, draft: Json, path: str, key: str, waits: set[str] | None = None, *, bare: bool = False
    ) -> Expression | None:
        """Parse what the draft at the path has under a key, and note which stages it waits for.

        `bare` text is an expression, within `{{ }}` or not; other text is read as in an input.
        """
        value, path = at(draft, key), f"{path}.{key}"
        expression = self.parse(value, path, "{}" if bare and isinstance(value, str) else "")
        for reference in sorted(expression.references, key=repr) if expression else ():
            self._refer(reference, path, set() if waits is None else waits)
        return expression

    def parse(self, value: Json, path: str, how: str = "") -> Expression | None:
        """Parse a value with expressions in it, or, with `how`, an expression that it is put into at `{}`.

        All problems are noted. Raises InvalidError if the document's expressions are too long together.
        """
        if value is None:
            return None
        self.parsed += len(unwrapped(value)) if how else _expressions(value)
        if self.parsed > MAX_EXPRESSIONS:
            message = f"the expressions of a definition have at most {MAX_EXPRESSIONS:,} characters together"
            raise InvalidError([*self.problems, Problem(path, message)])
        try:
            return parse(how.format(unwrapped(value))) if how else parse_value(value)
        except InvalidError as error:
            for found in error.problems:
                self.refuse(path + found.path[1:], found.message)
            return None

    def wait(self, name: Json, path: str, waits: set[str]) -> None:
        """Note that the stage called `name` is waited for; one that does not exist is a problem."""
        if not isinstance(name, str):
            return
        if name in self.stages:
            waits.add(name)
            return
        if name in self.elsewhere:
            self.refuse(path, f"{name!r} is not done before this, or in another branch")
            return
        longer = next((other for other in self.stages if other.startswith(f"{name}-")), None)
        hint = f"; a name with a dash is written $.stages['{longer}']" if longer else ""
        self.refuse(path, f"there is no stage {name!r}{hint}")

    def refuse_doubles(self, paths: Mapping[str, str], key: str) -> None:
        """Refuse each name (by the path that has it) that stands at an earlier path too; "" is no name."""
        first: dict[str, str] = {}
        for path, name in paths.items():
            if name and first.setdefault(name, path) != path:
                self.refuse(f"{path}.{key}", f"{name!r} is the {key} of {first[name]} already")

    def refuse_circles(self, waits: Mapping[str, Collection[str]], paths: Mapping[str, str]) -> None:
        """Refuse stages that wait for each other, at the path of one of them."""
        ways = {name: sorted(others) for name, others in waits.items()}
        for found in circles(ways):
            way = circle(ways, found)
            self.refuse(paths[way[0]], f"waits for itself: {' -> '.join(way)}")

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
            case ("input", str(name), *_):
                self.look_in_input(name, path)
            case (str(name), *_) if name not in RESERVED:
                self.look_up(name, path)
            case _:
                return

    def look_up(self, name: str, path: str) -> None:
        """Check a name that an expression begins with."""
        self.look_in_input(name, path)

    def look_in_input(self, name: str, path: str) -> None:
        """Check a field of the input."""
        if self.fields is not None and name not in self.fields:
            self.warn(path, f"the input's schema has no {name!r}")


def closed_fields(schema: Json, others: Iterable[str] = ()) -> Collection[str] | None:
    """The fields that an input can have, and other names; None if its schema leaves room for more."""
    properties = at(schema, "properties")
    is_open = at(schema, "additionalProperties") is not False or at(schema, "patternProperties") is not None
    if is_open or not isinstance(properties, dict):
        return None
    return {*properties, *others}


def at(value: Json, key: str) -> Json:
    """What an object has under a key; None where there is no object or no such key."""
    return value.get(key) if isinstance(value, dict) else None


def text_at(value: Json, key: str) -> str:
    """The string that an object has under a key, or ""."""
    found = at(value, key)
    return found if isinstance(found, str) else ""


def list_at(value: Json, key: str) -> Sequence[Json]:
    """The list that an object has under a key, or an empty one."""
    found = at(value, key)
    return found if isinstance(found, list) else []


def unwrapped(value: Json) -> str:
    """The expression in text that is one whole `{{ }}`, or the text: no expression begins with a brace."""
    if not isinstance(value, str):
        return dump(value)
    text = value.strip()
    return text[2:-2] if text.startswith("{{") and text.endswith("}}") else value


def _expressions(value: Json) -> int:
    """The characters of the expressions in a value."""
    if isinstance(value, str):
        return len(value) if value[:1] == "$" else sum(map(len, _PLACEHOLDER.findall(value)))
    if isinstance(value, dict | list):
        return sum(map(_expressions, value.values() if isinstance(value, dict) else value))
    return 0


def _add(known: list[Problem], problem: Problem) -> None:
    if problem not in known:
        known.append(problem)


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
    known = {
        "missing": "is required",
        "extra_forbidden": "is not a known key",
        "model_type": "should be an object",
    }
    return known.get(detail["type"]) or detail["msg"].removeprefix("Input ")
