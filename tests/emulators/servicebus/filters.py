"""Which messages of a topic a subscription takes: correlation filters, as in Microsoft's Config.json."""

from collections.abc import Callable
from typing import Any

from tests.emulators.servicebus.messages import Message
from tests.emulators.servicebus.properties import ConfigError

_PLACES = {
    "MessageId": 0, "To": 2, "Label": 3, "Subject": 3, "ReplyTo": 4, "CorrelationId": 5, "ContentType": 6,
    "SessionId": 10, "ReplyToSessionId": 12,
}  # fmt: skip
_ALL, _NONE = "1=1", "1=0"

type Filter = Callable[[Message], bool]


def any_of(rules: tuple[dict[str, Any], ...]) -> Filter:
    """A message passes that one rule lets pass, or where there are none. Raises ConfigError."""
    filters = [_filter(rule) for rule in rules]
    return lambda message: not filters or any(passes(message) for passes in filters)


def _filter(rule: dict[str, Any]) -> Filter:
    values = rule.get("Properties", {})
    if values.get("Action"):
        raise ConfigError(f"rule {rule.get('Name')}: actions are not supported")
    if values.get("FilterType") == "Sql":
        expression = values.get("SqlFilter", {}).get("SqlExpression", "").replace(" ", "")
        if expression not in (_ALL, _NONE):
            raise ConfigError(
                f"rule {rule.get('Name')}: of SQL filters only {_ALL} and {_NONE} are supported"
            )
        return lambda _message: expression == _ALL
    if values.get("FilterType") != "Correlation":
        raise ConfigError(f"rule {rule.get('Name')}: a FilterType is Correlation or Sql")
    return _correlation(rule.get("Name"), dict(values.get("CorrelationFilter") or {}))


def _correlation(name: object, wanted: dict[str, Any]) -> Filter:
    own = wanted.pop("Properties", None) or {}
    if unknown := wanted.keys() - _PLACES:
        raise ConfigError(f"rule {name}: unknown properties: {', '.join(sorted(unknown))}")

    def passes(message: Message) -> bool:
        return all(message.property(_PLACES[key]) == value for key, value in wanted.items()) and all(
            key in message.application and message.application[key] == value for key, value in own.items()
        )

    return passes
