"""The one wasmtime engine of the process, and the clock that interrupts what runs in it."""

import functools
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmtime import Engine

TICK = 0.005
# Guests need nothing beyond the baseline, and what is off cannot be attacked.
_OFF = (
    *("wasm_component_model", "wasm_threads", "shared_memory", "wasm_memory64", "wasm_multi_memory"),
    *("wasm_relaxed_simd", "wasm_gc", "wasm_function_references", "wasm_exceptions", "wasm_tail_call"),
    *("wasm_stack_switching", "wasm_wide_arithmetic", "wasm_custom_page_sizes"),
)
# A guest's stack lies on its thread's: deeper recursion than a small thread holds would end the process.
_STACK_BYTES = 512 * 1024
CONFIGURATION = f"off={','.join(_OFF)} stack={_STACK_BYTES} epochs"


@functools.cache
def engine() -> "Engine":
    from wasmtime import Config, Engine  # noqa: PLC0415 - 80 ms that only WASM activities pay

    config = Config()
    for feature in _OFF:
        setattr(config, feature, False)
    config.epoch_interruption = True
    config.max_wasm_stack = _STACK_BYTES
    config.parallel_compilation = False  # its thread pool hangs in a forked child
    return Engine(config)


class Ticker:
    """A context within which the engine's epoch advances every TICK seconds; idle while nobody is in it."""

    def __init__(self) -> None:
        self._inside = 0
        self._entered = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        with self._entered:
            self._inside += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="loom-epochs", daemon=True)
                self._thread.start()
            elif self._inside == 1:
                self._entered.notify()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._entered:
            self._inside -= 1

    def _tick(self) -> None:
        while True:
            with self._entered:
                self._entered.wait_for(lambda: self._inside)
            time.sleep(TICK)
            engine().increment_epoch()


TICKER = Ticker()
