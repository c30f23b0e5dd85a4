"""The licence report as Markdown, for people."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from activities._markdown import cell
from activities.licences import family_of

if TYPE_CHECKING:
    from activities.licence_report import Entry, Report

MAX_LISTED = 6
TO_LOOK_AT = {
    "unknown": "neither the text nor the metadata names a licence known here",
    "conflict": "the text is of another family than the metadata states",
    "ambiguous": "the metadata names different families",
    "proprietary": "not a free licence",
    "unread": "the text could not be classified, so the metadata is taken at its word",
    "truncated": "the text is too long and was read in part",
}


def markdown(report: "Report") -> str:
    """Write the report's table by family, then what to look at, then every package."""
    return "\n".join([*_heading(report), *_families(report), *_to_look_at(report), *_packages(report)]) + "\n"


def _heading(report: "Report") -> Iterator[str]:
    python = f" for Python {report['python']}" if report["python"] else ""
    yield "# Licence audit"
    yield ""
    yield f"{len(report['packages'])} packages{python} in {cell(report['path'])}."
    if report["truncated"]:
        yield "**There are more packages than could be listed.**"
    if report["failed"]:
        yield f"**Packages that could not be classified: {report['failed']}.**"


def _families(report: "Report") -> Iterator[str]:
    yield from ("", "| family | packages | licences |", "|---|---:|---|")
    for family, count in report["summary"].items():
        named = (licence for e in report["packages"] if e["family"] == family for licence in e["licences"])
        uses = Counter(licence for licence in named if family_of(licence) == family).most_common()
        listed = ", ".join(f"{licence} ({times})" for licence, times in uses[:MAX_LISTED])
        more = f", {len(uses) - MAX_LISTED} more" if len(uses) > MAX_LISTED else ""
        if count:
            yield f"| {family} | {count} | {cell(listed + more)} |"


def _to_look_at(report: "Report") -> Iterator[str]:
    conflicts = {conflict["name"]: conflict for conflict in report["conflicts"]}
    flagged = [(flag, [e for e in report["packages"] if flag in e["flags"]]) for flag in TO_LOOK_AT]
    if not report["unreadable"] and not any(entries for _, entries in flagged):
        return
    yield from ("", "## To look at")
    for flag, entries in flagged:
        if entries:
            yield from ("", f"**{flag}**: {TO_LOOK_AT[flag]}", "")
        for entry in entries:
            line = f"- {cell(entry['name'])} {cell(entry['version'])}"
            if flag == "conflict":
                text, metadata = conflicts[entry["name"]]["text"], conflicts[entry["name"]]["metadata"]
                line += f": text {text['family']} ({_licences(text['licences'])})"
                line += f", metadata {metadata['family']} ({_licences(metadata['licences'])})"
            elif entry["licences"]:
                line += f": {_licences(entry['licences'])}"
            yield line
    if report["unreadable"]:
        yield from ("", "**unreadable**: installed, but its metadata cannot be read", "")
    for unreadable in report["unreadable"]:
        yield f"- {cell(unreadable['name'])}: {cell(unreadable['reason'])}"


def _packages(report: "Report") -> Iterator[str]:
    yield from ("", "## Packages", "")
    yield from ("| package | version | family | licences | by | flags |", "|---|---|---|---|---|---|")
    yield from map(_row, report["packages"])


def _row(entry: "Entry") -> str:
    cells = (entry["name"], entry["version"], entry["family"], ", ".join(entry["licences"]), entry["source"])
    return "| " + " | ".join(map(cell, (*cells, ", ".join(entry["flags"])))) + " |"


def _licences(licences: list[str]) -> str:
    return cell(", ".join(licences))
