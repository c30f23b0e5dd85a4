import pytest

from activities.licence_report import Classified, Entry, Report, licence_report
from activities.licences import FAMILIES, family_of, strictest


def described(name: str, *licences: str, family: str | None = None, **more):
    stated = family or strictest([*map(family_of, licences)])
    package = {"name": name, "version": "1.0", "hasText": True, "truncated": False, "disagrees": False}
    source = "expression" if licences else "none"
    return {**package, "licences": list(licences), "family": stated, "source": source, **more}


def classified(name: str, *licences: str, confidence: float = 1) -> Classified:
    found = [{"id": licence, "family": family_of(licence), "confidence": confidence} for licence in licences]
    family = strictest([*map(family_of, licences)])
    return {"name": name, "licences": found, "family": family, "fingerprint": "0" * 16, "holders": ["Ada"]}


def report(metadata: list, texts: list, **more) -> Report:
    return licence_report(path="env", metadata=metadata, texts=texts, **more)


def entry(package, text: Classified | None = None) -> Entry:
    [only] = report([package], [text] if text else [])["packages"]
    return only


def test_families_are_counted():
    packages = [described("a", "MIT"), described("b", "ISC"), described("c", "GPL-3.0"), described("d")]
    summary = report(packages, [])["summary"]
    assert list(summary) == list(FAMILIES)
    assert {family: count for family, count in summary.items() if count} == {
        "permissive": 2,
        "strong-copyleft": 1,
        "unknown": 1,
    }


def test_text_and_metadata_that_agree_raise_no_flag():
    judged = entry(described("a", "MIT"), classified("a", "MIT"))
    assert judged == {
        "name": "a",
        "version": "1.0",
        "family": "permissive",
        "licences": ["MIT"],
        "source": "text",
        "holders": ["Ada"],
        "fingerprint": "0" * 16,
        "flags": [],
    }


def test_a_text_of_another_family_is_a_conflict_and_holds():
    answer = report([described("a", "MIT")], [classified("a", "MIT", "LGPL-2.1")])
    [judged] = answer["packages"]
    assert (judged["family"], judged["flags"]) == ("weak-copyleft", ["conflict", "copyleft"])
    assert answer["conflicts"] == [
        {
            "name": "a",
            "version": "1.0",
            "text": {"licences": ["LGPL-2.1", "MIT"], "family": "weak-copyleft"},
            "metadata": {"licences": ["MIT"], "family": "permissive"},
        }
    ]


def test_alternatives_in_an_expression_explain_the_texts_of_both():
    judged = entry(described("a", "MIT", "GPL-3.0", family="permissive"), classified("a", "MIT", "GPL-3.0"))
    assert (judged["family"], judged["licences"], judged["flags"]) == ("permissive", ["MIT", "GPL-3.0"], [])


def test_what_an_expression_adds_to_the_text_is_not_lost():
    judged = entry(described("a", "MIT", "GPL-3.0"), classified("a", "MIT"))
    assert (judged["family"], judged["flags"]) == ("strong-copyleft", ["copyleft"])


def test_the_text_tells_where_the_metadata_does_not():
    assert entry(described("a"), classified("a", "ISC"))["family"] == "permissive"


def test_a_mention_does_not_overrule_the_metadata_but_is_better_than_nothing():
    mention = classified("a", "GPL-3.0", confidence=0.5)
    assert (entry(described("a", "MIT"), mention)["family"], entry(described("a"), mention)["family"]) == (
        "permissive",
        "strong-copyleft",
    )


@pytest.mark.parametrize("text", [None, classified("a")])
def test_neither_text_nor_metadata_is_unknown(text: Classified | None):
    answer = report([described("a", hasText=bool(text))], [text] if text else [])
    assert answer["unknown"] == ["a"]
    assert (answer["packages"][0]["flags"], answer["packages"][0]["source"]) == (["unknown"], "none")


def test_a_text_that_failed_leaves_the_metadata_and_a_flag():
    answer = report([described("a", "MIT")], [{"error": {"type": "SandboxError", "message": "…"}, "item": 0}])
    assert (answer["packages"][0]["family"], answer["packages"][0]["flags"]) == ("permissive", ["unread"])


def test_a_package_that_failed_is_counted():
    answer = report([described("a", "MIT"), {"error": {}, "item": 1}], [])
    assert (len(answer["packages"]), answer["failed"]) == (1, 1)
    assert "could not be classified: 1." in answer["markdown"]


def test_the_markdown_has_the_table_and_what_to_look_at():
    doubtful = described("d", "MIT", disagrees=True)
    answer = report(
        [described("a", "MIT"), described("b", "MIT"), described("c", hasText=False), doubtful],
        [classified("a", "MIT"), classified("b", "AGPL-3.0")],
        python="3.13",
        unreadable=[{"name": "broken", "reason": "ValueError: no name"}],
    )
    for line in (
        "4 packages for Python 3.13 in env.",
        "| permissive | 2 | MIT (2) |",
        "| network-copyleft | 1 | AGPL-3.0 (1) |",
        "- b 1.0: text network-copyleft (AGPL-3.0), metadata permissive (MIT)",
        "- c 1.0",
        "- d 1.0: MIT",
        "- broken: ValueError: no name",
        "| b | 1.0 | network-copyleft | AGPL-3.0 | text | conflict, copyleft |",
    ):
        assert line in answer["markdown"].splitlines()


def test_what_packages_say_cannot_break_the_markdown():
    evil = "x | y\n# <script>\x1b[31m`[a](b)"
    markdown = report([described("a", evil, hasText=False)], [])["markdown"]
    [row] = [line for line in markdown.splitlines() if line.startswith("| a |")]
    assert row == r"| a | 1.0 | unknown | x \| y \# \<script\> \[31m\`\[a\](b) | metadata | unknown |"
