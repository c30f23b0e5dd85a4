"""`loom actors`: look at the actors of a host, and steer them."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from loom_local.cli.api import Api, connect, json_option, segment
from loom_local.cli.board import printable
from loom_local.cli.journal import line, read
from loom_local.cli.runs import PAGE, json_flag, url_option
from loom_local.cli.table import show as show_table


def path_of(text: str) -> str:
    """The path of an actor, given as Type/id. Raises click.BadParameter."""
    kind, slash, id_ = text.partition("/")
    if not (kind and slash and id_):
        raise click.BadParameter(f"{text!r} is not the address of an actor: Type/id")
    return f"/api/actors/{segment(kind)}/{segment(id_)}"


def _address(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    return path_of(text)


actor_argument = click.argument("path", metavar="TYPE/ID", callback=_address)


@click.group(invoke_without_command=True)
@click.pass_context
def actors(context: click.Context) -> None:
    """List, show and steer the actors of a host."""
    if context.invoked_subcommand is None:
        context.invoke(list_actors)


@actors.command("list")
@click.argument("kind", metavar="[TYPE]", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@url_option
@json_flag
def list_actors(
    *, kind: str | None = None, limit: int = 20, url: str | None = None, as_json: bool = False
) -> None:
    """List the actors of TYPE that were sent a message; without one, the types."""
    api = connect(url)
    found = _pages(api, kind, limit) if kind else api.get("/api/actors")["types"]
    for name in found:
        click.echo(json.dumps(name, ensure_ascii=False) if as_json else printable(name))


@actors.command()
@actor_argument
@url_option
@json_flag
def show(*, path: str, url: str | None, as_json: bool) -> None:
    """Show an actor: what it does, how much it has to do, its state."""
    document = connect(url).get(path)
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    state = document.pop("state")
    told = {name: _short(value) for name, value in document.items() if value is not None}
    show_table(("", ""), told.items())
    click.echo(f"state: {printable(json.dumps(state, ensure_ascii=False, indent=2))}")


@actors.command()
@actor_argument
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only what came after this number.")
@click.option("--limit", type=click.IntRange(min=1), help="How many at most; else all.")
@click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@url_option
@json_flag
def journal(
    *, path: str, after: int, limit: int | None, follow: bool, url: str | None, as_json: bool
) -> None:
    """Print what an actor has done."""
    for entry in read(connect(url), path, after, limit, follow=follow):
        click.echo(json.dumps(entry, ensure_ascii=False) if as_json else line(entry))


@actors.command()
@actor_argument
@click.option("--at", type=click.IntRange(min=0), help="As it was after this entry of the journal.")
@url_option
@json_flag
def state(*, path: str, at: int | None, url: str | None, as_json: bool) -> None:
    """Print an actor's state, as it is or as it was."""
    _tell_state(connect(url).get(f"{path}/state", {"at": at}), as_json=as_json)


@actors.command()
@actor_argument
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write it to.")
@url_option
def export(*, path: str, output: Path | None, url: str | None) -> None:
    """Write an actor's whole journal as JSON Lines."""
    chunks = connect(url).chunks(f"{path}/export")
    if output is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    first = next(chunks, b"")  # an actor that there is not leaves no file
    try:
        with output.open("wb") as file:
            file.write(first)
            file.writelines(chunks)
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror) from error
    click.echo(f"The journal is in {output}", err=True)


@actors.command()
@actor_argument
@click.option("--message", "message_id", metavar="ID", help="The message; else the running turn.")
@url_option
@json_flag
def cancel(*, path: str, message_id: str | None, url: str | None, as_json: bool) -> None:
    """Cancel what an actor is doing, with what it waits for; or a message that waits."""
    answer = connect(url).post(f"{path}/cancel", {"messageId": message_id} if message_id else {})
    click.echo(json.dumps(answer) if as_json else answer["status"])


@actors.command()
@actor_argument
@click.argument("seq", type=click.IntRange(min=0))
@url_option
@json_flag
def rollback(*, path: str, seq: int, url: str | None, as_json: bool) -> None:
    """Make the state what it was after entry SEQ of the journal: a change like any other."""
    _tell_state(connect(url).post(f"{path}/rollback", {"toSeq": seq}), as_json=as_json)


@actors.command()
@actor_argument
@click.option("--payload", callback=json_option, help="JSON, @FILE, or - for the standard input; else null.")
@url_option
@json_flag
def resume(*, path: str, payload: Any, url: str | None, as_json: bool) -> None:
    """Let a suspended actor go on."""
    answer = connect(url).post(f"{path}/resume", payload)
    click.echo(json.dumps(answer) if as_json else printable(answer["messageId"]))


def _tell_state(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(printable(json.dumps(document["state"], ensure_ascii=False, indent=2)))
        click.echo(f"after entry {document['seq']}", err=True)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pages(api: Api, kind: str, limit: int) -> Iterator[str]:
    after: str | None = None
    while limit > 0:
        page = api.get(f"/api/actors/{segment(kind)}", {"limit": min(limit, PAGE), "after": after})
        yield from page["actors"]
        limit -= len(page["actors"])
        after = page["next"]
        if not after:
            return
