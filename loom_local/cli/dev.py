"""`loom dev`: serve a function app on this machine."""

import gc
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loom_core.errors import InvalidError, LoomError
from loom_local.database import DatabaseLockedError, DatabaseTooNewError, DatabaseUnusableError

if TYPE_CHECKING:
    from loom_local.host.host import Host

KEY_VARIABLE = "LOOM_API_KEY"
_QUIET = ("azure", "durabletask", "uvicorn", "watchfiles", "asyncio")


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--app",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The app: the directory of function_app.py.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7071, show_default=True, help="0 takes a free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where runs are kept.  [default: LOOM_DATA, else APP/.loom]",
)
@click.option(
    "--host", "address", default="127.0.0.1", show_default=True, help="Any other address needs an API key."
)
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"The API key, else {KEY_VARIABLE}.",
)
@click.option(
    "--max-body", type=click.IntRange(1), default=100, show_default=True, help="Largest request body, in MB."
)
@click.option(
    "--activity-threads",
    type=click.IntRange(1, 1024),
    help="Threads for plain (not async) activities.  [default: CPUs + 4]",
)
@click.option("--no-reload", is_flag=True, help="Do not restart when the app's files change.")
@click.option(
    "--unsafe-fast",
    is_flag=True,
    help="Do not wait for the disk. For tests: a power cut may lose what was acknowledged.",
)
@click.option("--json", "as_json", is_flag=True, help="Announce as one line of JSON.")
@click.option("--listener", type=int, hidden=True)
@click.option("--lifeline", type=int, hidden=True)
def dev(
    *,
    app: Path,
    port: int,
    data: Path | None,
    address: str,
    api_key_file: Path | None,
    max_body: int,
    activity_threads: int | None,
    no_reload: bool,
    unsafe_fast: bool,
    as_json: bool,
    listener: int | None,
    lifeline: int | None,
) -> None:
    """Serve the function app in APP, unmodified, with its runs kept in one SQLite file.

    It serves this machine only, unless --host names another address and there is an API key. Ctrl-C lets
    what runs end; a second Ctrl-C exits at once. Either way nothing acknowledged is lost.
    """
    from loom_local.host.server import listen  # noqa: PLC0415  cold start

    app = app.resolve()
    data = (data or app / Path(os.environ.get("LOOM_DATA") or ".loom").expanduser()).resolve()
    try:
        bound = socket.socket(fileno=listener) if listener is not None else listen(address, port)
        if listener is None and not no_reload:
            from loom_local.host.reload import supervise  # noqa: PLC0415  cold start

            command = [sys.executable, "-m", "loom_local.cli.main", *sys.argv[1:]]
            raise SystemExit(supervise(command, bound, app=app, data=data))
        _serve(
            bound,
            lifeline,
            as_json=as_json,
            app=app,
            data=data,
            key=_api_key(api_key_file),
            durable=not unsafe_fast,
            max_body=max_body * 1024 * 1024,
            **({"activity_threads": activity_threads} if activity_threads else {}),
        )
    except (LoomError, DatabaseLockedError, DatabaseTooNewError, DatabaseUnusableError) as error:
        click.echo(f"loom: {error}", err=True)
        raise SystemExit(_exit_code(error)) from error


def _serve(bound: socket.socket, lifeline: int | None, *, as_json: bool, **options: Any) -> None:
    gc.disable()  # importing makes little garbage; `run` turns it on again
    from loom_local.host.host import Host, HostOptions  # noqa: PLC0415  cold start
    from loom_local.host.process import run  # noqa: PLC0415  cold start

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    os.chdir(options["app"])
    run(Host(HostOptions(**options), bound), _announce_json if as_json else _announce, lifeline=lifeline)


def _api_key(file: Path | None) -> str | None:
    """Read the key, and take it out of the environment: the app has no need of it."""
    key = os.environ.pop(KEY_VARIABLE, "").strip()
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LoomError(f"{file} is not a text in UTF-8 that can be read") from error
    if key and len(key) < 16:
        raise LoomError("the API key is too short: use at least 16 characters")
    return key or None


def _exit_code(error: Exception) -> int:
    from loom_local.host.functions import AppError  # noqa: PLC0415  cold start
    from loom_local.host.reload import APP_IS_BROKEN  # noqa: PLC0415  cold start

    return APP_IS_BROKEN if isinstance(error, AppError | InvalidError) else 1


def _announce(host: "Host") -> None:
    lines = [
        f"  {','.join(e.methods):<24} {host.url}/{e.route.template}  ->  {e.function.name}"
        for e in host.endpoints
    ]
    for function in host.app.functions.values():
        if function.disabled:
            lines.append(f"  {'not run':<24} {function.name}: {function.disabled}")
        elif function.kind != "httpTrigger" and not function.name.startswith("BuiltIn__"):
            lines.append(f"  {function.kind.removesuffix('Trigger'):<24} {function.name}{_detail(function)}")
    click.echo("\n".join([*lines, f"Loom is ready at {host.url}"]))


def _detail(function: Any) -> str:
    keys = ("schedule", "queueName", "path", "orchestration", "activity", "entityName")
    details = [str(function.trigger[key]) for key in keys if function.trigger.get(key)]
    return f"  ({', '.join(details)})" if details else ""


def _announce_json(host: "Host") -> None:
    from loom_local.host.host import describe  # noqa: PLC0415  cold start

    document = {
        "url": host.url,
        "routes": [
            {"methods": e.methods, "path": f"/{e.route.template}", "function": e.function.name}
            for e in host.endpoints
        ],
        "functions": [describe(function) for function in host.app.functions.values()],
    }
    click.echo(json.dumps(document))
