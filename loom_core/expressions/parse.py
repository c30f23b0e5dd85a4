"""Expressions over JSON: `$.doc.status === "pending"`, `$.items[*]`, `{{ userInfo.email }}`.

A Pratt parser turns text into closures once. An expression reads the data it is given and nothing else: there
is nothing to call. Length, depth, nodes and evaluation steps are bounded, so untrusted text is safe to run.
A path that matches nothing is null; a path that can match many is always a list. See docs/expressions.md.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from loom_core.errors import InvalidError, Problem
from loom_core.expressions import evaluate as do
from loom_core.expressions.evaluate import Evaluate, Every, Filter, Segment
from loom_core.wire.json import Json

MAX_LENGTH = 4_096
MAX_TEMPLATE = 262_144
MAX_NESTING = 32
MAX_NODES = 256
MAX_PARTS = 8_192
_PART_STEPS = 10

type Reference = tuple[str | int | None, ...]
"""The keys a path begins with, from the root; None stands where it goes on to many."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression, template or document; `references` are the paths it reads from `$`.

    `parts` is how many operands, operators and steps of paths, and literals around them, it is made of.
    """

    references: frozenset[Reference]
    run: Evaluate
    parts: int

    def evaluate(self, data: Json) -> Json:
        """Evaluate with `data` as `$`; the result may share parts with it. Raises InvalidError only."""
        try:
            return self.run(do.State(data, _PART_STEPS * self.parts), None)
        except RecursionError:
            raise InvalidError("the data is nested too deep") from None


@lru_cache(maxsize=1024)
def parse(source: str) -> Expression:
    """Parse one expression. Raises InvalidError with the character it stumbled over."""
    if len(source) > MAX_LENGTH:
        raise InvalidError(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(source)
    run = parser.expression()
    parser.expect("end")
    return Expression(frozenset(parser.references), run, parser.parts)


_PLACEHOLDER = re.compile(
    r"""\{\{ ( (?: [^"'}] | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | \}(?!\}) )* ) \}\}""",
    re.VERBOSE | re.DOTALL,
)


def parse_template(text: str) -> Expression:
    """Parse text with `{{ expression }}` in it; text that is one whole placeholder keeps the value's type."""
    if len(text) > MAX_TEMPLATE:
        raise InvalidError(f"a template longer than {MAX_TEMPLATE:,} characters")
    parts: list[Expression] = []
    position = written = 0
    while (start := text.find("{{", position)) >= 0:
        placeholder = _PLACEHOLDER.match(text, start)
        if placeholder is None:
            raise InvalidError(f"'{{{{' without '}}}}' at character {start + 1}")
        if start > position:
            parts.append(_literal(text[position:start]))
        parts.append(parse(placeholder[1]))
        written += parts[-1].parts
        if written > MAX_PARTS:
            raise InvalidError(f"the placeholders of a template have more than {MAX_PARTS:,} parts")
        position = placeholder.end()
    if position < len(text):
        parts.append(_literal(text[position:]))
    if len(parts) == 1:
        return parts[0]
    return _join(parts, do.write([part.run for part in parts]))


def parse_value(value: Json) -> Expression:
    """Parse every string of a JSON document: `$`, `$.…` and `$[…` are expressions, `{{ }}` makes a template.

    Anything else stands for itself. Raises InvalidError with all problems, each path relative to the value.
    """
    problems: list[Problem] = []
    parsed = _document(value, "$", problems, MAX_NESTING)
    if problems:
        raise InvalidError(problems)
    return parsed


def _document(value: Json, path: str, problems: list[Problem], depth: int) -> Expression:
    if depth == 0:
        problems.append(Problem(path, f"nested deeper than {MAX_NESTING} levels"))
    elif isinstance(value, str):
        try:
            if (parsed := _text(value)) is not None:
                return Expression(parsed.references, do.located(path, parsed.run), parsed.parts)
        except InvalidError as error:
            problems.extend(Problem(path, problem.message) for problem in error.problems)
    elif isinstance(value, dict):
        fields = {k: _document(v, member(path, k), problems, depth - 1) for k, v in value.items()}
        return _join(fields.values(), do.arrange({key: field.run for key, field in fields.items()}))
    elif isinstance(value, list):
        items = [_document(item, f"{path}[{i}]", problems, depth - 1) for i, item in enumerate(value)]
        return _join(items, do.collect([item.run for item in items]))
    return _literal(value)


def member(path: str, key: str) -> str:
    """The JSONPath of a key of the object at `path`."""
    is_name = re.fullmatch(r"[^\W\d]\w*", key)
    return f"{path}.{key}" if is_name else f"{path}[{json.dumps(key, ensure_ascii=False)}]"


def _text(text: str) -> Expression | None:
    if text == "$" or text.startswith(("$.", "$[")):
        return parse(text)
    return parse_template(text) if "{{" in text else None


def _literal(value: Json) -> Expression:
    return Expression(frozenset(), do.Constant(value), 1)


def _join(parts: Collection[Expression], run: Evaluate) -> Expression:
    references = frozenset[Reference]().union(*(part.references for part in parts))
    return Expression(references, run, 1 + sum(part.parts for part in parts))


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number> [0-9]+ (?:\.[0-9]+)? (?:[eE][+-]?[0-9]+)? )
      | (?P<string> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
      | (?P<name> [^\W\d]\w* )
      | (?P<symbol> === | !== | == | != | <= | >= | && | \|\| | \?\? | \.\. | [$@?:!<>()\[\],.*/%+-] )
      | (?P<end> $ )
    )""",
    re.VERBOSE | re.DOTALL,
)
_LEVELS = ("??", "||", "&&", "=== !== == !=", "< <= > >= in", "+ -", "* / %")
_POWERS = {symbol: power for power, level in enumerate(_LEVELS, 1) for symbol in level.split()}
_STEPS = {"!": 2, "-": 44, "[": 16}
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None, "undefined": None}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int

    @property
    def name(self) -> str:
        """What the grammar asks for: the symbol or keyword itself, or the kind of token."""
        return self.text if self.kind == "symbol" or self.text == "in" else self.kind


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(source, position)
        if match is None or match.lastgroup is None:
            start = position + len(source[position:]) - len(source[position:].lstrip())
            raise InvalidError(f"unexpected {source[start]!r} at character {start + 1}")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        position = match.end()
    return found


def _unquote(quoted: str) -> str:
    def as_json(escape: re.Match[str]) -> str:
        return {"\\'": "'", '"': '\\"'}.get(escape[0], escape[0])

    body = re.sub(r'\\.|"', as_json, quoted[1:-1], flags=re.DOTALL)
    try:
        text: str = json.loads(f'"{body}"', strict=False)
        text.encode()
    except ValueError:
        raise InvalidError(f"{quoted[:40]!r} is not a valid string") from None
    return text


class _Parser:
    def __init__(self, source: str) -> None:
        self.references: set[Reference] = set()
        self._tokens = _tokens(source)
        self._at = 0
        self._depth = 0
        self._filters = 0
        self._steps = 0
        self.parts = 0

    def expression(self, floor: int = 0) -> Evaluate:
        """Parse as far as the operators bind tighter than `floor`."""
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise InvalidError(f"nested deeper than {MAX_NESTING} levels")
        left = self._operand()
        while _POWERS.get(self._next.name, 0) > floor:
            symbol = self._take().text
            right = self.expression(_POWERS[symbol])
            self._count(do.cost(symbol, right))
            left = do.binary(symbol, left, right)
        if floor == 0 and self._skip("?"):
            yes = self.expression()
            self.expect(":")
            left = do.choose(left, yes, self.expression())
        self._depth -= 1
        return left

    def _operand(self) -> Evaluate:
        token = self._take()
        self._count(_STEPS.get(token.name, 1))
        match token.name:
            case "number":
                value = do.Constant(self._number(token))
            case "string":
                value = do.Constant(_unquote(token.text))
            case "name" if token.text in _WORDS:
                value = do.Constant(_WORDS[token.text])
            case "name":
                value = self._path((token.text,), current=False)
            case "$" | "@" if token.text == "$" or self._filters:
                value = self._path((), current=token.text == "@")
            case "!" | "-":
                operand = self.expression(len(_LEVELS))
                value = do.negate(operand) if token.text == "!" else do.minus(operand)
            case "(":
                value = self.expression()
                self.expect(")")
            case "[":
                value = do.collect(self._list())
            case _:
                self._refuse(token)
        return value

    def _list(self) -> list[Evaluate]:
        items: list[Evaluate] = []
        while not self._skip("]"):
            if items:
                self.expect(",")
            items.append(self.expression())
        return items

    def _path(self, begun: tuple[Segment, ...], *, current: bool) -> Evaluate:
        segments = list(begun)
        while (token := self._next).name in {".", "..", "["}:
            self._count(3)
            if token.name == "..":
                self._take()
                segments.append(Every.DESCENDANT)
                segments.append(self._bracket() if self._skip("[") else self._member())
            else:
                segments.append(self._bracket() if self._take().text == "[" else self._member())
            if not isinstance(segments[-1], str) or segments[-1] in do.SPECIAL:
                self._steps += 10
        if self._next.name == "(":
            raise InvalidError(_no_call(segments))
        if not current:
            self.references.add(_reference(segments))
        return do.path(tuple(segments), current=current)

    def _member(self) -> Segment:
        if self._skip("*"):
            return Every.CHILD
        token = self._take()
        return token.text if token.kind == "name" else self._refuse(token)

    def _bracket(self) -> Segment:
        if self._skip("?"):
            segment: Segment = self._filter()
        elif self._skip("*"):
            segment = Every.CHILD
        elif self._next.kind == "string":
            segment = _unquote(self._take().text)
        else:
            segment = self._index_or_slice()
        self.expect("]")
        return segment

    def _filter(self) -> Filter:
        before = self._steps
        self._filters += 1
        test = self.expression()
        self._filters -= 1
        return Filter(test, 3 + self._steps - before)

    def _index_or_slice(self) -> int | slice:
        first = self._integer()
        if not self._skip(":"):
            return self._refuse(self._next) if first is None else first
        end = self._integer()
        step = self._integer() if self._skip(":") else None
        if step == 0:
            raise InvalidError("a slice cannot have step 0")
        return slice(first, end, step)

    def _integer(self) -> int | None:
        sign = -1 if self._skip("-") else 1
        if self._next.kind != "number" or not self._next.text.isdecimal():
            return None if sign == 1 else self._refuse(self._next)
        return sign * int(self._number(self._take()))

    @staticmethod
    def _number(token: _Token) -> float:
        return do.in_range(int(token.text) if token.text.isdecimal() else float(token.text))

    def _count(self, steps: int) -> None:
        self._steps += steps
        self.parts += 1
        if self.parts > MAX_NODES:
            raise InvalidError(f"more than {MAX_NODES} parts")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _skip(self, name: str) -> bool:
        if self._next.name != name:
            return False
        self._take()
        return True

    def expect(self, name: str) -> None:
        if self._next.name != name:
            self._refuse(self._next)
        self._take()

    def _refuse(self, token: _Token) -> NoReturn:
        if token.kind == "end":
            raise InvalidError("the expression ends too early")
        raise InvalidError(f"unexpected {token.text[:40]!r} at character {token.start + 1}")


def _reference(segments: Sequence[Segment]) -> Reference:
    reference: list[str | int | None] = []
    for segment in segments:
        reference.append(segment if isinstance(segment, str | int) else None)
        if reference[-1] is None:
            break
    return tuple(reference)


def _no_call(segments: Sequence[Segment]) -> str:
    called = segments[-1] if segments and isinstance(segments[-1], str) else ""
    return (
        f"an expression cannot call anything, so not {called[:40]}(): write what it decides as a condition "
        '($.size > 1000 ? "large" : "small"), or let an earlier stage compute it and read $.stages.Name'
    )
