"""`loom pipelines`: look at the pipelines of a host, and store versions of them."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from loom_local.cli.api import Api, connect, segment
from loom_local.cli.board import printable
from loom_local.cli.runs import PAGE, json_flag, url_option


@click.group(invoke_without_command=True)
@click.pass_context
def pipelines(context: click.Context) -> None:
    """List, show and store the pipelines of a host."""
    if context.invoked_subcommand is None:
        context.invoke(list_pipelines)


@pipelines.command("list")
@click.option("--versions", "name", metavar="NAME", help="The versions of this pipeline, the newest first.")
@url_option
@json_flag
def list_pipelines(*, name: str | None = None, url: str | None = None, as_json: bool = False) -> None:
    """List the current versions, or all those of one pipeline."""
    path = f"/api/pipelines/{segment(name)}/versions" if name else "/api/pipelines"
    for document in _pages(connect(url), path):
        _print(document, as_json=as_json)


@pipelines.command()
@click.argument("name")
@click.option("--version", help="A digest, 8 digits and more of one, or a label; else the current version.")
@url_option
def show(*, name: str, version: str | None, url: str | None) -> None:
    """Print a pipeline as JSON, with its definition."""
    document = connect(url).get(f"/api/pipelines/{segment(name)}", {"version": version})
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


@pipelines.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@url_option
@json_flag
def put(*, files: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Store the pipeline in each FILE (- is the standard input) and make it the current version."""
    api = connect(url)
    for file in files:
        name, data = _read(file)
        _print(api.put(f"/api/pipelines/{segment(name)}", data), as_json=as_json)


@pipelines.command()
@click.argument("name")
@url_option
def delete(*, name: str, url: str | None) -> None:
    """Go back to the version of NAME that the app ships, or to none. All versions are kept."""
    connect(url).delete(f"/api/pipelines/{segment(name)}")


def _pages(api: Api, path: str) -> Iterator[Mapping[str, Any]]:
    after: str | None = None
    while True:
        page = api.get(path, {"limit": PAGE, "after": after})
        yield from page["pipelines"]
        after = page.get("next")
        if not after:
            return


def _read(file: str) -> tuple[str, bytes]:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        document = json.loads(data)
    except OSError as error:
        raise click.BadParameter(f"{error.filename}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{file}: not JSON: {error}") from error
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name:
        raise click.BadParameter(f"{file}: $.name: is required")
    return name, data


def _print(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    fields = (document["name"], document["version"][:12], document["source"], document["label"])
    click.echo(printable("  ".join(field for field in fields if field)))
    for warning in document["warnings"]:
        click.echo(printable(f"  warning: {warning['path']}: {warning['message']}"))
