"""Reports the licences of an environment: what texts and metadata say, and where a person has to look."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from activities.distributions import Unreadable
from activities.licence_markdown import markdown
from activities.licence_metadata import Described
from activities.licences import FAMILIES, Claim, Family
from loom_core.activities import activity

# A licence that a text only mentions does not overrule what the metadata states.
CERTAIN = 0.6
COPYLEFT = frozenset({"weak-copyleft", "strong-copyleft", "network-copyleft"})

type Flag = Literal["unknown", "conflict", "ambiguous", "copyleft", "proprietary", "unread", "truncated"]
type Failure = dict[str, Any]


class Licence(TypedDict):
    id: str
    family: Family
    confidence: float


class Classified(TypedDict):
    name: str
    licences: list[Licence]
    family: Family
    fingerprint: str
    holders: list[str]


class Entry(TypedDict):
    name: str
    version: str
    family: Family
    licences: list[str]
    source: Literal["text", "metadata", "none"]
    holders: list[str]
    fingerprint: str | None
    """The same for the same text, whoever holds the copyright."""
    flags: list[Flag]


class Conflict(TypedDict):
    name: str
    version: str
    text: Claim
    metadata: Claim


class Report(TypedDict):
    path: str
    python: str | None
    summary: dict[Family, int]
    packages: list[Entry]
    unknown: list[str]
    conflicts: list[Conflict]
    unreadable: list[Unreadable]
    failed: int
    """How many packages could not be classified at all, for the activity failed."""
    truncated: bool
    markdown: str


@activity("licence-report")
def licence_report(
    *,
    path: str,
    metadata: Sequence[Described | Failure],
    texts: Sequence[Classified | Failure],
    python: str | None = None,
    unreadable: Sequence[Unreadable] = (),
    truncated: bool = False,
) -> Report:
    """Report on an environment.

    `metadata` is what `classify-metadata` answers for each of its packages, `texts` what `licence-classify`
    answers for those with a text; `{"error": ...}` in either stands for an answer that is missing.
    """
    classified: dict[str, Any] = {text["name"]: text for text in texts if "error" not in text}
    described: list[Any] = [package for package in metadata if "error" not in package]
    judged = [_judge(package, classified.get(package["name"])) for package in described]
    packages = [entry for entry, _ in judged]
    counts = Counter(entry["family"] for entry in packages)
    report: Report = {
        "path": path,
        "python": python,
        "summary": {family: counts[family] for family in FAMILIES},
        "packages": packages,
        "unknown": [entry["name"] for entry in packages if entry["family"] == "unknown"],
        "conflicts": [conflict for _, conflict in judged if conflict],
        "unreadable": list(unreadable),
        "failed": len(metadata) - len(described),
        "truncated": truncated,
        "markdown": "",
    }
    return {**report, "markdown": markdown(report)}


def _judge(package: Described, text: Classified | None) -> tuple[Entry, Conflict | None]:
    """Decide between what the metadata states and what the text grants; a person settles conflicts."""
    stated: Claim = {"licences": package["licences"], "family": package["family"]}
    granted = _granted(text, stated)
    verdict, conflict = stated, None
    if granted:
        # An expression knows what a text does not: which of its licences are alternatives.
        if not set(granted["licences"]) <= set(stated["licences"]):
            verdict = granted
        if stated["family"] not in {"unknown", verdict["family"]}:
            conflict = Conflict(
                name=package["name"], version=package["version"], text=granted, metadata=stated
            )
    entry: Entry = {
        "name": package["name"],
        "version": package["version"],
        "family": verdict["family"],
        "licences": verdict["licences"],
        "source": "text" if granted else "none" if package["source"] == "none" else "metadata",
        "holders": text["holders"] if text else [],
        "fingerprint": text["fingerprint"] if text else None,
        "flags": _flags(package, verdict["family"], is_read=text is not None, conflict=conflict is not None),
    }
    return entry, conflict


def _granted(text: Classified | None, stated: Claim) -> Claim | None:
    """What the text grants; None for nothing known, or a mere mention where the metadata says more."""
    if text is None or text["family"] == "unknown":
        return None
    certain = any(licence["confidence"] >= CERTAIN for licence in text["licences"])
    if not certain and stated["family"] != "unknown":
        return None
    most_demanding_first = sorted(text["licences"], key=lambda licence: -FAMILIES.index(licence["family"]))
    return {"licences": [licence["id"] for licence in most_demanding_first], "family": text["family"]}


def _flags(package: Described, family: Family, *, is_read: bool, conflict: bool) -> list[Flag]:
    flags: dict[Flag, bool] = {
        "unknown": family == "unknown",
        "conflict": conflict,
        "ambiguous": package["disagrees"],
        "copyleft": family in COPYLEFT,
        "proprietary": family == "proprietary",
        "unread": package["hasText"] and not is_read,
        "truncated": package["truncated"],
    }
    return [flag for flag, is_up in flags.items() if is_up]
