import asyncio
import threading
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, ConfigDict, Field

from loom_core.activities import Activities, Call, activity, current_call
from loom_core.activities.native import Native
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_folder
from loom_core.errors import InvalidError, NotFoundError, TimedOutError, UnavailableError
from loom_core.wire.json import Json

SHIPPED = Path(__file__).parents[2] / "activities"


class Colour(StrEnum):
    RED = "red"


class Line(BaseModel):
    item: str
    count: Annotated[int, Field(ge=1)] = 1


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int
    due: date
    lines: list[Line]


class Point(TypedDict):
    x: float
    y: float


async def call(function, value: Any) -> Any:
    name = Native(function).name
    return await Activities([function], blobs=MemoryBlobStore()).run({"activity": name, "input": value})


async def test_noop_returns_its_input():
    activities = Activities(load_folder(SHIPPED), blobs=MemoryBlobStore())

    for value in (None, 1, "x", [1, {"a": None}], {"input": {}}):
        assert await activities.run({"activity": "noop", "input": value}) == value


async def test_sleep_waits_for_a_bounded_time():
    activities = Activities(load_folder(SHIPPED), blobs=MemoryBlobStore())

    assert await activities.run({"activity": "sleep", "input": {"seconds": 0.001}}) is None
    for refused in (
        {"seconds": -1},
        {"seconds": 1e9},
        {"seconds": "1"},
        {},
        None,
        1,
        {"seconds": 0, "minutes": 1},
    ):
        with pytest.raises(InvalidError):
            await activities.run({"activity": "sleep", "input": refused})


async def test_one_parameter_takes_the_whole_input_and_several_take_its_keys():
    @activity("whole")
    def whole(order: dict[str, int]) -> list[str]:
        return sorted(order)

    @activity("keys")
    def keys(a: int, b: str = "default") -> str:
        return f"{a}{b}"

    @activity("keyword")
    def keyword(*, text: str) -> str:
        return text.upper()

    @activity("nothing")
    def nothing() -> int:
        return 42

    assert await call(whole, {"b": 1, "a": 2}) == ["a", "b"]
    assert await call(keys, {"a": 1}) == "1default"
    assert await call(keys, {"a": 1, "b": "x"}) == "1x"
    assert await call(keyword, {"text": "x"}) == "X"
    assert await call(nothing, None) == await call(nothing, {}) == 42


async def test_models_and_dates_are_made_from_json_and_become_json_again():
    @activity("order")
    def postpone(order: Order) -> Order:
        return order.model_copy(update={"due": date(order.due.year + 1, 1, 1)})

    assert await call(postpone, {"id": 1, "due": "2024-05-06", "lines": [{"item": "x"}]}) == {
        "id": 1,
        "due": "2025-01-01",
        "lines": [{"item": "x", "count": 1}],
    }


async def test_every_problem_of_an_input_is_told_with_its_path_and_without_its_value():
    @activity("order")
    def order(order: Order) -> None:
        raise AssertionError

    bad = {"id": "SECRET", "due": "never", "lines": [{"item": "x"}, {"item": 1, "count": 0}], "an extra": 1}
    with pytest.raises(InvalidError) as raised:
        await call(order, bad)

    paths = {problem.path for problem in raised.value.problems}
    assert paths == {"$.id", "$.due", "$.lines[1].item", "$.lines[1].count", '$["an extra"]'}
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [1, -1, 10**30], ["1", 1.5, True, None]),
        (float, [1, 1.5], ["1.5", True, None]),
        (str, ["", "ä"], [1, None, ["x"]]),
        (bool, [True], [1, "true", None]),
        (bytes, ["abc"], [1]),
        (date, ["2024-01-01"], [1704067200, "x"]),
        (Colour, ["red"], ["blue", 1]),
        (Literal["a", 1], ["a", 1], ["1", "b"]),
        (tuple[int, str], [[1, "x"]], [[1], ["x", 1], {"0": 1}]),
        (list[int], [[], [1]], [["1"], {}, "1"]),
        (Point, [{"x": 1, "y": 2.5}], [{"x": 1}, {"x": "1", "y": 2}, []]),
        (int | None, [1, None], ["1"]),
        (Any, [1, None, {"a": []}], []),
        (Json, [1, None, {"a": []}], []),
    ],
)
async def test_hints_are_held_to_as_strictly_as_json_allows(hint, good, bad):
    def take(value):
        return None

    take.__annotations__["value"] = hint
    activity("take")(take)
    for value in good:
        await call(take, value)
    for value in bad:
        with pytest.raises(InvalidError):
            await call(take, value)


async def test_schemas_come_from_the_hints():
    @activity("order")
    def order(order: Order) -> Point:
        raise AssertionError

    @activity("keys")
    def keys(a: int, b: Colour = Colour.RED):
        raise AssertionError

    assert Native(order).takes.json_schema()["required"] == ["id", "due", "lines"]
    assert set(Native(order).gives.json_schema()["properties"]) == {"x", "y"}
    schema = Native(keys).takes.json_schema()
    assert (schema["required"], schema["additionalProperties"]) == (["a"], False)


@pytest.mark.parametrize(
    "output", [object(), {"x": float("nan")}, float("inf"), {"x": "\ud800"}, 1j, {(1, 2, 3j): 1}]
)
async def test_an_output_that_is_no_json_is_refused(output):
    @activity("bad")
    def bad(_: Json):
        return output

    with pytest.raises(InvalidError):
        await call(bad, None)


async def test_an_output_that_breaks_its_hint_is_refused():
    @activity("bad")
    def bad(_: Json) -> list[int]:
        return ["SECRET"]  # type: ignore[list-item] - what the test is about

    with pytest.raises(InvalidError, match=r"does not fit the return type: (.|\n)*`int`") as raised:
        await call(bad, None)
    assert "SECRET" not in str(raised.value)


async def test_an_output_without_a_hint_is_plain_json_and_what_is_not_is_named():
    @activity("bad")
    def bad(_):
        return {"a": [1, {"b": {1, 2}}], "c": (1,)}

    with pytest.raises(InvalidError) as raised:
        await call(bad, None)
    assert {problem.path for problem in raised.value.problems} == {"$.a[1].b", "$.c"}


@pytest.mark.parametrize("hint", [float, list[float], dict[str, Any], dict, Any])
async def test_a_number_json_does_not_have_never_becomes_null(hint):
    def bad(_):
        return (
            float("nan") if hint is float else [float("nan")] if hint == list[float] else {"x": float("nan")}
        )

    bad.__annotations__["return"] = hint
    with pytest.raises(InvalidError):
        await call(activity("bad")(bad), None)


async def test_sync_functions_run_in_threads_and_async_ones_on_the_loop():
    @activity("sync")
    def sync(_: Json) -> bool:
        return threading.current_thread() is threading.main_thread()

    @activity("async")
    async def asynchronous(_: Json) -> bool:
        await asyncio.sleep(0)
        return threading.current_thread() is threading.main_thread()

    assert (await call(sync, None), await call(asynchronous, None)) == (False, True)


async def test_what_an_activity_raises_comes_through():
    @activity("fails")
    def fails(_: Json) -> None:
        raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        await call(fails, None)


async def test_an_activity_can_ask_for_the_call_it_serves():
    @activity("who")
    def who(_: Json) -> list[str]:
        served = current_call.get()
        return [served.activity, served.run, served.key]

    activities = Activities([who], blobs=MemoryBlobStore())

    assert await activities.run({"activity": "who", "input": 1, "run": "run-1", "key": "k"}) == [
        "who",
        "run-1",
        "k",
    ]
    batch = await activities.run(
        {"activity": "who", "inputs": [1, 2], "run": "run-1", "keys": ["k/0", "k/1"]}
    )
    assert [outcome["ok"][2] for outcome in batch] == ["k/0", "k/1"]
    with pytest.raises(LookupError):
        current_call.get()
    assert Call("a", "r", "k").key == "k"


async def test_a_batch_has_an_outcome_for_each_input_in_order():
    @activity("picky")
    def picky(n: int) -> int:
        if n == 1:
            raise TimeoutError("slow")
        if n == 2:
            raise UnavailableError("away")
        if n == 3:
            raise TimedOutError
        return n

    activities = Activities([picky], blobs=MemoryBlobStore())

    assert await activities.run({"activity": "picky", "inputs": [0, 1, 2, "x", 4]}) == [
        {"ok": 0},
        {"error": {"type": "TimeoutError", "message": "slow", "retryable": True}},
        {"error": {"type": "UnavailableError", "message": "away", "retryable": True}},
        {
            "error": {
                "type": "InvalidError",
                "message": "$: Input should be a valid integer",
                "retryable": False,
            }
        },
        {"ok": 4},
    ]
    assert await activities.run({"activity": "picky", "inputs": []}) == []


async def test_an_unknown_activity_is_not_found():
    activities = Activities([], blobs=MemoryBlobStore())

    with pytest.raises(NotFoundError, match="'nope'"):
        await activities.run({"activity": "nope", "input": None})
    (outcome,) = await activities.run({"activity": "nope", "inputs": [1]})
    assert outcome["error"]["type"] == "NotFoundError"


async def test_what_an_activity_raises_is_logged_with_its_traceback_and_what_loom_refuses_is_not(caplog):
    @activity("fragile")
    def fragile(n: int) -> float:
        return 1 / n

    activities = Activities([fragile], blobs=MemoryBlobStore())
    results = await activities.run(
        {"activity": "fragile", "run": "run-1", "inputs": [0, "no number"], "keys": ["a", "b"]}
    )

    assert [result["error"]["type"] for result in results] == ["ZeroDivisionError", "InvalidError"]
    (record,) = caplog.records
    assert record.getMessage() == "the activity fragile of run-1 failed"
    assert "return 1 / n" in caplog.text
