"""A function of the app, as its decorators describe it, and whether this host can run it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TRIGGERS = frozenset(
    {
        "httpTrigger",
        "timerTrigger",
        "serviceBusTrigger",
        "blobTrigger",
        "orchestrationTrigger",
        "activityTrigger",
        "entityTrigger",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One indexed function. `trigger` is its trigger's binding document with app settings filled in.

    `disabled` says why the local host does not run it (None: it runs).
    """

    name: str
    trigger: Mapping[str, Any]
    bindings: tuple[Mapping[str, Any], ...]
    info: Any
    retry: Mapping[str, str] | None = None
    disabled: str | None = None

    @property
    def kind(self) -> str:
        return str(self.trigger.get("type", ""))


def why_not(name: str, trigger: Mapping[str, Any], bindings: tuple[Mapping[str, Any], ...]) -> str | None:
    """Say why the local host cannot run this function; it still runs the others."""
    off = os.environ.get(f"AzureWebJobs.{name}.Disabled", os.environ.get(f"AzureWebJobs_{name}_Disabled", ""))
    if off.lower() in {"1", "true"}:
        return f"switched off by AzureWebJobs.{name}.Disabled"
    kind = trigger.get("type")
    if kind not in _TRIGGERS:
        return f"trigger {kind!r} is not supported by the local host"
    for binding in bindings:
        if binding["name"] not in {trigger["name"], "$return"} and binding["type"] != "durableClient":
            return f"binding {binding['type']!r} is not supported by the local host"
    return None


_DURABLE_NAMES = {
    "orchestrationTrigger": "orchestration",
    "activityTrigger": "activity",
    "entityTrigger": "entityName",
}


def durable_name(function: Function) -> str:
    """Give the name an orchestration, activity or entity is called by. Entity names know no case."""
    name = str(function.trigger.get(_DURABLE_NAMES[function.kind]) or function.name)
    return name.lower() if function.kind == "entityTrigger" else name


def refuse_shared_names(functions: Mapping[str, Function]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for function in functions.values():
        if function.kind in _DURABLE_NAMES and function.disabled is None:
            key = (function.kind, durable_name(function))
            if key in seen:
                kind = function.kind.removesuffix("Trigger")
                raise ValueError(f"{seen[key]} and {function.name} both define the {kind} {key[1]!r}")
            seen[key] = function.name
