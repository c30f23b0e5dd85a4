"""`python -m benchmarks`: measures every area in a process of its own and writes benchmarks/results.md."""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from benchmarks.host import ROOT
from benchmarks.machine import describe, load
from benchmarks.measure import Scale, Table
from benchmarks.report import document, markdown

AREAS = (
    "stores",
    "azure_cosmos",
    "azure_blob",
    "azure_servicebus",
    "bills",
    "messages",
    "entities",
    "actors",
    "histories",
    "orchestrations",
    "runs",
    "scatter",
    "lanes",
    "start",
    "wasm",
)
RESULTS = ROOT / "benchmarks" / "results.md"
QUICK = Scale(factor=0.3, repeats=3, largest_scatter=10_000)
SMOKE = Scale(factor=0.01, repeats=1, largest_scatter=100)
_SIZES = {Scale(): "full", QUICK: "quick", SMOKE: "smoke: the figures mean nothing"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=AREAS, help="measure these, and leave results.md alone")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="scale", action="store_const", const=QUICK, help="about a minute")
    size.add_argument(
        "--smoke", dest="scale", action="store_const", const=SMOKE, help="see that it works; measures nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    options = parser.parse_args()
    scale = options.scale or Scale()

    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as folder:
        machine = describe(Path(folder))
        names = options.only or AREAS
        tables = [_measure(name, scale, Path(folder) / name) for name in names]
    machine |= {"load after": load(), "sizes": _SIZES[scale]}
    report = markdown(machine, tables)
    print(report)
    if options.only is None and scale is not SMOKE:
        RESULTS.write_text(report, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(document(machine, tables), indent=1), encoding="utf-8")


def _measure(name: str, scale: Scale, folder: Path) -> Table:
    sys.stderr.write(f"measuring {name}\n")
    folder.mkdir()
    area: Callable[[Scale, Path], Table] = import_module(f"benchmarks.{name}").measure
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(area, scale, folder).result()


if __name__ == "__main__":
    main()
