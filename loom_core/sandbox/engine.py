"""The one wasmtime engine of the process, the clock that interrupts what runs in it, and when it gives up.

Both start when this file is imported, and only WASM activities import it.
"""

import ctypes
import itertools
import threading
import time
from importlib.metadata import version
from typing import Any, Self

from wasmtime import Config, Engine, Store, _bindings

_c: Any = _bindings  # what happens at an epoch deadline has no public name in Python
TICK = 0.005
_LOOK = 10  # ticks from one look at whether a call is to go on to the next: short calls see none
# Guests need nothing beyond the baseline, and what is off cannot be attacked.
_OFF = (
    *("wasm_component_model", "wasm_threads", "shared_memory", "wasm_memory64", "wasm_multi_memory"),
    *("wasm_relaxed_simd", "wasm_gc", "wasm_function_references", "wasm_exceptions", "wasm_tail_call"),
    *("wasm_stack_switching", "wasm_wide_arithmetic", "wasm_custom_page_sizes"),
)
# A guest's stack lies on its thread's: deeper recursion than a small thread holds would end the process.
_STACK_BYTES = 512 * 1024
CODE_VERSION = f"wasmtime={version('wasmtime')} off={','.join(_OFF)} stack={_STACK_BYTES} epochs"
"""What compiled code depends on, beside its module and this machine."""

_config = Config()
for _feature in _OFF:
    setattr(_config, _feature, False)
_config.epoch_interruption = True
_config.max_wasm_stack = _STACK_BYTES
_config.parallel_compilation = False  # its thread pool hangs in a forked child
ENGINE = Engine(_config)


class Leash:
    """While it is entered, what runs in the store is ended after `seconds`, or soon after `stop` was set."""

    def __init__(self, store: Store, seconds: float, stop: threading.Event) -> None:
        self._end, self._stop = time.monotonic() + seconds, stop
        self._number = next(_numbers)
        _c.wasmtime_store_epoch_deadline_callback(store.ptr(), _ON_DEADLINE, self._number, _NO_FINALIZER)
        store.set_epoch_deadline(self._ticks())

    def __enter__(self) -> Self:
        _leashes[self._number] = self
        return self

    def __exit__(self, *_: object) -> None:
        del _leashes[self._number]

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def look(self) -> int:
        """In how many ticks to look again; 0 ends what runs."""
        return 0 if self._stop.is_set() or self.is_over else self._ticks()

    def _ticks(self) -> int:
        return min(_LOOK, int((self._end - time.monotonic()) / TICK) + 2)


def _on_deadline(_context: object, number: int, ticks: Any, kind: Any) -> int:
    """Called by wasmtime, in the thread of the call; answers the address of an error, or 0 to go on."""
    ticks[0], kind[0] = _leashes[number].look(), 0  # to go on, after so many
    return 0 if ticks[0] else ctypes.cast(_c.wasmtime_error_new(b"ended"), ctypes.c_void_p).value or 0


_leashes: dict[int, Leash] = {}
_numbers = itertools.count(1)
_signature: Any = _c.dll.wasmtime_store_epoch_deadline_callback.argtypes
_ON_DEADLINE, _NO_FINALIZER = _signature[1](_on_deadline), _signature[3](0)


def _tick() -> None:
    while True:
        time.sleep(TICK)
        ENGINE.increment_epoch()


threading.Thread(target=_tick, name="loom-epochs", daemon=True).start()
