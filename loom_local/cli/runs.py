"""`loom runs`: look at the runs of a host, and steer them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import click

from loom_local.cli.api import Api, connect, json_option, segment
from loom_local.cli.board import counts, printable
from loom_local.cli.follow import follow

PAGE = 100
UNDONE = {"running": "being undone", "completed": "undone", "failed": "could not be undone"}
STATUSES = ("pending", "running", "suspended", "completed", "failed", "cancelled")

url_option = click.option("--url", help="The host (else LOOM_URL, else http://127.0.0.1:7071).")
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a line.")


@click.group(invoke_without_command=True)
@click.pass_context
def runs(context: click.Context) -> None:
    """List, show, follow and steer the runs of a host."""
    if context.invoked_subcommand is None:
        context.invoke(list_runs)


@runs.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@url_option
@json_flag
def list_runs(
    *, status: str | None = None, limit: int = 20, url: str | None = None, as_json: bool = False
) -> None:
    """List runs."""
    for document in _pages(connect(url), status, limit):
        if as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            fields = (
                document["runId"],
                f"{document['status']:9}",
                document["createdAt"],
                document["pipeline"],
            )
            click.echo(printable("  ".join(map(str, fields))))


@runs.command()
@click.argument("run_id", metavar="ID")
@url_option
@json_flag
def show(*, run_id: str, url: str | None, as_json: bool) -> None:
    """Show a run: its state, how far its stages are, what was undone, its output or its error."""
    document = connect(url).get(f"/api/runs/{segment(run_id)}")
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    click.echo(printable(f"{document['runId']}  {document['status']}  {document['pipeline']}"))
    click.echo(f"created {document['createdAt']}, updated {document['updatedAt']}")
    for name, stage in (document.get("progress") or {}).items():
        click.echo(printable(f"  {name}: {stage.get('status', '')} {counts(stage)}".rstrip()))
    for undone in document.get("compensations") or ():
        became = UNDONE.get(undone["status"], undone["status"])
        click.echo(printable(f"  {undone['stage']}: {became} {_reason(undone)}".rstrip()))
    for part in ("error", "output"):
        if document.get(part) is not None:
            click.echo(f"{part}: {printable(json.dumps(document[part], ensure_ascii=False, indent=2))}")


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("--follow", "to_the_end", is_flag=True, help="Wait for more until the run ends.")
@click.option("--after", "last_id", default="", help="Only what came after the event with this id.")
@url_option
@json_flag
def events(*, run_id: str, to_the_end: bool, last_id: str, url: str | None, as_json: bool) -> None:
    """Print what happened in a run."""
    api = connect(url)
    found = follow(api, run_id, last_id=last_id) if to_the_end else _so_far(api, run_id, last_id)
    for event in found:
        if as_json:
            document = {"id": event.id, "event": event.name, "data": json.loads(event.data)}
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            click.echo(printable(f"{event.id}  {event.name}  {event.data}"))


@runs.command()
@click.argument("run_id", metavar="ID")
@click.argument("name", metavar="EVENT")
@click.option("--payload", callback=json_option, help="JSON, @FILE, or - for the standard input; else null.")
@url_option
@json_flag
def send(*, run_id: str, name: str, payload: Any, url: str | None, as_json: bool) -> None:
    """Send a run an event that it waits, or will wait, for."""
    api, path = connect(url), f"/api/runs/{segment(run_id)}"
    api.post(f"{path}/events/{segment(name)}", payload)
    _tell(api.get(path), as_json=as_json)


def _steer(action: str, summary: str, *options: Callable[..., Any]) -> Callable[..., None]:
    def steer(*, run_id: str, url: str | None, as_json: bool, force: bool = False) -> None:
        query = "?force=true" if force else ""
        document = connect(url).post(f"/api/runs/{segment(run_id)}/{action}{query}")
        _tell(document, as_json=as_json)

    for option in (*options, json_flag, url_option, click.argument("run_id", metavar="ID")):
        steer = option(steer)
    return runs.command(action, help=summary)(steer)


cancel = _steer(
    "cancel",
    "Have a run undo what it can, and end it as cancelled.",
    click.option("--force", is_flag=True, help="End it now, and undo nothing."),
)
stop = _steer("stop", "Have a run come to an end of its own: cut its loops and waits short.")
rewind = _steer("rewind", "Have a failed or cancelled run go on from what failed.")
suspend = _steer("suspend", "Let a run stand still until it is resumed.")
resume = _steer("resume", "Let a suspended run go on.")


def _reason(document: Mapping[str, Any]) -> str:
    error = document.get("error") or {}
    return f"({error['type']}: {error['message']})" if error else ""


def _tell(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(printable(f"{document['runId']}  {document['status']}"))


def _pages(api: Api, status: str | None, limit: int) -> Iterator[Mapping[str, Any]]:
    after: str | None = None
    while limit > 0:
        page = api.get("/api/runs", {"status": status, "limit": min(limit, PAGE), "after": after})
        yield from page["runs"]
        limit -= len(page["runs"])
        after = page.get("next")
        if not after:
            return


def _so_far(api: Api, run_id: str, last_id: str) -> Iterator[Any]:
    """The events there are now: the stream of a run that is not over falls silent after them."""
    try:
        yield from replace(api, timeout=1.0).events(f"/api/runs/{segment(run_id)}/events", last_id=last_id)
    except TimeoutError:
        return
