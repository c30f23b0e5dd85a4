"""Native activities: plain functions, called with what their type hints allow."""

import asyncio
import inspect
import re
from collections.abc import Callable
from functools import cached_property, partial
from inspect import Parameter
from typing import Any, NotRequired, TypedDict, cast, get_type_hints

from pydantic import ConfigDict, JsonValue, PydanticUserError, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticSerializationError

from loom_core.activities.registry import MARK
from loom_core.errors import InvalidError, Problem
from loom_core.schema import MAX_PROBLEMS, encode, json_path, problems_of
from loom_core.wire.json import Json

_PLAIN = TypeAdapter[Any](JsonValue)
_NO_NULL_FOR_NAN = ConfigDict(ser_json_inf_nan="constants")


class Native:
    """A function as an activity. Raises InvalidError for one without a name, or that JSON cannot call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        code = inspect.unwrap(function).__code__
        self.source = f"{code.co_filename}:{code.co_firstlineno}"
        self._function = function
        self._parameters = inspect.signature(function).parameters
        kinds = {parameter.kind for parameter in self._parameters.values()}
        self._takes_whole = len(self._parameters) == 1 and Parameter.KEYWORD_ONLY not in kinds
        if not hasattr(function, MARK):
            raise InvalidError(f"{self.source} has no @activity")
        if kinds & {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD} or inspect.isgeneratorfunction(function):
            raise InvalidError(f"{self.source}: an activity has no *args or **kwargs and is no generator")
        self.name: str = getattr(function, MARK)
        self.is_async = inspect.iscoroutinefunction(function)
        """Whether it runs on the event loop, and so can be cancelled there."""

    async def call(self, value: Json) -> Json:
        """Raises InvalidError for an input or output that breaks the hints, and what the function raises."""
        data = encode({} if value is None and not self._takes_whole else value)
        try:
            taken = self.takes.validate_json(data, strict=True)
        except ValidationError as error:
            raise InvalidError(problems_of(error)) from None
        call = partial(self._function, taken) if self._takes_whole else partial(self._function, **taken)
        given = await (call() if self.is_async else asyncio.to_thread(call))
        try:
            if self.gives is _PLAIN:
                return _PLAIN.validate_python(given, strict=True)
            return self.gives.dump_python(given, mode="json", by_alias=True, warnings="error")
        except ValidationError as error:
            # A location in JSON as such has a type before each key.
            found = error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]
            places = (json_path(problem["loc"][1::2]) for problem in found)
            raise InvalidError([Problem(place, "the output is not JSON here") for place in places]) from None
        except PydanticSerializationError as error:
            reason = re.sub("input_value=.*, (?=input_type=)", "", str(error))
            raise InvalidError(f"the output does not fit the return type: {reason}") from None

    @cached_property
    def takes(self) -> TypeAdapter[Any]:
        hints = {name: self._hints.get(name, Any) for name in self._parameters}
        if self._takes_whole:
            return TypeAdapter(*hints.values())
        optional = {name for name, one in self._parameters.items() if one.default is not Parameter.empty}
        fields = {name: NotRequired[hint] if name in optional else hint for name, hint in hints.items()}
        make = cast("Callable[[str, dict[str, Any]], type]", TypedDict)
        return TypeAdapter(with_config(ConfigDict(extra="forbid"))(make(self.name, fields)))

    @cached_property
    def gives(self) -> TypeAdapter[Any]:
        hint = self._hints.get("return", Any)
        if hint is Any:
            return _PLAIN
        try:
            return TypeAdapter(hint, config=_NO_NULL_FOR_NAN)
        except PydanticUserError:
            return TypeAdapter(hint)  # models, dataclasses and the like have their own

    @cached_property
    def _hints(self) -> dict[str, Any]:
        """What hints say; of JSON as such, nothing."""
        hints = get_type_hints(self._function, include_extras=True)
        return {name: hint for name, hint in hints.items() if hint is not Json}
