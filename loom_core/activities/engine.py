"""The one wasmtime engine of the process, and the clock that interrupts what runs in it."""

import functools
import threading
import time
from importlib.metadata import version
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


@functools.cache
def engine() -> "Engine":
    """Make the engine and start its clock: its epoch advances every TICK seconds from now on."""
    from wasmtime import Config, Engine  # noqa: PLC0415 - 80 ms that only WASM activities pay

    config = Config()
    for feature in _OFF:
        setattr(config, feature, False)
    config.epoch_interruption = True
    config.max_wasm_stack = _STACK_BYTES
    config.parallel_compilation = False  # its thread pool hangs in a forked child
    made = Engine(config)
    threading.Thread(target=_tick, args=[made], name="loom-epochs", daemon=True).start()
    return made


def code_version() -> str:
    """What compiled code depends on, beside its module and this machine."""
    return f"wasmtime={version('wasmtime')} off={','.join(_OFF)} stack={_STACK_BYTES} epochs"


def _tick(engine: "Engine") -> None:
    while True:
        time.sleep(TICK)
        engine.increment_epoch()
