"""The WASM module as a thing: what it is made of, and that no input makes it trap."""

import json
import shutil
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.licence.conftest import FOLDER, MANIFEST, Guest, digest
from wasm.build import compile_module

OUTPUT = jsonschema_rs.validator_for(MANIFEST["outputSchema"])

# What the parsers look for, so that random text gets deep into them.
fragments = st.sampled_from(
    (
        *("copyright ", "Copyright (c) ", "(C) ", "\xa9", " 2010-2024, ", "2011,\n", "[yyyy] ", "Inc.", ". "),
        *(
            "Ada",
            "<",
            '"',
            "\\",
            "\n",
            "\r",
            "\t",
            "\0",
            "\x7f",
            "\x80",
            " by ",
            "http",
            "licence ",
            "\U0001f600",
        ),
        *("the above copyright notice and this permission notice", "all rights reserved", "\u2013", "\u201d"),
        *("permission is hereby granted free of charge to any person obtaining a copy", "\ud83d\ude00"),
    )
)
texts = st.lists(fragments | st.text(max_size=20), max_size=60).map("".join)


def test_a_rebuild_gives_the_committed_module_bit_for_bit(tmp_path: Path):
    copy = shutil.copytree(FOLDER, tmp_path / "sources", ignore=shutil.ignore_patterns("*.wasm"))
    sha256 = compile_module(copy, tmp_path / "rebuilt.wasm")
    assert (tmp_path / "rebuilt.wasm").read_bytes() == (FOLDER / MANIFEST["module"]).read_bytes()
    assert sha256 == MANIFEST["sha256"] == digest(FOLDER / MANIFEST["module"])


def test_the_module_asks_for_no_capability(guest: Guest):
    assert guest.module.imports == []
    assert [export.name for export in guest.module.exports] == ["memory", "loom_alloc", "loom_run"]


@given(texts, st.text(max_size=256), st.booleans())
@settings(deadline=None)
def test_any_text_gets_an_answer_of_the_promised_shape(guest: Guest, text: str, name: str, escaped: bool):
    data = json.dumps({"text": text, "name": name}, ensure_ascii=escaped)
    failed, answer = guest.run(data.encode("utf-8", "replace"))
    assert not failed
    output = json.loads(answer)
    OUTPUT.validate(output)
    assert output["name"] == name


@given(st.binary() | st.lists(st.sampled_from([*b'{}":,\\u0dnamext \xc3\xa9\xed\xa0\xf4'])).map(bytes))
@settings(deadline=None)
def test_any_bytes_get_an_answer_or_a_reason(guest: Guest, data: bytes):
    failed, answer = guest.run(data)
    output = json.loads(answer)
    assert set(output) == ({"type", "message"} if failed else set(MANIFEST["outputSchema"]["required"]))


def test_half_a_surrogate_pair_is_replaced(guest: Guest):
    failed, answer = guest.run(rb'{"name":"\ud800x\udc00\ud83d\ude00","text":""}')
    assert (failed, json.loads(answer)["name"]) == (False, "\ufffdx\ufffd\U0001f600")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"name":"a"}',
        b'{"name":"a","text":"b"} x',
        b'{"name":"a","text":"b"}\0',
        b'{"name":"a","text":1}',
        b'{"name":"a","text":"b","more":"c"}',
        b'{"name":"a","text":"b","text":"c"}',
        b'{"name":"a","text":"b\n"}',
        b'{"name":"a","text":"\\x"}',
        b'{"name":"a","text":"\\u00g0"}',
        b'{"name":"a","text":"\xff"}',
        b'{"name":"a","text":"\xed\xa0\x80"}',
        b'{"name":"a","text":"\xc0\x80"}',
        b'{"NAME":"a","text":"b"}',
        b'{"nAME":"a","text":"b"}',
        b'{"name":"a","text\\u0000":"b"}',
        b'{"name":"a","text":"b',
        b'{"name":"' + b"a" * 2000 + b'","text":"b"}',
    ],
)
def test_what_is_not_the_agreed_json_is_refused_with_a_reason(guest: Guest, data: bytes):
    failed, answer = guest.run(data)
    assert failed
    assert json.loads(answer)["type"] == "InvalidError"


@pytest.mark.parametrize(
    "part",
    [
        *(
            "copyright ",
            "copyright (c) 2010 Foo ",
            "copyright 2010,\n",
            "copyright (c) 2010 A" + " " * 90 + ".\t",
        ),
        *("(c)", "\xa9 2010 ", "2010,", "gnu ", "a ", "\0", "a b.c.d.e.", "\U0001f600", "licenc", "x"),
        *("permission is hereby granted free of charge to any person obtaining ", "all rights reserved"),
    ],
)
def test_a_megabyte_of_anything_is_read(guest: Guest, part: str):
    text = part * ((1 << 20) // len(part))
    OUTPUT.validate(guest(text))
