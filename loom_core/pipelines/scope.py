"""What the expressions of a stage see, and where it stands."""

import hashlib
from dataclasses import dataclass, field

from loom_core.errors import InvalidError, Problem
from loom_core.expressions.evaluate import kind
from loom_core.expressions.parse import Expression
from loom_core.wire.json import Json, JsonObject
from loom_core.wire.messages import iso


@dataclass(frozen=True, slots=True)
class Here:
    """Where a block runs: what its keys begin with, what its loops have put in scope, their rounds."""

    seed: str
    names: JsonObject = field(default_factory=dict[str, Json])
    rounds: tuple[int, ...] = ()

    def key(self, stage: str) -> str:
        """What the keys of a stage's calls begin with: another one in every round."""
        return f"{self.seed}/{stage}" + (f"@{'.'.join(map(str, self.rounds))}" if self.rounds else "")


def evaluate(expression: Expression, scope: JsonObject, path: str) -> Json:
    """Raises InvalidError with its paths below `path`."""
    try:
        return expression.evaluate(scope)
    except InvalidError as error:
        raise InvalidError([Problem(path + p.path[1:], p.message) for p in error.problems]) from None


def actor_id(expression: Expression | None, scope: JsonObject, path: str) -> str | None:
    """The id of the actor that is called, if one is given. Raises InvalidError for what is no id."""
    if expression is None:
        return None
    found = evaluate(expression, scope, path)
    if isinstance(found, bool) or not isinstance(found, str | int | float) or found == "":
        raise InvalidError([Problem(path, f"gives {kind(found)}, but the id of an actor is text")])
    return str(found)


def captured(key: str, now: float) -> JsonObject:
    """The values that are caught once, when a stage begins: the time, and a UUID of version 8 for its key."""
    text = hashlib.sha256(f"uuid {key}".encode()).hexdigest()
    uuid = f"{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:32]}"
    return {"now": iso(now), "uuid": uuid}
