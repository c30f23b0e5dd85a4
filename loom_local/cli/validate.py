"""`loom validate`: check pipeline files without a host."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loom_core.errors import InvalidError
from loom_local.cli.board import printable

if TYPE_CHECKING:
    from loom_core.catalogue.offline import Known

WRONG = 1


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--app", type=click.Path(exists=True, file_okay=False), help="The app; else the current folder."
)
@click.option("--no-names", is_flag=True, help="Do not look up what the pipelines call.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a file.")
def validate(*, files: tuple[str, ...], app: str | None, no_names: bool, as_json: bool) -> None:
    """Check pipeline files: a FILE, all of a folder, or - for the standard input; else the app's pipelines.

    What they call is looked up in the app, whose activities and actors are imported for that. The files may
    call each other.

    Exit codes: 0 nothing is wrong, 1 something is, 2 wrong use, or an app that cannot be imported.
    """
    from loom_core.catalogue.offline import examine  # noqa: PLC0415 - pydantic, which --help needs not

    root = Path(app or ".")
    found = list(_files(files or (str(root / "pipelines"),)))
    there = None if no_names else _known(root)
    if not no_names and there is None:
        click.echo("There is no app here: what the pipelines call is not looked up.", err=True)
    wrong = 0
    for report in examine(_read(found, unreadable := []), there):
        document = report.document()
        wrong += not document["valid"]
        _print(document, as_json=as_json)
    for document in unreadable:
        _print(document, as_json=as_json)
    wrong += len(unreadable)
    click.echo(f"{len(found)} checked, {wrong} wrong", err=True)
    if wrong:
        raise SystemExit(WRONG)


def _files(given: Iterable[str]) -> Iterator[str]:
    for name in given:
        if name != "-" and Path(name).is_dir():
            yield from map(str, sorted(Path(name).glob("*.json")))
        else:
            yield name


def _read(files: Iterable[str], unreadable: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for name in files:
        try:
            yield name, sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            problem = {"path": "$", "message": f"cannot be read: {error.strerror}", "line": 1}
            unreadable.append({"file": name, "valid": False, "problems": [problem], "warnings": []})


def _known(root: Path) -> "Known | None":
    """What the app has; None if there is none."""
    from loom_core.catalogue.offline import known  # noqa: PLC0415 - as above

    if not ((root / "function_app.py").exists() or (root / "activities").is_dir()):
        return None
    sys.path.insert(0, str(root.resolve()))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the app prints is none of the answer
            return known(root)
    except InvalidError as error:
        told = "\n".join(f"  {problem}" for problem in error.problems)
        raise click.UsageError(
            f"the app in {root} cannot be imported; --no-names does without it\n{told}"
        ) from error
    finally:
        sys.path.remove(str(root.resolve()))


def _print(document: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    for kind, sign in (("problems", ""), ("warnings", "warning: ")):
        for one in document[kind]:
            line = f"{document['file']}:{one['line']}: {sign}{one['path']}: {one['message']}"
            click.echo(printable(line))
