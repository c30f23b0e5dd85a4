"""Checking JSON: how a place in a document is named, and JSON Schemas, compiled when first needed."""

from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import Json, dump

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_PROBLEMS = 100


def json_path(parts: Iterable[str | int]) -> str:
    """Spell a location as JSONPath: `("a", 0, "b c")` is `$.a[0]["b c"]`."""
    return "$" + "".join(f".{part}" if str(part).isidentifier() else f"[{dump(part)}]" for part in parts)


def problems_of(error: ValidationError) -> list[Problem]:
    """Pydantic's findings, without the values it found them in."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [Problem(json_path(one["loc"]), one["msg"]) for one in found[:MAX_PROBLEMS]]


def encode(value: Json) -> bytes:
    """The compact UTF-8 JSON of a value. Raises InvalidError for what JSON cannot hold."""
    try:
        return dump(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"not plain JSON: {error}") from None


class Schema:
    """A JSON Schema, draft 2020-12 unless it says otherwise; no `$ref` makes it load another document."""

    def __init__(self, document: dict[str, Any] | bool) -> None:
        self._document = document

    def check(self, value: Json) -> None:
        """Raises InvalidError with every problem (MAX_PROBLEMS at most) and its path."""
        try:
            errors = islice(self.validator.iter_errors(value), MAX_PROBLEMS)
            problems = [Problem(json_path(error.instance_path), error.message) for error in errors]
        except ValueError as error:
            raise InvalidError(f"not plain JSON: {error}") from None
        if problems:
            raise InvalidError(problems)

    @cached_property
    def validator(self) -> "Validator":
        """Raises InvalidError if this is no JSON Schema."""
        import jsonschema_rs as rs  # noqa: PLC0415 - only WASM activities pay for it

        try:
            # Values stay out of messages, and patterns run in linear time.
            return rs.validator_for(
                self._document, offline=True, mask="the value", pattern_options=rs.RegexOptions()
            )
        except ValueError as error:
            reason = str(error).partition("\n")[0]  # below it stands where, in words that say no more
            raise InvalidError(f"not a usable JSON Schema: {reason}") from None
