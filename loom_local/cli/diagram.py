"""`loom diagram`: draw a pipeline file."""

import sys
from pathlib import Path

import click

from loom_core.errors import InvalidError
from loom_local.cli.board import printable


class UnusableError(click.ClickException):
    """A file cannot be read or written."""

    exit_code = 2


@click.command()
@click.argument("file")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
def diagram(*, file: str, output: Path | None) -> None:
    """Draw the pipeline in FILE (- is the standard input) as a Mermaid flowchart.

    Exit codes: 0 drawn, 1 the pipeline is wrong, 2 the file cannot be read or written.
    """
    from loom_core.catalogue.offline import draw  # noqa: PLC0415 - pydantic, which --help needs not

    try:
        drawn = draw(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except InvalidError as error:
        for problem in error.problems:
            click.echo(printable(f"{file}: {problem}"), err=True)
        raise SystemExit(1) from error
    except OSError as error:
        raise UnusableError(f"{error.filename}: {error.strerror}") from error
    if output is None:
        click.echo(drawn, nl=False)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise UnusableError(f"{error.filename}: {error.strerror}") from error
