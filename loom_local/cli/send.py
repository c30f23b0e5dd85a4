"""`loom send`: put a message into a mailbox queue of a local host."""

import json
from typing import Any

import click

from loom_local.cli.api import connect, json_option, segment


@click.command()
@click.argument("queue")
@click.option("--message", required=True, callback=json_option, help="The body: JSON, @FILE, or - for stdin.")
@click.option("--session", help="Messages of one session are delivered in order, one at a time.")
@click.option("--id", "message_id", help="A second message with the same id is dropped.")
@click.option("--url", help="The host (else LOOM_URL, else http://127.0.0.1:7071).")
@click.option("--json", "as_json", is_flag=True, help="Print the host's answer as JSON.")
def send(
    *, queue: str, message: Any, session: str | None, message_id: str | None, url: str | None, as_json: bool
) -> None:
    """Send a message to QUEUE, and print its number; it is on disk then."""
    named = {"sessionId": session, "messageId": message_id}
    document = {"body": message} | {name: value for name, value in named.items() if value is not None}
    sent = connect(url).post(f"/admin/queues/{segment(queue)}/messages", document)["results"][0]
    if as_json:
        click.echo(json.dumps(sent))
    else:
        click.echo(f"{sent['sequenceNumber']}{' was there before' if sent['duplicate'] else ''}")
