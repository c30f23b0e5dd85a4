"""Route templates of Azure Functions: `items/{id:int}`, `files/{name}.{ext}`, `page/{n?}`, `{*path}`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from loom_core.errors import InvalidError

_PARAMETER = re.compile(r"\{(?P<star>\*{0,2})(?P<name>\w+)(?P<constraints>(?::[^{}?]+)*)(?P<optional>\??)\}")
_CONSTRAINT = re.compile(r":(?P<name>[A-Za-z]+)(?:\((?P<args>(?:[^()]|\([^()]*\))*)\))?")
_MAX_PATH = 8 * 1024

type _Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled template. `rank` sorts the specific first: literal, constrained, free, catch-all."""

    template: str
    pattern: re.Pattern[str]
    checks: tuple[tuple[str, _Check], ...]
    rank: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Give the parameters if `path` (without a leading slash) fits; letter case does not matter."""
        if len(path) > _MAX_PATH or (found := self.pattern.fullmatch(path)) is None:
            return None
        values = {name: value for name, value in found.groupdict().items() if value is not None}
        return values if all(check(values[name]) for name, check in self.checks if name in values) else None


def compile_route(template: str) -> Route:
    """Compile a template. Raises InvalidError for what Azure would not understand either."""
    pattern = ""
    checks: list[tuple[str, _Check]] = []
    rank: list[int] = []
    for segment in filter(None, template.split("/")):
        parameters = list(_PARAMETER.finditer(segment))
        if set(_PARAMETER.sub("", segment)) & set("{}"):
            raise InvalidError(f"route {template!r}: {segment!r} is not a route segment")
        body = ""
        end = 0
        for parameter in parameters:
            body += re.escape(segment[end : parameter.start()])
            body += f"(?P<{parameter['name']}>{'.*' if parameter['star'] else '[^/]+?'})"
            checks += _checks(template, parameter)
            end = parameter.end()
        body = ("/" if pattern else "") + body + re.escape(segment[end:])
        alone = parameters[0] if parameters and parameters[0][0] == segment else None
        optional = alone is not None and (alone["star"] or alone["optional"])
        pattern += f"(?:{body})?" if optional else body
        rank.append(_rank(parameters, alone))
    try:
        return Route(
            template, re.compile(pattern + "/?", re.IGNORECASE | re.DOTALL), tuple(checks), tuple(rank)
        )
    except re.error as error:
        raise InvalidError(f"route {template!r}: {error}") from error


def _rank(parameters: list[re.Match[str]], alone: re.Match[str] | None) -> int:
    if not parameters:
        return 0
    if alone is None or alone["constraints"]:
        return 1
    return 3 if alone["star"] else 2


def _checks(template: str, parameter: re.Match[str]) -> Iterator[tuple[str, _Check]]:
    text, end = parameter["constraints"], 0
    for found in _CONSTRAINT.finditer(text):
        if found.start() != end or (check := _constraint(found["name"].lower(), found["args"])) is None:
            break
        end = found.end()
        yield parameter["name"], check
    if end != len(text):
        raise InvalidError(f"route {template!r}: {text[end:]!r} is not a known constraint")


_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_PATTERNS = {
    "int": r"[+-]?\d{1,10}",
    "long": r"[+-]?\d{1,19}",
    "bool": r"(?i:true|false)",
    "alpha": r"[A-Za-z]*",
    "guid": r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}",
    "decimal": _NUMBER,
    "double": _NUMBER + r"(?:[eE][+-]?\d+)?",
    "float": _NUMBER + r"(?:[eE][+-]?\d+)?",
}


def _constraint(name: str, args: str | None) -> _Check | None:
    if args is None:
        if name == "datetime":
            return _is_datetime
        pattern = _PATTERNS.get(name)
        return (lambda text: re.fullmatch(pattern, text) is not None) if pattern else None
    if name == "regex":
        return lambda text: re.search(args, text, re.IGNORECASE) is not None
    try:
        numbers = [int(number) for number in args.split(",")]
    except ValueError:
        return None
    return _bounds(name, numbers[0], numbers[-1])


def _bounds(name: str, low: int, high: int) -> _Check | None:
    def value(text: str) -> int | None:
        return int(text) if re.fullmatch(_PATTERNS["long"], text) else None

    checks: dict[str, _Check] = {
        "length": lambda text: low <= len(text) <= high,
        "minlength": lambda text: len(text) >= low,
        "maxlength": lambda text: len(text) <= low,
        "min": lambda text: (number := value(text)) is not None and number >= low,
        "max": lambda text: (number := value(text)) is not None and number <= low,
        "range": lambda text: (number := value(text)) is not None and low <= number <= high,
    }
    return checks.get(name)


def _is_datetime(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
