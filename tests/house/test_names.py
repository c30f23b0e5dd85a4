"""The public names, and what importing them costs."""

import subprocess
import sys

import pytest

import loom_core

HEAVY = (
    "aiohttp",
    "azure",
    "durabletask",
    "fastapi",
    "grpc",
    "jsonschema_rs",
    "pydantic",
    "rich",
    "uvicorn",
    "wasmtime",
)


def imported_by(statement):
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_public_name_is_there():
    assert list(loom_core.__all__) == sorted(loom_core.__all__)
    assert all(hasattr(loom_core, name) for name in loom_core.__all__)


@pytest.mark.parametrize(
    "module",
    ["loom_core", "loom_core.errors", "loom_core.wire.commands", "loom_core.wire.json"]
    + [
        f"loom_local.cli.{name}"
        for name in ("diagram", "main", "pipelines", "run", "runs", "send", "validate")
    ],
)
def test_a_light_module_imports_nothing_heavy(module):
    assert imported_by(f"import {module}").isdisjoint(HEAVY)
