"""`loom deadletters`: messages that actors could not serve."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

from loom_local.cli.api import Api, connect, segment
from loom_local.cli.board import printable
from loom_local.cli.runs import PAGE, json_flag, url_option
from loom_local.cli.table import show as show_table

FAILED = 1
PATH = "/api/deadletters"
SHORT = 12

actor_option = click.option("--actor", metavar="TYPE/ID", help="Only those of this actor.")


@click.group(invoke_without_command=True)
@click.pass_context
def deadletters(context: click.Context) -> None:
    """List, show, replay and drop messages that actors could not serve."""
    if context.invoked_subcommand is None:
        context.invoke(list_letters)


@deadletters.command("list")
@actor_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@url_option
@json_flag
def list_letters(
    *, actor: str | None = None, limit: int = 20, url: str | None = None, as_json: bool = False
) -> None:
    """List dead letters, and what they died of."""
    found = islice(_pages(connect(url), actor), limit)
    if as_json:
        for letter in found:
            click.echo(json.dumps(letter, ensure_ascii=False))
    else:
        show_table(("id", "actor", "message", "failed at", "error"), map(_row, found))


@deadletters.command()
@click.argument("id_", metavar="ID")
@url_option
@json_flag
def show(*, id_: str, url: str | None, as_json: bool) -> None:
    """Show a dead letter with its message."""
    letter = connect(url).get(f"{PATH}/{segment(id_)}")
    click.echo(printable(json.dumps(letter, ensure_ascii=False, indent=None if as_json else 2)))


@deadletters.command()
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them, or all of an actor's.")
@actor_option
@url_option
@json_flag
def replay(*, ids: tuple[str, ...], every: bool, actor: str | None, url: str | None, as_json: bool) -> None:
    """Send messages again, as if for the first time.

    Exit codes: 0 all were sent, 1 some could not be, 2 wrong use or refused, 3 no host answers.
    """
    if bool(ids) == every or (actor and not every):
        raise click.UsageError("name dead letters, or say --all, which may be narrowed by --actor")
    api, failed = connect(url), 0
    for result in _replay_all(api, actor) if every else api.post(f"{PATH}/replay", {"ids": ids})["results"]:
        failed += "error" in result
        if as_json:
            click.echo(json.dumps(result, ensure_ascii=False))
        else:
            became = result.get("error") or f"{result['actorId']}  {result['messageId']}"
            click.echo(printable(f"{result['id'][:SHORT]}  {became}"))
    if failed:
        raise SystemExit(FAILED)


@deadletters.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@url_option
def drop(*, ids: tuple[str, ...], url: str | None) -> None:
    """Delete dead letters, and their messages with them."""
    api = connect(url)
    for id_ in ids:
        api.delete(f"{PATH}/{segment(id_)}")


def _row(letter: Mapping[str, Any]) -> tuple[Any, ...]:
    error = letter["error"] or {}
    reason = f"{error.get('type')}: {error.get('message')}"
    return letter["id"], letter["actorId"], letter["messageId"], letter["failedAt"], reason


def _pages(api: Api, actor: str | None) -> Iterator[Mapping[str, Any]]:
    after: str | None = ""
    while after is not None:
        page = api.get(PATH, {"limit": PAGE, "after": after or None, "actor": actor})
        yield from page["deadLetters"]
        after = page["next"]


def _replay_all(api: Api, actor: str | None) -> Iterator[Mapping[str, Any]]:
    after: str | None = ""
    while after is not None:
        asked = {"all": True, "after": after} | ({"actor": actor} if actor else {})
        answer = api.post(f"{PATH}/replay", asked)
        yield from answer["results"]
        after = answer["next"]
