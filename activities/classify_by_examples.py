"""What a text is about, by how often its words are in examples: a naive Bayes classifier."""

import json
import math
import re
from collections import Counter
from functools import lru_cache
from typing import Any, TypedDict

from loom_core.activities import activity
from loom_core.errors import InvalidError, Problem

WORD = re.compile(r"[^\W\d_]{2,}")


class Example(TypedDict):
    text: str
    label: str


class Learned(TypedDict):
    examples: dict[str, int]
    """How many examples each label has."""
    words: int
    model: str
    """For `classify-by-examples`. One text: if it is long, it travels by reference."""


class LearnedOpinion(TypedDict):
    label: str | None
    certainty: float
    """The share of the label in the probability of all, 0 to 1; overconfident, as naive Bayes is."""


@activity("learn-classes")
def learn_classes(examples: list[Example]) -> Learned:
    """Count the words of the examples, label by label. Raises InvalidError unless there are two labels."""
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        counts.setdefault(example["label"], Counter()).update(WORD.findall(example["text"].casefold()))
    if len(counts) < 2:
        raise InvalidError([Problem("$", "there must be examples of two labels at least")])
    totals = Counter(example["label"] for example in examples)
    vocabulary = len(set().union(*counts.values()))
    model = {"totals": totals, "vocabulary": vocabulary, "counts": counts}
    return {"examples": dict(totals), "words": vocabulary, "model": json.dumps(model, ensure_ascii=False)}


@activity("classify-by-examples")
def classify_by_examples(*, text: str, model: str) -> LearnedOpinion:
    """Give the likeliest label; null if no word of the text is in any example.

    `model` is that of `learn-classes`; a word counts one more than it was seen (Laplace).
    """
    learned = _read(model)
    counts: dict[str, dict[str, int]] = learned["counts"]
    known = [word for word in WORD.findall(text.casefold()) if any(word in seen for seen in counts.values())]
    if not known:
        return {"label": None, "certainty": 0.0}
    likelihood = {
        label: math.log(learned["totals"][label])
        + sum(math.log(seen.get(word, 0) + 1) for word in known)
        - len(known) * math.log(sum(seen.values()) + learned["vocabulary"])
        for label, seen in counts.items()
    }
    best = max(likelihood, key=lambda label: likelihood[label])
    share = 1 / sum(math.exp(one - likelihood[best]) for one in likelihood.values())
    return {"label": best, "certainty": round(share, 4)}


@lru_cache(maxsize=4)
def _read(model: str) -> Any:
    return json.loads(model)
