"""Classifies packages by what their metadata says of their licences."""

from typing import Literal, TypedDict

from activities.distributions import Metadata
from activities.licences import Claim, Family, read_classifiers, read_expression, read_field
from loom_core.activities import activity

type Source = Literal["expression", "field", "classifiers", "none"]


class Package(TypedDict):
    name: str
    version: str
    metadata: Metadata
    hasText: bool
    truncated: bool


class Described(TypedDict):
    name: str
    version: str
    hasText: bool
    truncated: bool
    licences: list[str]
    family: Family
    source: Source
    disagrees: bool
    """Whether the metadata names different families in different places."""


@activity("classify-metadata")
def classify_metadata(package: Package) -> Described:
    """Classify a package by its SPDX expression, else its licence field, else its classifiers."""
    metadata = package["metadata"]
    expression, field = metadata["expression"] or "", metadata["license"] or ""
    claims: dict[Source, Claim | None] = {
        "expression": read_expression(expression),
        "field": read_field(field),
        "classifiers": read_classifiers(metadata["classifiers"]),
    }
    made: list[tuple[Source, Claim]] = [(source, claim) for source, claim in claims.items() if claim]
    source: Source = "none"
    claim = Claim(licences=[text for text in [expression or field] if text], family="unknown")
    if made:
        source, claim = made[0]
    return {
        "name": package["name"],
        "version": package["version"],
        "hasText": package["hasText"],
        "truncated": package["truncated"],
        "licences": claim["licences"],
        "family": claim["family"],
        "source": source,
        "disagrees": len({claim["family"] for _, claim in made}) > 1,
    }
