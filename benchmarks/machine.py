"""What the figures were taken on."""

import os
import platform
import sqlite3
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.host import ROOT


def describe(folder: Path) -> dict[str, str]:
    """Describe this machine, its disk under `folder`, and what runs on it."""
    cores = os.cpu_count() or 1
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Loom": _commit(),
        "processor": f"{cores} cores, {_model()}",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "disk": f"{1000 * _fsync(folder):.2f} ms for a synced write of 4 KB (median)",
        "load before": load(),
    }


def load() -> str:
    """Say how busy the machine is; more than a little, and the figures are those of a shared machine."""
    return f"{psutil.getloadavg()[0]:.1f} processes, average of the last minute"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    try:
        return git("rev-parse", "--short=12", "HEAD").strip() + (
            " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _fsync(folder: Path) -> float:
    times: list[float] = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)
