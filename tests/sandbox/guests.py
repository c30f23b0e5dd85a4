"""WASM guests for the tests, written as text: good and bad modules of the loom reactor ABI."""

import hashlib

from wasmtime import wat2wasm

from loom_core.activities import Definition
from loom_core.sandbox.limits import Limits

ALLOC = """
  (memory (export "memory") 1)
  (func (export "loom_alloc") (param $len i32) (result i32) (local $need i32)
    (local.set $need (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1)))
    (if (i32.eq (memory.grow (local.get $need)) (i32.const -1)) (then (return (i32.const 0))))
    (i32.const 65536))
"""


def run(body: str, *, alloc: str = ALLOC, extra: str = "") -> str:
    signature = '(export "loom_run") (param $ptr i32) (param $len i32) (result i64)'
    return f"(module {alloc} {extra} (func {signature} {body}))"


def result(ptr: str, length: str, failed: str = "0") -> str:
    """The packed result as WAT."""
    return f"""(i64.or (i64.shl (i64.extend_i32_u {ptr}) (i64.const 32))
        (i64.or (i64.shl (i64.const {failed}) (i64.const 31)) (i64.extend_i32_u {length})))"""


def text(data: str, failed: str = "0") -> str:
    """A guest that answers with these bytes, whatever it is given."""
    escaped = "".join(f"\\{byte:02x}" for byte in data.encode())
    body = result("(i32.const 16)", f"(i32.const {len(data.encode())})", failed)
    return run(body, extra=f'(data (i32.const 16) "{escaped}")')


ECHO = run(result("(local.get $ptr)", "(local.get $len)"))
SPIN = run("(loop br 0) (i64.const 0)")
UNREACHABLE = run("unreachable")
RECURSE = run("(call $f)", extra="(func $f (result i64) (i64.add (call $f) (i64.const 1)))")
OUT_OF_BOUNDS = run("(drop (i32.load (i32.const 0x7fffffff))) (i64.const 0)")
DIVIDE_BY_ZERO = run("(i64.div_s (i64.const 1) (i64.const 0))")
# Grows towards 10 GB, a page at a time, and panics when it is refused.
GREEDY = run(
    "(local $i i32) (loop"
    " (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))"
    " (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 163840))))"
    " (i64.const 0)"
)
HUGE_AT_START = run("(i64.const 0)", alloc=ALLOC.replace('(export "memory") 1)', '(export "memory") 65536)'))
HUGE_TABLE = run("(i64.const 0)", extra="(table 1000000 funcref)")
SPIN_AT_START = run("(i64.const 0)", extra="(func $s (loop br 0)) (start $s)")
SPIN_IN_INITIALIZE = run("(i64.const 0)", extra='(func (export "_initialize") (loop br 0))')
POINTS_OUTSIDE = run(result("(i32.const -8)", "(i32.const 100)"))
POINTS_PAST_THE_END = run(
    result("(i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))", "(i32.const 2)")
)
LONG_OUTPUT = run("(drop (memory.grow (i32.const 200)))" + result("(i32.const 0)", "(i32.const 10000000)"))
ALLOC_OUTSIDE = run(
    "(i64.const 0)",
    alloc='(memory (export "memory") 1) (func (export "loom_alloc") (param i32) (result i32) (i32.const -4))',
)
ALLOC_FAILS = run(
    "(i64.const 0)",
    alloc='(memory (export "memory") 1) (func (export "loom_alloc") (param i32) (result i32) (i32.const 0))',
)
NO_RUN = f"(module {ALLOC})"
NO_MEMORY = (
    '(module (func (export "loom_alloc") (param i32) (result i32) (i32.const 0))'
    ' (func (export "loom_run") (param i32 i32) (result i64) (i64.const 0)))'
)
WRONG_SIGNATURE = f'(module {ALLOC} (func (export "loom_run") (param i32) (result i64) (i64.const 0)))'
UNGRANTED = '(module (import "loom" "http_request" (func (param i32 i32) (result i32)))' + run(
    "(i64.const 0)"
).removeprefix("(module ")
WASI = (
    '(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
    + run("(i64.const 0)").removeprefix("(module ")
)
THREADS = run("(i64.const 0)", alloc=ALLOC.replace('(export "memory") 1)', '(export "memory") 1 2 shared)'))
MEMORY64 = run("(i64.const 0)", alloc=ALLOC.replace('(export "memory") 1)', '(export "memory") i64 1)'))
# Counts its calls in a global; an instance that served an earlier call would answer 2.
COUNTS = run(
    "(global.set $n (i32.add (global.get $n) (i32.const 1)))"
    " (i32.store8 (i32.const 16) (i32.add (i32.const 48) (global.get $n)))"
    + result("(i32.const 16)", "(i32.const 1)"),
    extra="(global $n (mut i32) (i32.const 0))",
)
INITIALIZED = run(
    result("(i32.const 16)", "(i32.const 1)"),
    extra='(func (export "_initialize") (i32.store8 (i32.const 16) (i32.const 55)))',
)


def build(wat: str) -> bytes:
    return bytes(wat2wasm(wat))


def define(data: bytes, name: str = "guest", **fields) -> Definition:
    limits = Limits.model_validate({"maxExecutionMs": 1000, "maxMemoryMB": 16} | fields.pop("limits", {}))
    digest = hashlib.sha256(data).hexdigest()
    return Definition(name=name, version="1", digest=digest, limits=limits, **fields)
