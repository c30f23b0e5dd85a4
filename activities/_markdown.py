"""Strangers' words in Markdown."""

import re

MAX_CELL = 160


def cell(text: str, limit: int = MAX_CELL) -> str:
    """What a stranger says, made harmless: one line, no control characters, no Markdown."""
    text = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text).strip()
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", text)
