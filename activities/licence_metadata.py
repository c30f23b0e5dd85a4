"""Classifies packages by what their metadata says of their licences."""

from typing import Literal, TypedDict

from loom_core.activities import activity

from activities.distributions import Metadata
from activities.licences import Claim, Family, read_classifiers, read_expression, read_field


class Package(TypedDict):
    name: str
    version: str
    metadata: Metadata
    hasText: bool  # noqa: N815 - JSON's spelling
    truncated: bool


class Described(TypedDict):
    name: str
    version: str
    hasText: bool  # noqa: N815 - JSON's spelling
    truncated: bool
    licences: list[str]
    family: Family
    source: Literal["expression", "field", "classifiers", "none"]
    disagrees: bool
    """Whether the metadata names different families in different places."""


@activity("classify-metadata")
def classify_metadata(package: Package) -> Described:
    """Classify a package by its SPDX expression, else its licence field, else its classifiers."""
    metadata = package["metadata"]
    expression, field = metadata["expression"] or "", metadata["license"] or ""
    claims: dict[Literal["expression", "field", "classifiers"], Claim | None] = {
        "expression": read_expression(expression),
        "field": read_field(field),
        "classifiers": read_classifiers(metadata["classifiers"]),
    }
    made = [(source, claim) for source, claim in claims.items() if claim]
    stated = expression or field
    unknown = Claim(licences=[stated] if stated else [], family="unknown")
    source, claim = made[0] if made else ("none", unknown)
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
