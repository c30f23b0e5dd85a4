"""Native activities: plain functions, called with what their type hints allow."""

import asyncio
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, NotRequired, TypedDict, cast, get_type_hints

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticSerializationError

from loom_core.activities.definition import Definition, pydantic_problems
from loom_core.activities.registry import activity_name, source_of
from loom_core.activities.schema import encode
from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import Json

_PLAIN = TypeAdapter[Any](JsonValue)


class Native:
    """Raises InvalidError when built from a function whose parameters no JSON can fill."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = activity_name(function)
        self.source = source_of(function)
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._parameters = list(inspect.signature(function).parameters.values())
        kinds = {parameter.kind for parameter in self._parameters}
        self._takes_whole = len(self._parameters) == 1 and inspect.Parameter.KEYWORD_ONLY not in kinds
        try:
            self._hints = get_type_hints(function, include_extras=True)
        except NameError as error:
            raise InvalidError(f"{self.source}: a type hint cannot be resolved: {error}") from None
        if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            raise InvalidError(f"{self.source}: an activity's parameters cannot be *args or **kwargs")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidError(f"{self.source}: an activity cannot be a generator")

    async def call(self, value: Json) -> Json:
        """Raises InvalidError for an input or an output that breaks the hints, and what the function raises."""
        arguments, keywords = self._arguments(value)
        if self._is_async:
            result = await self._function(*arguments, **keywords)
        else:
            result = await asyncio.to_thread(self._function, *arguments, **keywords)
        return self._output(result)

    @property
    def definition(self) -> Definition:
        taken = self._input.json_schema() if self._input else True
        given = self._returned.json_schema(mode="serialization") if self._returned else True
        return Definition(self.name, "native", taken, given, self.source)

    def _arguments(self, value: Json) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._input is None:
            return (value,), {}
        data = encode({} if value is None and not self._takes_whole else value)
        try:
            checked = self._input.validate_json(data, strict=True)
        except ValidationError as error:
            raise InvalidError(list(pydantic_problems(error))) from None
        return ((checked,), {}) if self._takes_whole else ((), checked)

    def _output(self, result: Any) -> Json:
        try:
            if self._returned is None:
                return _PLAIN.validate_python(result, strict=True)
            return self._returned.dump_python(result, mode="json", by_alias=True, warnings="error")
        except ValidationError as error:
            problems = [
                Problem(problem.path, f"output: {problem.message}") for problem in pydantic_problems(error)
            ]
            raise InvalidError(problems) from None
        except PydanticSerializationError as error:
            raise InvalidError(f"output: {error}") from None

    @cached_property
    def _input(self) -> TypeAdapter[Any] | None:
        """None when the whole input may be any JSON."""
        if self._takes_whole:
            hint = self._hint(self._parameters[0].name)
            return None if hint is Any else TypeAdapter(hint)
        fields = {
            parameter.name: self._hint(parameter.name)
            if parameter.default is inspect.Parameter.empty
            else NotRequired[self._hint(parameter.name)]
            for parameter in self._parameters
        }
        make = cast("Callable[[str, dict[str, Any]], type]", TypedDict)
        return TypeAdapter(with_config(ConfigDict(extra="forbid", title=self.name))(make(self.name, fields)))

    @cached_property
    def _returned(self) -> TypeAdapter[Any] | None:
        hint = self._hint("return")
        return None if hint is Any else TypeAdapter(hint)

    def _hint(self, name: str) -> Any:
        hint = self._hints.get(name, Any)
        return Any if hint is Json else hint
