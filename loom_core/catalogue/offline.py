"""Checking and drawing pipeline files without a host."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loom_core.activities import MARK
from loom_core.catalogue.catalogue import schema_problems
from loom_core.catalogue.folders import load_actors, load_folder, load_modules
from loom_core.catalogue.names import Known as Names
from loom_core.catalogue.names import check
from loom_core.catalogue.pipeline import Pipeline, read
from loom_core.catalogue.shipped import nested_problems
from loom_core.catalogue.text import decode, lines
from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Known:
    """What the definitions of an app can call: names by kind, and pipelines by name."""

    names: Names
    pipelines: Mapping[str, Pipeline]


@dataclass(slots=True)
class Report:
    """What was found in a file; `pipeline` is None if it holds none that could run."""

    file: str
    text: str = ""
    pipeline: Pipeline | None = None
    problems: list[Problem] = field(default_factory=list[Problem])

    def document(self) -> JsonObject:
        """As JSON; each problem and warning has the line it stands on."""
        place = self._places()
        warnings = self.pipeline.warnings if self.pipeline else ()
        return {
            "file": self.file,
            "valid": not self.problems,
            "name": self.pipeline.name if self.pipeline else None,
            "version": self.pipeline.version if self.pipeline else None,
            "problems": [_located(problem, place) for problem in self.problems],
            "warnings": [_located(warning, place) for warning in warnings],
        }

    def _places(self) -> Mapping[str, int]:
        if not self.problems and not (self.pipeline and self.pipeline.warnings):
            return {}
        broken = next((re.match(r"not JSON(?:: .*line (\d+) )?", p.message) for p in self.problems), None)
        return {"$": int(broken[1] or 1)} if broken else lines(self.text)


def known(root: Path) -> Known:
    """What the app in this folder has.

    Imports its activities and its actors. Raises InvalidError naming every file that fails; pipelines that
    are wrong are left out.
    """
    functions = load_folder(root / "activities")
    names = [*(getattr(one, MARK) for one in functions), *(one.name for one in load_modules(root / "wasm"))]
    types = [kind.name for kind in load_actors(root / "actors").values()]
    reports = [_report(str(path), path.read_bytes(), None) for path in (root / "pipelines").glob("*.json")]
    return Known(
        {"activity": names, "actor": types},
        {one.pipeline.name: one.pipeline for one in reports if one.pipeline},
    )


def examine(files: Iterable[tuple[str, bytes]], there: Known | None) -> Iterator[Report]:
    """Check files together, so that they may call each other; without `there`, no name is looked up."""
    reports = [_report(file, data, there) for file, data in files]
    if there is not None:
        given = {one.pipeline.name: one.pipeline for one in reports if one.pipeline}
        pipelines = {**there.pipelines, **given}
        for report in reports:
            if report.pipeline is not None:
                report.problems += nested_problems(report.pipeline, pipelines)
    seen: dict[tuple[Path, str], str] = {}
    for report in reports:
        if report.pipeline is not None:
            key = (Path(report.file).parent, report.pipeline.name)
            other = seen.setdefault(key, report.file)
            if other != report.file:
                message = f"{other} also defines a pipeline {report.pipeline.name!r}"
                report.problems.append(Problem("$.name", message))
        yield report


def draw(data: bytes) -> str:
    """The pipeline as a Mermaid flowchart. Raises InvalidError with everything that is wrong with it."""
    from loom_core.notations.diagram import mermaid  # noqa: PLC0415 - checking draws nothing

    document = decode(data)
    return mermaid(read(_object(document)).plan)


def _report(file: str, data: bytes, there: Known | None) -> Report:
    report = Report(file)
    try:
        document = decode(data)
    except InvalidError as error:
        report.text = data.decode("utf-8-sig", "replace")
        report.problems += error.problems
        return report
    report.text = data.decode("utf-8-sig")
    try:
        report.pipeline = read(_object(document))
    except InvalidError as error:
        report.problems += error.problems
    if there is not None:
        report.problems[:] = check(document, there.names)[1]
    if report.pipeline is not None:
        report.problems += schema_problems(report.pipeline.plan.input_schema)
    return report


def _object(document: Json) -> JsonObject:
    if not isinstance(document, Mapping):
        raise InvalidError("a pipeline is an object")
    return document


def _located(problem: Problem, places: Mapping[str, int]) -> JsonObject:
    path = problem.path
    while path not in places and path != (shorter := re.sub(r"(\.\w+|\[[^\]]*\])$", "", path)):
        path = shorter
    return {"path": problem.path, "message": problem.message, "line": places.get(path, 1)}
