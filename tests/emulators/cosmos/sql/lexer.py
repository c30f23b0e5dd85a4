"""The words of a query, each with its place."""

import re
from dataclasses import dataclass

from tests.emulators.cosmos.errors import bad_request

TOKEN = re.compile(
    r"""\s+|--[^\n]*
    |(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<parameter>@\w+)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<sign>\?\?|\|\||!=|<>|<=|>=|[-+*/%=<>()\[\]{}.,:?])""",
    re.VERBOSE,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


def syntax_error(text):
    return bad_request(f"Syntax error, incorrect syntax near '{text}'.")


def tokens(query):
    found, at = [], 0
    while at < len(query):
        match = TOKEN.match(query, at)
        if match is None:
            raise syntax_error(query[at : at + 20])
        if match.lastgroup:
            found.append(Token(match.lastgroup, match.group(), match.start(), match.end()))
        at = match.end()
    return [*found, Token("end", "", at, at)]


def unquoted(text):
    def unescaped(match):
        return chr(int(match[1][1:], 16)) if len(match[1]) == 5 else ESCAPES.get(match[1], match[1])

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", unescaped, text[1:-1], flags=re.DOTALL)
