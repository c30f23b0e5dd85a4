"""JSON Schemas of the notations, for editors: made from the models that check the documents.

`python -m loom_core.notations.schemas docs/schemas` writes them as files.
"""

from loom_core.wire.json import JsonObject


def schemas() -> dict[str, JsonObject]:
    """JSON Schema 2020-12 by notation: "stages", "steps", "graph", and "pipeline" for any of them."""
    return {}
