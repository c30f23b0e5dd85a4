"""`loom send`: a message to an actor, or into a queue of a local host."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from loom_local.cli.actors import path_of
from loom_local.cli.api import Api, connect, json_option, segment
from loom_local.cli.board import printable

FAILED = 1
MARGIN = 10.0  # seconds more than the host is asked to wait
OF_ACTORS = ("payload", "event", "wait", "priority", "ttl", "correlation_id")
OF_QUEUES = ("message", "session")


@click.command()
@click.argument("target", metavar="TYPE/ID|QUEUE")
@click.option("--payload", callback=json_option, help="To an actor: JSON, @FILE, or - for stdin; else null.")
@click.option("--event", metavar="NAME", help="To an actor: the event that it waits, or will wait, for.")
@click.option("--wait", type=click.IntRange(1, 220), help="To an actor: seconds to wait for its answer.")
@click.option("--priority", type=int, help="To an actor: higher goes first.")
@click.option("--ttl", type=click.IntRange(min=1), help="To an actor: milliseconds after which it is void.")
@click.option("--correlation-id", help="To an actor: what it belongs to.")
@click.option("--message", callback=json_option, help="Into a queue, the body: JSON, @FILE, or - for stdin.")
@click.option("--session", help="Into a queue: those of one session are delivered in order, one at a time.")
@click.option("--id", "message_id", help="A second message with the same id is dropped.")
@click.option("--url", help="The host (else LOOM_URL, else http://127.0.0.1:7071).")
@click.option("--json", "as_json", is_flag=True, help="Print the host's answer as JSON.")
@click.pass_context
def send(
    context: click.Context,
    *,
    target: str,
    message_id: str | None,
    url: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Send a message to the actor TYPE/ID, or to QUEUE, and print its id or its number; it is on disk then.

    Exit codes: 0 it is kept, or was served, with --wait; 1 it was not served; 2 refused; 3 no host answers.
    """
    is_actor = "/" in target
    for name in OF_QUEUES if is_actor else OF_ACTORS:
        if given[name] is not None:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is not for {'actors' if is_actor else 'queues'}")
    if is_actor:
        _to_actor(connect(url), path_of(target), {**given, "id": message_id}, as_json=as_json)
    elif given["message"] is None and "message" not in _said(context):
        raise click.UsageError("Missing option '--message'.")
    else:
        named = {"sessionId": given["session"], "messageId": message_id}
        document = {"body": given["message"]} | {
            key: value for key, value in named.items() if value is not None
        }
        sent = connect(url).post(f"/admin/queues/{segment(target)}/messages", document)["results"][0]
        number = f"{sent['sequenceNumber']}{' was there before' if sent['duplicate'] else ''}"
        click.echo(json.dumps(sent) if as_json else number)


def _said(context: click.Context) -> set[str]:
    """The options that were given, also those whose value is null."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not click.core.ParameterSource.DEFAULT}


def _to_actor(api: Api, path: str, given: Mapping[str, Any], *, as_json: bool) -> None:
    event, seconds = given["event"], given["wait"]
    payload: Any = given["payload"]
    if event is not None:
        payload = {"eventType": event, "data": payload}
    metadata = {name: given[name] for name in ("priority", "ttl") if given[name] is not None}
    named = {"messageId": given["id"], "correlationId": given["correlation_id"], "metadata": metadata or None}
    document = {"payload": payload, "messageType": "activate" if event is None else "event"}
    document |= {name: value for name, value in named.items() if value is not None}
    waiting = {"Prefer": f"wait={seconds}"} if seconds else {}
    if seconds:
        api = replace(api, timeout=max(api.timeout, seconds + MARGIN))
    [result] = api.post(f"{path}/messages", document, headers=waiting)["results"]
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    elif "result" in result:
        click.echo(printable(json.dumps(result["result"], ensure_ascii=False, indent=2)))
    else:
        click.echo(printable(f"{result['messageId']}  {result['status']}  {_reason(result)}".rstrip()))
    if result["status"] not in {"accepted", "duplicate", "done"}:
        raise SystemExit(FAILED)


def _reason(result: Mapping[str, Any]) -> str:
    error = result.get("error")
    return f"({error['type']}: {error['message']})" if error else ""
