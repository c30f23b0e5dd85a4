"""What Azure refuses to index is refused here, in the same words."""

import pytest

from tests.host.processes import APPS, FAST, start_host

BROKEN = {
    "a type the indexer cannot read": (
        """
from __future__ import annotations
from typing import TYPE_CHECKING
import azure.functions as func
if TYPE_CHECKING:
    from decimal import Decimal
app = func.FunctionApp()
@app.route(route='x')
def f(req: func.HttpRequest, n: Decimal) -> str: ...
""",
        "NameError: name 'Decimal' is not defined",
    ),
    "a new-style list of messages": (
        """
import azure.functions as func
app = func.FunctionApp()
@app.service_bus_queue_trigger(arg_name='m', queue_name='q', connection='c', cardinality='many')
def f(m: list[func.ServiceBusMessage]) -> None: ...
""",
        "invalid non-type annotation",
    ),
    "two apps": (
        """
import azure.functions as func
app = func.FunctionApp()
main = func.FunctionApp()
@app.route(route='x')
def f(req: func.HttpRequest) -> str: ...
""",
        "More than one FunctionApp",
    ),
    "two functions with one name": (
        """
import azure.functions as func
app = func.FunctionApp()
@app.route(route='x')
def f(req: func.HttpRequest) -> str: ...
@app.route(route='y')
@app.function_name('f')
def g(req: func.HttpRequest) -> str: ...
""",
        "does not have a unique function name",
    ),
    "a parameter that nothing binds": (
        """
import azure.durable_functions as df, azure.functions as func
app = df.DFApp()
@app.route(route='x')
def f(req: func.HttpRequest, client: str) -> str: ...
""",
        "the following parameters are declared in Python but not in the function definition",
    ),
    "a decorator that does not exist": (
        """
import azure.functions as func
app = func.FunctionApp()
@app.warmup_trigger('w')
def f(w): ...
""",
        "has no attribute 'warmup_trigger'",
    ),
    "no app": (
        """
x = 1
""",
        "Could not find top level function app instances",
    ),
    "a syntax error": (
        """
def f(:
""",
        "SyntaxError",
    ),
    "a route that means nothing": (
        """
import azure.functions as func
app = func.FunctionApp()
@app.route(route='x/{id:wrong}')
def f(req: func.HttpRequest) -> str: ...
""",
        "':wrong' is not a known constraint",
    ),
    "one activity twice": (
        """
import azure.durable_functions as df
app = df.DFApp()
@app.activity_trigger(input_name='a', activity='same')
def f(a): ...
@app.activity_trigger(input_name='a', activity='same')
def g(a): ...
""",
        "both define the activity 'same'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_it_is_refused(tmp_path, case):
    source, message = BROKEN[case]
    (tmp_path / "function_app.py").write_text(source, encoding="utf-8")
    with start_host(tmp_path, tmp_path / "data", *FAST) as host:
        assert host.ended() == 3
    assert message in host.output
    assert "Traceback" not in host.output


def test_what_is_wrong_with_a_definition_is_told_one_problem_a_line(tmp_path):
    source = """
from loom_core.errors import InvalidError, Problem
raise InvalidError([Problem("$.a", "is wrong"), Problem("$.b", "is wrong too")])
"""
    (tmp_path / "function_app.py").write_text(source, encoding="utf-8")
    with start_host(tmp_path, tmp_path / "data", *FAST) as host:
        assert host.ended() == 3
    assert "\n  $.a: is wrong\n  $.b: is wrong too\n" in host.output


def test_another_version_of_the_worker_library_is_refused(tmp_path):
    other = tmp_path / "packages" / "azure_functions_runtime-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Name: azure-functions-runtime\nVersion: 9.9.9\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(other.parent)}
    with start_host(APPS / "http_v1", tmp_path / "data", *FAST, env=environment) as host:
        assert host.ended() == 1
    assert "needs azure-functions-runtime 1.3.0, found 9.9.9: pip install" in host.output
