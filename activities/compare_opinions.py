"""Where two classifiers agree, and where a person should look."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypedDict

from activities._markdown import cell
from loom_core.activities import activity
from loom_core.errors import InvalidError

MAX_LISTED = 200
UNDECIDED = "(undecided)"
FAILED = "(failed)"


class Message(TypedDict):
    id: str
    text: str


class Disagreement(TypedDict):
    id: str
    text: str
    labels: dict[str, str]


class Comparison(TypedDict):
    count: int
    agreed: int
    agreement: float | None
    """The share of the texts with one label from both."""
    kappa: float | None
    """Cohen's: agreement beyond chance, 1 at most, 0 as by chance; null where chance alone agrees."""
    confusion: dict[str, dict[str, int]]
    """By the first one's label, then the second one's: how many texts."""
    disagreements: list[Disagreement]
    """The first 200 of them."""
    markdown: str


@activity("compare-opinions")
def compare_opinions(*, messages: list[Message], opinions: dict[str, list[dict[str, Any]]]) -> Comparison:
    """Compare two lists of opinions (`{"label"}`, or `{"error"}` in its place) about the same messages."""
    if len(opinions) != 2 or any(len(given) != len(messages) for given in opinions.values()):
        raise InvalidError("there must be two lists of opinions, with one about each message")
    first, second = ([_label(opinion) for opinion in given] for given in opinions.values())
    pairs = Counter(zip(first, second, strict=True))
    agreed = sum(count for (one, other), count in pairs.items() if one == other)
    confusion: dict[str, dict[str, int]] = {}
    for (one, other), count in sorted(pairs.items()):
        confusion.setdefault(one, {})[other] = count
    disagreements: list[Disagreement] = [
        {"id": message["id"], "text": message["text"], "labels": dict(zip(opinions, labels, strict=True))}
        for message, *labels in zip(messages, first, second, strict=True)
        if labels[0] != labels[1]
    ]
    found: Comparison = {
        "count": len(messages),
        "agreed": agreed,
        "agreement": round(agreed / len(messages), 4) if messages else None,
        "kappa": _kappa(agreed, Counter(first), Counter(second)),
        "confusion": confusion,
        "disagreements": disagreements[:MAX_LISTED],
        "markdown": "",
    }
    return {**found, "markdown": "\n".join(_markdown(found, list(opinions))) + "\n"}


def _label(opinion: dict[str, Any]) -> str:
    return FAILED if "error" in opinion else opinion["label"] or UNDECIDED


def _kappa(agreed: int, first: Counter[str], second: Counter[str]) -> float | None:
    count = first.total()
    chance = sum(times * second[label] for label, times in first.items())
    return round((agreed * count - chance) / (count**2 - chance), 4) if chance < count**2 else None


def _markdown(found: Comparison, names: list[str]) -> Iterator[str]:
    yield "# Second opinion"
    yield ""
    yield f"{names[0]} and {names[1]} agree on {found['agreed']} of {found['count']} texts" + (
        "." if found["kappa"] is None else f" (kappa {found['kappa']:.2f})."
    )
    columns = sorted({label for row in found["confusion"].values() for label in row})
    if columns:
        yield ""
        yield f"| {names[0]} \\ {names[1]} | {' | '.join(map(cell, columns))} |"
        yield "|---" * (len(columns) + 1) + "|"
    for label, row in found["confusion"].items():
        yield f"| {cell(label)} | {' | '.join(str(row.get(column, '')) for column in columns)} |"
    if found["disagreements"]:
        yield from ("", "## To look at", "")
    for one in found["disagreements"]:
        said = ", ".join(f"{name}: {cell(label)}" for name, label in one["labels"].items())
        yield f"- {cell(one['id'])} ({said}): {cell(one['text'])}"
