"""What the module finds in texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.licence import texts
from tests.licence.conftest import Guest


def ids(output: dict) -> set[str]:
    return {licence["id"] for licence in output["licences"]}


@pytest.mark.parametrize("licence", texts.LICENCES)
def test_a_text_is_known_for_certain(guest: Guest, licence: str):
    text, family = texts.LICENCES[licence]
    output = guest(text)
    assert [(found["id"], found["confidence"]) for found in output["licences"]] == [(licence, 1)]
    assert output["family"] == family


@given(
    st.lists(st.sampled_from(["MIT", "BSD-3-Clause", "ISC", "MPL-2.0", "AGPL-3.0"]), unique=True, min_size=1)
)
@settings(deadline=None)
def test_texts_that_are_joined_are_all_found(guest: Guest, licences: list[str]):
    output = guest("\n\n".join(texts.LICENCES[licence][0] for licence in licences))
    assert ids(output) == set(licences)


def test_the_family_is_the_most_demanding_one(guest: Guest):
    assert guest(texts.MIT + texts.AGPL3 + texts.MPL2)["family"] == "network-copyleft"


def test_the_gpl_beside_the_lgpl_that_needs_it_is_not_a_licence_of_its_own(guest: Guest):
    assert ids(guest(texts.GPL3 + texts.LGPL3)) == {"LGPL-3.0"}
    assert ids(guest(texts.GPL3 + texts.GPL3 + texts.LGPL3)) == {"GPL-3.0", "LGPL-3.0"}


def test_a_mention_counts_less_and_only_where_nothing_is_granted(guest: Guest):
    mention = "This project is under the MIT license."
    assert [(found["id"], found["confidence"]) for found in guest(mention)["licences"]] == [("MIT", 0.5)]
    assert ids(guest(texts.ISC + mention)) == {"ISC"}


@pytest.mark.parametrize("text", ["", "Do as you please.", "\0\0\0", "Lorem ipsum dolor sit amet. " * 99])
def test_what_is_no_licence_is_unknown(guest: Guest, text: str):
    output = guest(text)
    assert (output["licences"], output["family"]) == ([], "unknown")


def test_layout_case_and_spelling_do_not_matter(guest: Guest):
    shouted = "# " + " ".join(texts.MIT.upper().replace(",", " ;").split()).replace("LICENSE", "LICENCE")
    output = guest(shouted)
    assert ids(output) == {"MIT"}


def test_the_fingerprint_is_the_same_whoever_holds_the_copyright(guest: Guest):
    other = texts.MIT.replace("2010-2024 Ada Lovelace <ada@example.org>", "1843 Charles Babbage")
    assert guest(other)["fingerprint"] == guest(texts.MIT)["fingerprint"] != guest(texts.ISC)["fingerprint"]


def test_texts_that_differ_in_a_word_have_fingerprints_that_differ_in_few_bits(guest: Guest):
    one, other, stranger = (
        int(guest(text)["fingerprint"], 16)
        for text in (texts.MIT, texts.MIT.replace("restriction", "limitation"), texts.APACHE2)
    )
    assert (one ^ other).bit_count() < 16 < (one ^ stranger).bit_count()


@pytest.mark.parametrize(
    ("line", "holders"),
    [
        ("Copyright (c) 2010-2024 Ada Lovelace <ada@example.org>", ["Ada Lovelace"]),
        ("Copyright \N{COPYRIGHT SIGN} 2019, [Encode OSS Ltd](https://example.org/).", ["Encode OSS Ltd"]),
        (
            "Copyright 2017-present The Team and individual contributors",
            ["The Team and individual contributors"],
        ),
        ("Copyright (C) 2001, 2002,\n 2003 by Acme, Inc. All Rights Reserved.", ["Acme, Inc."]),
        ("// Copyright The Widget Authors", ["The Widget Authors"]),
        ("Portions Copyright (c) 1999 J. Doe. See below.", ["J. Doe"]),
        (
            "(c) 2012 Zo\N{LATIN SMALL LETTER E WITH DIAERESIS} B.V.",
            ["Zo\N{LATIN SMALL LETTER E WITH DIAERESIS} B.V."],
        ),
        ("Copyright (c) 2001 A-Team\nCopyright (c) 2002 A-Team", ["A-Team"]),
        ("Copyright [yyyy] [name of copyright owner]", []),
        ("Copyright (c) <year> <owner>", []),
        ("COPYRIGHT HOLDERS AND CONTRIBUTORS BE LIABLE", []),
        ("copyright notice, this list of conditions", []),
        ("(c) You must retain all notices", []),
        (texts.GPL3, []),
    ],
)
def test_holders_are_who_a_notice_names(guest: Guest, line: str, holders: list[str]):
    assert guest(line)["holders"] == holders


def test_holders_are_bounded(guest: Guest):
    output = guest("".join(f"Copyright (c) 2020 Holder Number{number} {'x' * 200}\n" for number in range(99)))
    assert len(output["holders"]) == 32
    assert max(map(len, output["holders"])) <= 100
