"""The app's functions, indexed and invoked by the library that the cloud's own Python worker uses.

Everything here that reaches into azure-functions-runtime is its private API; it is touched in this module
only, and `check_runtime` refuses any other version than the one this module was written for. What Azure
would refuse while indexing is therefore refused here too, in the same words.
"""

import asyncio
import importlib
import importlib.metadata
import itertools
import json
import os
import sys
import traceback
import types
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from loom_core.errors import InvalidError, LoomError
from loom_local.host.function import Function, refuse_shared_names, why_not
from loom_local.host.settings import resolve

RUNTIME = "azure-functions-runtime"
SUPPORTED_RUNTIME = "1.3.0"
SCRIPT = "function_app.py"


class AppError(LoomError):
    """The app cannot be indexed; the message is what the Functions worker says in Azure."""


class HandlerError(LoomError):
    """A function raised; `error` is its own exception."""

    def __init__(self, function: str, error: BaseException) -> None:
        super().__init__(f"{function}: {type(error).__name__}: {error}")
        self.error = error


def check_runtime() -> None:
    """Raise LoomError unless the supported worker library is installed."""
    try:
        found = importlib.metadata.version(RUNTIME)
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found != SUPPORTED_RUNTIME:
        raise LoomError(
            f"the local host needs {RUNTIME} {SUPPORTED_RUNTIME}, found {found or 'none'}: "
            f'pip install "{RUNTIME}=={SUPPORTED_RUNTIME}"'
        )


class FunctionApp:
    """The functions of one app directory, by name, and how to call them.

    There can be one per process: the worker library and Python's module table are process-wide.
    """

    def __init__(self, functions: Mapping[str, Function], *, http_v2: bool) -> None:
        from azure_functions_runtime import native_invocation  # noqa: PLC0415  cold start
        from azure_functions_runtime.bindings import datumdef  # noqa: PLC0415  cold start

        self.functions = functions
        self.http_v2 = http_v2
        self.client_binding = ""
        self._native: Any = native_invocation
        self.datum = datumdef.Datum
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._session, self._invocations = str(uuid.uuid4())[:-12], itertools.count(1)

    @classmethod
    def load(cls, app_dir: Path) -> Self:
        """Import and index `app_dir`/function_app.py.

        Raises AppError with the worker's own message, LoomError without the worker library.
        """
        check_runtime()
        from azure_functions_runtime import handle_event, http_v2, loader  # noqa: PLC0415  cold start
        from azure_functions_runtime.bindings import meta  # noqa: PLC0415  cold start

        script = app_dir / os.environ.get("PYTHON_SCRIPT_FILE_NAME", SCRIPT)
        if not script.is_file():
            raise AppError(f"there is no {script.name} in {app_dir}")
        if str(app_dir) not in sys.path:
            sys.path.insert(0, str(app_dir))
        meta.load_binding_registry()
        # The three members that indexing reads of a protobuf enum.
        directions = types.SimpleNamespace(undefined=0, out=1, inout=2)
        protos = types.SimpleNamespace(BindingInfo=directions)
        registry: Any = handle_event._functions  # noqa: SLF001  private by nature, see above
        functions: dict[str, Function] = {}
        try:
            for indexed in loader.index_function_app(str(script)):
                info = registry.add_indexed_function(function=indexed, protos=protos)
                functions[info.name] = _describe(indexed, info)
            refuse_shared_names(functions)
        except (Exception, SystemExit) as error:  # whatever the app's module raises is the app's error
            raise AppError(_explain(error, app_dir)) from error
        if not functions:
            raise AppError(f"{script.name} defines no functions")
        return cls(functions, http_v2=http_v2.HttpV2Registry.http_v2_enabled())

    def of_kind(self, kind: str) -> list[Function]:
        """List the enabled functions with this trigger type (`"timerTrigger"`)."""
        return [f for f in self.functions.values() if f.kind == kind and f.disabled is None]

    def open(self, *, client_binding: str, activity_threads: int) -> None:
        """Start the thread pools and fix the string that durable client bindings are given.

        Activities have `activity_threads` threads of their own, so that heavy ones cannot keep
        orchestrations, HTTP or timers waiting; everything else shares PYTHON_THREADPOOL_THREAD_COUNT.
        """
        import azure_functions_runtime as runtime  # noqa: PLC0415  cold start

        runtime.start_threadpool_executor()
        shared = runtime.get_threadpool_executor()
        assert shared is not None
        self.activity_threads = ThreadPoolExecutor(activity_threads, thread_name_prefix="activity")
        self._pools = {"activityTrigger": self.activity_threads, "": shared}
        self.client_binding = client_binding

    def close(self) -> None:
        """Start nothing more on the thread pools; calls that run are left to end by themselves."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    async def invoke(
        self,
        function: Function,
        value: Any,
        *,
        kind: str,
        metadata: Mapping[str, tuple[Any, str]] | None = None,
    ) -> Any:
        """Call `function` with its trigger's value and return what its return binding encodes.

        `value` travels as a binding datum of type `kind` ("string", "json", "bytes", "http"), as do the
        trigger `metadata` ({name: (value, kind)}). With kind "request", `value` is handed to the function
        as it is and its result comes back as it is (HTTP v2). Raises HandlerError.
        """
        try:
            return await self._invoke(function, value, kind, metadata or {})
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise HandlerError(function.name, error) from error
        except (Exception, SystemExit) as error:  # a function may raise anything; it must not end the host
            raise HandlerError(function.name, error.with_traceback(_trim(error.__traceback__))) from error

    async def _invoke(
        self, function: Function, value: Any, kind: str, metadata: Mapping[str, tuple[Any, str]]
    ) -> Any:
        native, datum, info = self._native, self.datum, function.info
        name = function.trigger["name"]
        inputs = [
            (binding["name"], datum(self.client_binding, "string"))
            for binding in function.bindings
            if binding["type"] == "durableClient"
        ]
        raw = kind == "request"
        if not raw:
            inputs.append((name, datum(value, kind)))
        fields = {key: datum(field, of) for key, (field, of) in metadata.items()}
        args: dict[str, Any] = native._decode_inputs(info, inputs, fields)  # noqa: SLF001
        if raw:
            args[name] = value
        invocation = f"{self._session}{next(self._invocations):012x}"
        context = native._prepare_context(info, invocation, args)  # noqa: SLF001
        if info.is_async:
            context.thread_local_storage.invocation_id = invocation
            token = native.invocation_id_cv.set(invocation)
            try:
                result = await info.func(**args)
            finally:
                native.invocation_id_cv.reset(token)
        else:
            pool = self._pools.get(function.kind) or self._pools[""]
            result = await asyncio.get_running_loop().run_in_executor(
                pool, native.run_sync_func, invocation, context, info.func, args
            )
        native._check_return(info, result)  # noqa: SLF001
        return result if raw else native._encode_return(info, result)  # noqa: SLF001


def _trim(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Leave out the frames between the host and the function."""
    part = trace
    while part and part.tb_frame.f_globals.get("__name__", "").startswith(_BETWEEN):
        part = part.tb_next
    return part or trace


_BETWEEN = ("loom_local.", "azure_functions_runtime.", "concurrent.futures.", "azure.durable_functions.")


def _describe(indexed: Any, info: Any) -> Function:
    bindings = tuple(json.loads(binding) for binding in indexed.get_raw_bindings())
    trigger = next((b for b in bindings if str(b["type"]).lower().endswith("trigger")), {})
    retry = indexed.get_settings_dict("retry_policy") or None
    disabled = None
    try:
        trigger = {k: resolve(v) if isinstance(v, str) else v for k, v in trigger.items()}
    except InvalidError as error:
        disabled = str(error).removeprefix("$: ")
    return Function(
        info.name, trigger, bindings, info, retry, disabled or why_not(info.name, trigger, bindings)
    )


def _explain(error: BaseException, app_dir: Path) -> str:
    """Give the worker's message and the place in the app it came from."""
    mine = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(app_dir)]
    where = f" ({Path(mine[-1].filename).name}, line {mine[-1].lineno})" if mine else ""
    if isinstance(error, InvalidError):
        return "\n  ".join((f"the app breaks its rules{where}:", *map(str, error.problems)))
    return f"{type(error).__name__}: {error}{where}"
