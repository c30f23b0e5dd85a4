"""Reading JSON documents by a pydantic model."""

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from loom_core.errors import InvalidError, Problem


class Document(BaseModel):
    """A document with camelCase names."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


def read[D: Document](model: type[D], document: object, at: str = "$") -> D:
    """Validate a document found at a JSON path. Raises InvalidError with every problem."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidError(
            [Problem(at + _path(found["loc"]), found["msg"]) for found in error.errors(include_input=False)]
        ) from None


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
