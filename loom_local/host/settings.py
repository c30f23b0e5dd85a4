"""What a Functions app says about itself in files: host.json and local.settings.json."""

import json
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from loom_core.errors import InvalidError, Problem

DEFAULT_HUB = "Loom"
_APP_SETTING = re.compile(r"%([^%\s]+)%")


@dataclass(frozen=True, slots=True)
class HostJson:
    """The parts of host.json that the local host obeys; `document` is all of it."""

    route_prefix: str
    hub_name: str
    document: Mapping[str, Any]

    @classmethod
    def read(cls, app_dir: Path, environment: Mapping[str, str] = os.environ) -> Self:
        """Read host.json; an app without one gets the defaults of Azure.

        Raises InvalidError for a file that is not a JSON object.
        """
        document = _read_object(app_dir / "host.json")
        extensions = _object(document, "extensions")
        prefix = _object(extensions, "http").get("routePrefix", "api")
        hub = _object(extensions, "durableTask").get("hubName", DEFAULT_HUB)
        problems = [
            Problem(path, "must be a string")
            for path, value in (
                ("$.extensions.http.routePrefix", prefix),
                ("$.extensions.durableTask.hubName", hub),
            )
            if not isinstance(value, str)
        ]
        if problems:
            raise InvalidError(problems)
        try:
            hub = resolve(hub, environment)
        except InvalidError:  # one file is one hub here: its name is only for show
            hub = DEFAULT_HUB
        return cls(prefix.strip("/"), hub, document)


def load_app_settings(app_dir: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Add the `Values` of local.settings.json to the environment, as `func` does: what is set already stays.

    Raises InvalidError for a file that is encrypted, malformed, or holds values that are not strings.
    """
    document = _read_object(app_dir / "local.settings.json")
    if document.get("IsEncrypted") is True:
        raise InvalidError([Problem("$.IsEncrypted", "decrypt the file first: func settings decrypt")])
    values = _object(document, "Values")
    problems = [
        Problem(f"$.Values.{name}", "must be a string")
        for name, value in values.items()
        if not isinstance(value, str)
    ]
    if problems:
        raise InvalidError(problems)
    for name, value in values.items():
        environment.setdefault(name, value)


def resolve(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Replace each `%NAME%` by the app setting of that name. Raises InvalidError if one is not set."""

    def setting(match: re.Match[str]) -> str:
        try:
            return environment[match[1]]
        except KeyError:
            raise InvalidError(f"the app setting %{match[1]}% is not set") from None

    return _APP_SETTING.sub(setting, text)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidError(f"{path.name} must hold a JSON object")
    return document


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise InvalidError([Problem(f"$.{key}", "must be an object")])
    return value
