"""What a text is about, by phrases that people wrote down."""

import re
from typing import TypedDict

from loom_core.activities import activity


class RuleOpinion(TypedDict):
    label: str | None
    found: list[str]
    """The phrases that speak for the label; if there is none, all that were found."""


@activity("classify-by-rules")
def classify_by_rules(*, text: str, rules: dict[str, list[str]]) -> RuleOpinion:
    """Give the label with the most phrases in the text; with none, or as many for another, it is null.

    Phrases are found as whole words, in capitals or not; `refund*` finds every word that begins so.
    """
    text = " ".join(text.casefold().split())
    found = {label: [p for p in phrases if _is_in(p, text)] for label, phrases in rules.items()}
    most = max(map(len, found.values()), default=0)
    best = [label for label, phrases in found.items() if len(phrases) == most]
    if most and len(best) == 1:
        return {"label": best[0], "found": found[best[0]]}
    return {"label": None, "found": [phrase for phrases in found.values() for phrase in phrases]}


def _is_in(phrase: str, text: str) -> bool:
    words = " ".join(phrase.casefold().split())
    end = r"\w*" if words.endswith("*") else ""
    return bool(re.search(rf"(?<!\w){re.escape(words.removesuffix('*'))}{end}(?!\w)", text))
