"""`@activity`: plain functions that carry a name."""

import inspect
import re
from collections.abc import Callable
from typing import Any, cast

from loom_core.activities.definition import NAME
from loom_core.errors import InvalidError

MARK = "__loom_activity__"


def activity[F: Callable[..., Any]](name: str) -> Callable[[F], F]:
    """Name a function, sync or async, as an activity; the function itself stays as it is.

    A function with one parameter is given the whole input. With several parameters, or keyword-only ones, the
    input is an object with these keys. Type hints and pydantic models among them are checked, strictly, and
    make the schema; a parameter without a hint takes any JSON.

    Raises InvalidError for a name that is not a letter and up to 63 more of `A-Za-z0-9._-`.
    """
    if not re.fullmatch(NAME, name):
        raise InvalidError(f"{name!r} is not a name for an activity")

    def mark(function: F) -> F:
        if not inspect.isfunction(cast("object", function)):
            raise InvalidError(f"the activity {name} is not a function: {function!r}")
        setattr(function, MARK, name)
        return function

    return mark
