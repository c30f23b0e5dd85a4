"""`loom run`: run a pipeline on a host that answers, else on one of our own, and show what it makes."""

import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from loom_local.cli.api import Api, RefusedError, UnreachableError, connect, json_option, segment
from loom_local.cli.board import board, printable
from loom_local.cli.child import child_host
from loom_local.cli.follow import follow

FAILED = 1
INTERRUPTED = 130
ATTEMPTS = 5
DRAWN_LINES = 50  # what is drawn on a terminal; anything else that reads us gets all of it


@click.command()
@click.argument("pipeline")
@click.option("--input", "payload", default="{}", callback=json_option, help="JSON, @FILE, or - for stdin.")
@click.option("--version", help="Not the current version: a digest, 8 digits and more of one, or a label.")
@click.option("--url", help="The host to run on (else LOOM_URL, else http://127.0.0.1:7071 if it answers).")
@click.option("--key", help="Idempotency key: the same key gives the same run.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the output as JSON.")
@click.option("--detach", is_flag=True, help="Start the run and leave it to the host.")
@click.option("--app", type=click.Path(exists=True, file_okay=False), help="Run on an own host of this app.")
@click.option("--data", type=click.Path(file_okay=False), help="Where an own host keeps its data.")
@click.option("--scratch", is_flag=True, help="Run on an own host that keeps nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the run document as JSON.")
def run(
    *,
    pipeline: str,
    payload: Any,
    version: str | None,
    url: str | None,
    key: str | None,
    output: Path | None,
    detach: bool,
    app: str | None,
    data: str | None,
    scratch: bool,
    as_json: bool,
) -> None:
    """Run PIPELINE and show its output.

    On the host at --url or LOOM_URL, or on the one that answers at the default address; else, or when --app,
    --data or --scratch is given, on a host that is started for this run and stopped after it.

    Ctrl-C leaves the run to its host. An own host stops; the run goes on when a host next serves its data.

    Exit codes: 0 completed, 1 failed or cancelled, 2 bad input, 3 no host, 130 interrupted.
    """
    own = bool(app or data or scratch)
    if own and url:
        raise click.UsageError("--url names a host that runs; --app, --data and --scratch start one.")
    if data and scratch:
        raise click.UsageError("--scratch keeps no data; leave --data out.")
    if output and not os.access(output.parent, os.W_OK):
        raise click.UsageError(f"--output: {output.parent} is no folder that can be written to.")
    began = time.monotonic()
    document: Mapping[str, Any] = {}
    try:
        with _host(url, app, data, scratch=scratch, own=own, detach=detach) as api:
            document = _start(
                api,
                pipeline,
                {"input": payload} | ({"version": version} if version else {}),
                key or str(uuid.uuid4()),
            )
            if not detach:
                document = _watch(api, document["runId"])
    except KeyboardInterrupt:
        _interrupted(document, kept=not scratch)
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        _present(document, time.monotonic() - began)
    if output and document["status"] == "completed":
        _write(output, document["output"])
    if document["status"] in {"failed", "cancelled"}:
        raise SystemExit(FAILED)


@contextmanager
def _host(
    url: str | None, app: str | None, data: str | None, *, scratch: bool, own: bool, detach: bool
) -> Iterator[Api]:
    if not own:
        api = connect(url)
        if url or os.environ.get("LOOM_URL") or _answers(api):
            yield api
            return
    if detach:
        raise click.UsageError("--detach needs a host that runs on: start one with 'loom dev'.")
    with ExitStack() as stack:
        if scratch:
            data = stack.enter_context(tempfile.TemporaryDirectory(prefix="loom-"))
        data = data or os.environ.get("LOOM_DATA")
        stack.enter_context(_terminable())
        arguments = [*(["--app", app] if app else []), *(["--data", data] if data else [])]
        yield Api(stack.enter_context(child_host(arguments)))


@contextmanager
def _terminable() -> Iterator[None]:
    """End in good order on SIGTERM too, so that the child host is stopped and its directory removed."""

    def end(_signal: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _answers(api: Api) -> bool:
    try:
        return isinstance(Api(api.url, api.key, timeout=2.0).get("/api/health"), dict)
    except (UnreachableError, RefusedError):
        return False


def _start(api: Api, pipeline: str, request: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Start the run; the key makes it safe to ask again when the connection broke before the answer."""
    for attempt in range(ATTEMPTS):
        try:
            return api.post(
                f"/api/pipelines/{segment(pipeline)}/runs",
                request,
                headers={"Idempotency-Key": key},
            )
        except UnreachableError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError


def _watch(api: Api, run_id: str) -> Mapping[str, Any]:
    with board() as shown:
        for event in follow(api, run_id):
            if event.name.startswith("stage."):
                for name, stage in json.loads(event.data)["stages"].items():
                    shown.show(name, stage)
    return api.get(f"/api/runs/{segment(run_id)}")


def _present(document: Mapping[str, Any], seconds: float) -> None:
    run_id, status = document["runId"], document["status"]
    if status == "completed":
        _print_output(document.get("output"))
    elif status in {"failed", "cancelled"}:
        click.echo(f"{run_id} {status}: {printable(_reason(document.get('error')))}", err=True)
        return
    click.echo(f"{run_id} {status} in {seconds:.1f} s", err=True)


def _reason(error: Any) -> str:
    if isinstance(error, dict):
        return ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
    return str(error or "no reason was given")


def _print_output(output: Any) -> None:
    """Print a report as the Markdown it carries, drawn when a terminal reads it; anything else as JSON."""
    text = output.get("markdown") if isinstance(output, dict) else None
    if not isinstance(text, str):
        click.echo(printable(json.dumps(output, ensure_ascii=False, indent=2)))
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - rich costs 50 ms, and is needed only to draw
        from rich.markdown import Markdown  # noqa: PLC0415

        lines = printable(text).splitlines()
        left = len(lines) - DRAWN_LINES
        more = ["", f"*{left} more lines: --output FILE keeps them all.*"] if left > 0 else []
        Console().print(Markdown("\n".join([*lines[:DRAWN_LINES], *more]), hyperlinks=False))
    else:
        click.echo(printable(text))


def _write(file: Path, output: Any) -> None:
    try:
        file.write_text(json.dumps(output, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(file), hint=error.strerror) from error
    click.echo(f"The output is in {file}", err=True)


def _interrupted(document: Mapping[str, Any], *, kept: bool) -> NoReturn:
    if document and kept:
        click.echo(
            f"\nInterrupted; {document['runId']} goes on: loom runs show {document['runId']}", err=True
        )
    raise SystemExit(INTERRUPTED)
