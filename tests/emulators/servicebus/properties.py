"""What an entity is set up to do, as Microsoft's emulator spells it in its Config.json."""

import re
from dataclasses import dataclass, field
from typing import Any

NAMES = {
    "LockDuration": "lock_duration",
    "MaxDeliveryCount": "max_deliveries",
    "RequiresSession": "sessions",
    "DefaultMessageTimeToLive": "ttl",
    "DeadLetteringOnMessageExpiration": "dead_letter_expired",
    "RequiresDuplicateDetection": "duplicate_detection",
    "DuplicateDetectionHistoryTimeWindow": "duplicate_window",
    "ForwardTo": "forward_to",
    "ForwardDeadLetteredMessagesTo": "forward_dead_letters_to",
    "MaxMessageSizeInKilobytes": "max_message_kilobytes",
    "MaxSizeInMegabytes": "max_megabytes",
}
_TIMES = {"LockDuration", "DefaultMessageTimeToLive", "DuplicateDetectionHistoryTimeWindow"}
_TYPES = {"MaxDeliveryCount": int, "MaxMessageSizeInKilobytes": int, "MaxSizeInMegabytes": int,
          "ForwardTo": str, "ForwardDeadLetteredMessagesTo": str}  # fmt: skip
_ISO = re.compile(
    r"P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z",
)


class ConfigError(Exception):
    """The configuration says something that this broker cannot do, or nothing that makes sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """Times in seconds. `sessions` None: the first message or receiver decides."""

    lock_duration: float = 60.0
    max_deliveries: int = 10
    sessions: bool | None = False
    ttl: float | None = None
    dead_letter_expired: bool = False
    duplicate_detection: bool = False
    duplicate_window: float = 600.0
    forward_to: str = ""
    forward_dead_letters_to: str = ""
    max_message_kilobytes: int = 256
    max_megabytes: int = 1024
    rules: tuple[dict[str, Any], ...] = field(default=())

    @property
    def max_message_bytes(self) -> int:
        return self.max_message_kilobytes * 1024

    @staticmethod
    def read(values: dict[str, Any], rules: tuple[dict[str, Any], ...] = ()) -> "Properties":
        """Raises ConfigError."""
        if unknown := values.keys() - NAMES:
            raise ConfigError(f"unknown properties: {', '.join(sorted(unknown))}")
        return Properties(**{NAMES[name]: _value(name, value) for name, value in values.items()}, rules=rules)


AD_HOC = Properties(
    sessions=None, dead_letter_expired=True, duplicate_detection=True, duplicate_window=1800.0
)


def _value(name: str, value: Any) -> Any:
    if name in _TIMES:
        return seconds(value)
    if not isinstance(value, _TYPES.get(name, bool)):
        raise ConfigError(f"{name} cannot be {value!r}")
    return value


def seconds(duration: str) -> float:
    """Of an ISO 8601 duration. Raises ConfigError."""
    match = _ISO.match(duration) if isinstance(duration, str) else None
    if match is None:
        raise ConfigError(f"{duration!r} is no duration such as PT1M")
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + rest
