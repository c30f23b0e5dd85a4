import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities import licences
from activities.licence_metadata import classify_metadata
from activities.licences import FAMILIES, family_of, normal_name, read_expression, read_field
from tests.licence.conftest import FOLDER

RULES = json.loads(Path(licences.__file__).with_name("licences.json").read_text("utf-8"))


def classify(expression: str | None = None, field: str | None = None, *classifiers: str):
    metadata = {"expression": expression, "license": field, "classifiers": list(classifiers)}
    package = {"name": "thing", "version": "1.0", "metadata": metadata, "hasText": False, "truncated": False}
    answer = classify_metadata(package)
    return answer["licences"], answer["family"], answer["source"], answer["disagrees"]


@pytest.mark.parametrize(
    ("expression", "names", "family"),
    [
        ("MIT", ["MIT"], "permissive"),
        ("apache-2.0", ["Apache-2.0"], "permissive"),
        ("MIT OR GPL-3.0-only", ["MIT", "GPL-3.0"], "permissive"),
        ("MIT AND GPL-3.0-or-later", ["MIT", "GPL-3.0"], "strong-copyleft"),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", ["MPL-2.0", "Apache-2.0", "MIT"], "weak-copyleft"),
        ("MIT OR GPL-2.0+ AND AGPL-3.0-only", ["MIT", "GPL-2.0", "AGPL-3.0"], "permissive"),
        ("Apache-2.0 WITH LLVM-exception", ["Apache-2.0 WITH LLVM-exception"], "permissive"),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0",
            ["GPL-2.0 WITH Classpath-exception-2.0"],
            "weak-copyleft",
        ),
        ("GPL-2.0-only WITH Something-else", ["GPL-2.0 WITH Something-else"], "strong-copyleft"),
        ("MIT AND LicenseRef-Own", ["MIT", "LicenseRef-Own"], "unknown"),
        ("MIT OR LicenseRef-Own", ["MIT", "LicenseRef-Own"], "permissive"),
    ],
)
def test_an_expression_knows_alternatives_from_combinations(expression: str, names: list[str], family: str):
    assert read_expression(expression) == {"licences": names, "family": family}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "()",
            "MIT AND",
            "OR MIT",
            "(MIT",
            "MIT)",
            "MIT MIT",
            "MIT WITH",
            "MIT and GPL-3.0",
            "Own",
        ),
        *("(" * 999, "MIT OR " * 400 + "MIT"),
    ],
)
def test_what_is_no_expression_or_names_nothing_known_is_none(text: str):
    assert read_expression(text) is None


@given(
    st.lists(st.sampled_from(["(", ")", "AND", "OR", "WITH", "MIT", "GPL-3.0", "x", "+"]), max_size=12).map(
        " ".join
    )
)
def test_any_text_can_be_read(text: str):
    for claim in (read_expression(text), read_field(text)):
        assert claim is None or claim["family"] in FAMILIES


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("MIT License", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("3-Clause BSD License", "BSD-3-Clause"),
        ("New BSD", "BSD-3-Clause"),
        ("BSD", "BSD"),
        ("GPLv3+", "GPL-3.0"),
        ("GNU General Public License v2 or later (GPLv2+)", "GPL-2.0"),
        ("GNU Lesser General Public License v2.1", "LGPL-2.1"),
        ("GNU AGPLv3", "AGPL-3.0"),
        ("MPLv2.0", "MPL-2.0"),
        ("PSFL", "PSF-2.0"),
        ("CC0 1.0", "CC0-1.0"),
        ("Public Domain", "LicenseRef-Public-Domain"),
        ("Proprietary", "LicenseRef-Proprietary"),
    ],
)
def test_names_are_read_as_people_write_them(field: str, name: str):
    assert read_field(field) == {"licences": [name], "family": family_of(name)}


@pytest.mark.parametrize("field", ["", "UNKNOWN", "Dual License", "see LICENSE", "MIT and more"])
def test_names_that_say_nothing_certain_are_not_guessed_at(field: str):
    assert read_field(field) is None


def test_the_expression_counts_before_the_field_and_the_field_before_classifiers():
    mit = "License :: OSI Approved :: MIT License"
    assert classify("MIT", "BSD", mit) == (["MIT"], "permissive", "expression", False)
    assert classify(None, "BSD", mit) == (["BSD"], "permissive", "field", False)
    assert classify(None, "Dual License", mit) == (["MIT"], "permissive", "classifiers", False)
    assert classify(None, "GPLv3", mit) == (["GPL-3.0"], "strong-copyleft", "field", True)


def test_several_classifiers_count_as_combined():
    gpl = "License :: OSI Approved :: GNU General Public License (GPL)"
    mit = "License :: OSI Approved :: MIT License"
    assert classify(None, None, mit, gpl)[:2] == (["MIT", "GPL"], "strong-copyleft")


def test_what_is_not_known_is_unknown_and_says_what_was_stated():
    assert classify() == ([], "unknown", "none", False)
    stated = classify(None, "My own terms", "License :: OSI Approved")
    assert stated == (["My own terms"], "unknown", "none", False)


def test_the_rules_agree_with_themselves():
    known = [name for names in RULES["families"].values() for name in names]
    assert list(RULES["families"]) == list(FAMILIES)
    assert len(known) == len(set(known))
    assert {*RULES["classifiers"].values(), *RULES["names"].values()} <= set(known)
    assert [name for name in RULES["names"] if normal_name(name) != name] == []


def test_text_and_metadata_put_a_licence_in_the_same_family():
    rules = re.findall(r'^RULE\("([^"]+)", (\w+),', (FOLDER / "rules.def").read_text("utf-8"), re.MULTILINE)
    assert len(rules) > 50
    assert {name: family_of(name) for name, _ in rules} == {
        name: family.lower().replace("_", "-") for name, family in rules
    }
