"""The pipelines an app ships: the `*.json` of a folder, read and checked together."""

from collections.abc import Mapping
from pathlib import Path

from loom_core.catalogue.closure import Closure, Search
from loom_core.catalogue.names import Known, check
from loom_core.catalogue.pipeline import Pipeline, named, read
from loom_core.catalogue.text import decode
from loom_core.errors import InvalidError, Problem


def load_pipelines(folder: Path, there: Known) -> dict[str, Pipeline]:
    """Parse every `*.json` of the folder; a pipeline's name is the one in its document.

    Raises InvalidError with all problems: of JSON, of definitions, of what they call and is not there, of
    pipelines that call each other in a circle, of names that are taken.
    """
    problems: list[Problem] = []
    found: dict[str, tuple[Path, Pipeline]] = {}
    for path in sorted(folder.glob("*.json")):
        own: list[Problem] = []
        pipeline = _load(path, there, own)
        problems += [Problem(str(path), str(problem)) for problem in own]
        if pipeline is None:
            continue
        other = found.setdefault(pipeline.name, (path, pipeline))[0]
        if other != path:
            problems.append(Problem(str(path), f"{other} also defines a pipeline {pipeline.name!r}"))
    shipped = {name: pipeline for name, (_, pipeline) in found.items()}
    for path, pipeline in found.values():
        nested = nested_problems(pipeline, shipped)
        problems += [Problem(str(path), str(problem)) for problem in nested]
    if problems:
        raise InvalidError(problems)
    return shipped


def nested_problems(pipeline: Pipeline, there: Mapping[str, Pipeline]) -> list[Problem]:
    """What is wrong with the pipelines it calls, if these are all there are."""
    closure = Closure(pipeline, there)
    answer(closure.search(), there)
    return closure.problems


def answer(search: Search[None], there: Mapping[str, Pipeline]) -> None:
    """Run a search over pipelines that are at hand."""
    found: Pipeline | None = None
    while True:
        try:
            written = search.send(found)
        except StopIteration:
            return
        name, version = named(written)
        found = there.get(name)
        if found is not None and version and not is_version(found, version):
            found = None


def is_version(pipeline: Pipeline, version: str) -> bool:
    """Whether this is a way to write its version: the label, or 8 digits and more of the digest."""
    return version == pipeline.label or (len(version) >= 8 and pipeline.version.startswith(version))


def _load(path: Path, there: Known, problems: list[Problem]) -> Pipeline | None:
    try:
        document = decode(path.read_bytes())
    except OSError as error:
        problems.append(Problem("$", f"cannot be read: {error.strerror}"))
        return None
    except InvalidError as error:
        problems += error.problems
        return None
    plan, found = check(document, there)
    problems += found
    return read(document) if plan and isinstance(document, dict) else None
