"""The one wasmtime engine of the process, and the clock that interrupts what runs in it.

Both start when this file is imported, and only WASM activities import it.
"""

import threading
import time
from importlib.metadata import version

from wasmtime import Config, Engine

TICK = 0.005
# Guests need nothing beyond the baseline, and what is off cannot be attacked.
_OFF = (
    *("wasm_component_model", "wasm_threads", "shared_memory", "wasm_memory64", "wasm_multi_memory"),
    *("wasm_relaxed_simd", "wasm_gc", "wasm_function_references", "wasm_exceptions", "wasm_tail_call"),
    *("wasm_stack_switching", "wasm_wide_arithmetic", "wasm_custom_page_sizes"),
)
# A guest's stack lies on its thread's: deeper recursion than a small thread holds would end the process.
_STACK_BYTES = 512 * 1024


def _make_engine() -> Engine:
    config = Config()
    for feature in _OFF:
        setattr(config, feature, False)
    config.epoch_interruption = True
    config.max_wasm_stack = _STACK_BYTES
    config.parallel_compilation = False  # its thread pool hangs in a forked child
    return Engine(config)


def code_version() -> str:
    """What compiled code depends on, beside its module and this machine."""
    return f"wasmtime={version('wasmtime')} off={','.join(_OFF)} stack={_STACK_BYTES} epochs"


def _tick() -> None:
    while True:
        time.sleep(TICK)
        ENGINE.increment_epoch()


ENGINE = _make_engine()
threading.Thread(target=_tick, name="loom-epochs", daemon=True).start()
