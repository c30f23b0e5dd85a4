"""Runs: started, followed and steered, over the hub."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any, Final, cast

from loom_core.clients.run import PREFIX, RUN_ID, Control, Page, Run, Start, keyed_run_id, new_run_id
from loom_core.durable.hub import Hub, Instance, Status
from loom_core.errors import CancelledError, ConflictError, InvalidError, NotFoundError
from loom_core.pipelines.session import CANCEL, STOP
from loom_core.stops import KEPT, Stops
from loom_core.wire.json import Json

_WANTED: Final[dict[Control, Status]] = {"cancel": "cancelled", "suspend": "suspended", "resume": "running"}


class Runs:
    """Starts and follows runs. Every method raises UnavailableError when the backend cannot be reached."""

    def __init__(self, hub: Hub, stops: Stops) -> None:
        self._hub, self._stops = hub, stops

    async def start(self, start: Start, key: str | None = None) -> tuple[str, bool]:
        """Start a run; answers its id and whether it is new.

        The same key and request give the same run, finished or not. Raises ConflictError if the key was used
        for another request.
        """
        run_id = new_run_id() if key is None else keyed_run_id(start.pipeline, key)
        # An older Durable extension ignores the reuse policy, so a finished run is looked for first.
        if key is not None and await self._is_same(run_id, start):
            return run_id, False
        library = {"library": start.library} if start.library else {}
        call = {
            "program": "pipeline",
            "pipeline": start.pipeline,
            "version": start.version,
            "request": start.request,
            "created": time.time(),
            "payload": {"run": run_id, "definition": start.definition, "input": start.input, **library},
        }
        try:
            await self._hub.schedule(run_id, call)
        except ConflictError:
            if not await self._is_same(run_id, start):
                raise
            return run_id, False
        return run_id, True

    async def _is_same(self, run_id: str, start: Start) -> bool:
        found = await self._hub.get(run_id)
        if found is None:
            return False
        if _object(found.input).get("request") != start.request:
            raise ConflictError(
                f"this Idempotency-Key belongs to {run_id}, which has another input; use a new key"
            )
        return True

    async def get(self, run_id: str) -> Run:
        """Raises NotFoundError."""
        return _run(await self._instance(run_id))

    async def list(self, *, status: Status | None = None, limit: int = 50, after: str | None = None) -> Page:
        """At most `limit` runs from where `after`, an earlier page's `next`, left off."""
        asked: tuple[Status, ...] = (status,) if status else ()
        if status == "cancelled":
            asked = ("cancelled", "failed")  # one that cancelled itself is told from others by its error
        found, following = await self._hub.page(PREFIX, asked, limit, after)
        runs = (_run(instance) for instance in found if RUN_ID.fullmatch(instance.id))
        return Page(tuple(run for run in runs if status in (None, run.status)), following)

    async def wait(self, run_id: str, seconds: float) -> Run:
        """The run, which exists, as it is once finished or after `seconds`."""
        return _run(await self._hub.wait(run_id, seconds) or await self._instance(run_id))

    async def control(self, run_id: str, action: Control, *, force: bool = False) -> Run:
        """Steer a run; doing it again changes nothing.

        `cancel` has it undo what it can; with `force` it ends at once and undoes nothing. `stop` has it come
        to an end of its own: loops and waits are cut short. `rewind` has a failed or cancelled run go on from
        what failed. Raises NotFoundError, and ConflictError where the run's state does not allow it.
        """
        found = await self._instance(run_id)
        run = _run(found)
        if action == "rewind":
            return await self._rewind(found)
        if run.status == _WANTED.get(action) or (action == "resume" and run.status == "pending"):
            return run
        if run.is_finished:
            raise ConflictError(f"{run_id} is {run.status} and cannot {action} any more; start a new run")
        match action:
            case "cancel":
                # Whatever ends the run in between is told by how it is afterwards.
                with contextlib.suppress(ConflictError):
                    await (self._terminate(run_id) if force else self._cancel(run))
            case "stop":
                await self._hub.raise_event(run_id, STOP)
                return run
            case "suspend":
                await self._hub.suspend(run_id)
            case "resume":
                await self._hub.resume(run_id)
        return await self._until(run_id, _WANTED[action])

    async def _terminate(self, run_id: str) -> None:
        await self._hub.terminate(run_id)
        # Nothing that it scheduled is to begin any more, be it from children that end a little later.
        await self._stops.ask(run_id, at=time.time() + KEPT)

    async def _cancel(self, run: Run) -> None:
        """Have the run cancel itself; running activities are told at once, which makes room for what undoes.

        What the run does once it has heard is later than the asking, and not meant.
        """
        asked = time.time()
        await self._hub.raise_event(run.id, CANCEL)
        await self._stops.ask_once(run.id, "", asked)
        if run.status == "suspended":
            await self._hub.resume(run.id)

    async def _rewind(self, found: Instance) -> Run:
        """Start the instance again with what it kept when it failed; its `number` names new children."""
        run, call = _run(found), _object(found.input)
        payload = call.get("payload", {})
        if not run.is_finished or run.status == "completed":
            raise ConflictError(f"{run.id} is {run.status}; only failed and cancelled runs are rewound")
        if "failure" not in payload or found.status != "failed":
            raise ConflictError(f"{run.id} ended before it could keep what it had done; start a new run")
        if payload.get("state", {}).get("compensated"):
            raise ConflictError(f"{run.id} has undone what it had done; start a new run")
        again = {**call, "payload": {key: value for key, value in payload.items() if key != "failure"}}
        await self._stops.forget(run.id)
        with contextlib.suppress(ConflictError):  # somebody else rewound it a moment ago
            await self._hub.schedule(run.id, again, replace_failed=True)
        return await self.get(run.id)

    async def _until(self, run_id: str, wanted: Status) -> Run:
        """The backend queues commands: answer what became of it, or the run as it is after two seconds."""
        for pause in (0.0, 0.005, 0.02, 0.1, 0.3, 0.6, 1.0):
            await asyncio.sleep(pause)
            run = await self.get(run_id)
            if run.status == wanted or run.is_finished:
                break
        return run

    async def raise_event(self, run_id: str, name: str, payload: Json) -> None:
        """Deliver an event to the run. Raises NotFoundError, and ConflictError if the run is finished."""
        if isinstance(payload, dict) and {"__class__", "__module__", "__data__"} <= payload.keys():
            raise InvalidError(
                "the SDK takes __class__, __module__ and __data__ for one of its own envelopes"
            )
        run = await self.get(run_id)
        if run.is_finished:
            raise ConflictError(f"{run_id} is {run.status} and takes no more events")
        await self._hub.raise_event(run_id, name, payload)

    async def _instance(self, run_id: str) -> Instance:
        found = await self._hub.get(run_id) if RUN_ID.fullmatch(run_id) else None
        if found is None:
            raise NotFoundError(f"there is no run {run_id}")
        return found


def _run(found: Instance) -> Run:
    call, progress = _object(found.input), _object(found.shown)
    is_cancelled = found.error is not None and found.error["type"] == CancelledError.__name__
    created = datetime.fromtimestamp(call["created"], UTC) if "created" in call else found.created
    return Run(
        id=found.id,
        pipeline=call.get("pipeline", ""),
        version=call.get("version", ""),
        status="cancelled" if is_cancelled else found.status,
        created=created.replace(tzinfo=None),
        updated=found.updated,
        input=call.get("payload", {}).get("input"),
        output=found.output,
        error=None if is_cancelled else found.error,
        stages=progress.get("stages", {}),
        seq=progress.get("seq", 0),
        notes={key: progress[key] for key in ("compensations", "warnings") if progress.get(key)},
        is_graph="nodes" in call.get("payload", {}).get("definition", ()),
    )


def _object(found: Json) -> dict[str, Any]:
    """The JSON object, or an empty one where an orchestration that is not ours has something else."""
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
