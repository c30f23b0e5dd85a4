"""The shipped pipeline with its real activities, driven in memory."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loom_core.activities import Activities
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_folder, load_modules
from loom_core.errors import SandboxError, StepFailedError
from loom_core.notations import parse, pipeline_program
from loom_core.payloads import resolve
from loom_core.testing import Bench
from tests.licence import texts
from tests.licence.conftest import ROOT

DEFINITION = json.loads((ROOT / "pipelines/licence-audit.json").read_text("utf-8"))


class Audit:
    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.broken: set[str] = set()
        self.blobs = MemoryBlobStore()
        functions, modules = load_folder(ROOT / "activities"), load_modules(ROOT / "wasm")
        self.activities = Activities(functions, modules, blobs=self.blobs)
        self.bench = Bench({name: self._activity(name) for name in self.activities.names})

    def _activity(self, name: str) -> Callable[[Any], Any]:
        def activity(value: Any) -> Any:
            if name == "licence-classify" and value["name"] in self.broken:
                raise SandboxError("the module gave up")
            return self.runner.run(self.activities.run({"activity": name, "input": value}))

        return activity

    def run(self, value: Any) -> Any:
        payload = {"run": "run-1", "definition": DEFINITION, "input": value}
        return self.runner.run(resolve(self.blobs, self.bench.run(pipeline_program, payload)))

    def stage(self, name: str) -> dict[str, Any]:
        return self.bench.published[-1]["stages"][name]


@pytest.fixture
def audit() -> Iterator[Audit]:
    with asyncio.Runner() as runner:
        yield Audit(runner)


def test_the_definition_has_no_problem_and_no_warning():
    assert parse(DEFINITION).warnings == ()


def test_an_environment_is_audited(audit: Audit, tmp_path: Path, install: Callable[..., Path]):
    install("agrees", "License-Expression: MIT", LICENSE=texts.MIT)
    install("bundles", "License-Expression: MIT", LICENSE=texts.MIT + texts.AGPL3)
    install("textless", "Classifier: License :: OSI Approved :: BSD License")
    install("silent")
    report = audit.run({"path": str(tmp_path / "env")})
    assert {family: count for family, count in report["summary"].items() if count} == {
        "permissive": 2,
        "network-copyleft": 1,
        "unknown": 1,
    }
    assert [(entry["name"], entry["source"], entry["flags"]) for entry in report["packages"]] == [
        ("agrees", "text", []),
        ("bundles", "text", ["conflict", "copyleft"]),
        ("silent", "none", ["unknown"]),
        ("textless", "metadata", []),
    ]
    assert report["packages"][0]["holders"] == ["Ada Lovelace"]
    assert (audit.stage("ClassifyTexts")["done"], audit.stage("ClassifyTexts")["skipped"]) == (2, 2)


@pytest.mark.parametrize("value", [None, {}, {"path": None}])
def test_without_a_path_the_own_environment_is_audited(audit: Audit, value: Any):
    report = audit.run(value)
    families = {entry["name"]: entry["family"] for entry in report["packages"]}
    assert (families["pytest"], families["hypothesis"], families["packaging"]) == (
        "permissive",
        "weak-copyleft",
        "permissive",
    )
    assert report["markdown"].startswith("# Licence audit\n")


def test_a_text_that_breaks_the_sandbox_costs_only_its_own_package(
    audit: Audit, tmp_path: Path, install: Callable[..., Path]
):
    install("a", "License-Expression: ISC", LICENSE=texts.ISC)
    install("b", "License-Expression: MIT", LICENSE=texts.MIT)
    audit.broken.add("a")
    report = audit.run({"path": str(tmp_path / "env")})
    assert [(entry["family"], entry["flags"]) for entry in report["packages"]] == [
        ("permissive", ["unread"]),
        ("permissive", []),
    ]


def test_a_path_without_packages_fails_the_run_and_says_why(audit: Audit, tmp_path: Path):
    with pytest.raises(StepFailedError, match=r"InvalidError.*\$\.path") as raised:
        audit.run({"path": str(tmp_path)})
    assert not raised.value.can_retry
