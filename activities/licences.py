"""Licences and their families, and how metadata spells them. The rules are data: licences.json."""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

type Family = Literal[
    "public-domain",
    "permissive",
    "weak-copyleft",
    "strong-copyleft",
    "network-copyleft",
    "proprietary",
    "unknown",
]
FAMILIES: tuple[Family, ...] = (
    "public-domain",
    "permissive",
    "weak-copyleft",
    "strong-copyleft",
    "network-copyleft",
    "proprietary",
    "unknown",
)
"""From the least to the most that is asked of who passes the software on; the unknown may ask anything."""

MAX_EXPRESSION = 1_000
MAX_DEPTH = 20
# Words that do not tell licences apart.
NOISE = frozenset(
    (
        *("a", "and", "clause", "general", "gnu", "later", "license", "licensed", "licence", "only", "open"),
        *("or", "public", "software", "source", "style", "the", "under", "version"),
    )
)
ABBREVIATIONS = {"affero": "agpl", "lesser": "lgpl", "library": "lgpl", "gnu general public": "gpl"}


class Claim(TypedDict):
    licences: list[str]
    family: Family


class _Rules(NamedTuple):
    licences: dict[str, tuple[str, Family]]
    classifiers: dict[str, str]
    names: dict[str, str]


@cache
def _rules() -> _Rules:
    data = json.loads(Path(__file__).with_name("licences.json").read_text("utf-8"))
    licences: dict[str, tuple[str, Family]] = {}
    for family in FAMILIES:
        licences.update((name.lower(), (name, family)) for name in data["families"][family])
    return _Rules(licences, data["classifiers"], data["names"])


def family_of(licence: str) -> Family:
    """The family of an SPDX licence identifier; unknown when the rules do not have it."""
    found = _rules().licences.get(licence.lower())
    return found[1] if found else "unknown"


def strictest(families: Sequence[Family]) -> Family:
    """The most demanding family; unknown when there is none."""
    return FAMILIES[max(map(FAMILIES.index, families), default=-1)]


def read_expression(text: str) -> Claim | None:
    """Read an SPDX expression: the least demanding of alternatives, the most demanding of what is combined.

    Returns None for what is none, and where no licence in it is known.
    """
    tokens = re.findall(r"[()]|[^\s()]+", text[: MAX_EXPRESSION + 1])
    if not tokens or len(text) > MAX_EXPRESSION or tokens.count("(") > MAX_DEPTH:
        return None
    found: dict[str, Family] = {}
    tokens.reverse()
    try:
        family = _alternatives(tokens, found)
    except (IndexError, ValueError):
        return None
    if tokens or set(found.values()) == {"unknown"}:
        return None
    return {"licences": list(found), "family": family}


def _alternatives(tokens: list[str], found: dict[str, Family]) -> Family:
    family = _combined(tokens, found)
    while tokens and tokens[-1] == "OR":
        tokens.pop()
        family = FAMILIES[min(FAMILIES.index(family), FAMILIES.index(_combined(tokens, found)))]
    return family


def _combined(tokens: list[str], found: dict[str, Family]) -> Family:
    family = _licence(tokens, found)
    while tokens and tokens[-1] == "AND":
        tokens.pop()
        family = strictest([family, _licence(tokens, found)])
    return family


def _licence(tokens: list[str], found: dict[str, Family]) -> Family:
    word = tokens.pop()
    if word == "(":
        family = _alternatives(tokens, found)
        if tokens.pop() != ")":
            raise ValueError("a parenthesis is not closed")
        return family
    if word == ")" or word in {"AND", "OR", "WITH"}:
        raise ValueError("a licence is missing")
    licence = base = re.sub(r"(-only|-or-later|\+)$", "", word)
    if tokens and tokens[-1] == "WITH":
        tokens.pop()
        licence = f"{base} WITH {tokens.pop()}"
    known = _rules().licences
    # An exception only ever permits more.
    licence, family = known.get(licence.lower(), (licence, family_of(base)))
    found[licence] = family
    return family


def read_field(text: str) -> Claim | None:
    """Read the free-form licence field: an expression, or a name as people write it. None for neither."""
    claim = read_expression(text)
    if claim or len(text) > MAX_EXPRESSION:
        return claim
    name = _rules().names.get(normal_name(text))
    return {"licences": [name], "family": family_of(name)} if name else None


def normal_name(text: str) -> str:
    """Reduce a licence's name to what tells it apart: `The GNU GPL, version 3.0 or later` becomes `3 gpl`."""
    text = re.sub(r"\([^)]*\)", " ", text.lower())
    for long, short in ABBREVIATIONS.items():
        text = text.replace(long, short)
    text = re.sub(r"(?<![a-z])v(?=[\s.]*\d)|(?<=[a-z])v?(?=\d)", " ", text)
    words = {re.sub(r"(\.0)+$", "", word) for word in re.findall(r"[a-z]+|\d+(?:\.\d+)*", text)}
    return " ".join(sorted(words - NOISE))


def read_classifiers(classifiers: list[str]) -> Claim | None:
    """Read trove classifiers. Several count as combined, for they do not say how they belong together."""
    known = _rules().classifiers
    licences = list(dict.fromkeys(known[classifier] for classifier in classifiers if classifier in known))
    return {"licences": licences, "family": strictest([*map(family_of, licences)])} if licences else None
