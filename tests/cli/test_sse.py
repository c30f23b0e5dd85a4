import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_local.cli.sse import Event, StreamError, parse


def test_an_event_carries_its_name_its_data_and_its_id():
    events = list(parse([b"id: 7\nevent: progress\ndata: {}\n\n"]))

    assert events == [Event("progress", "{}", "7")]


def test_an_event_without_a_name_is_a_message_and_keeps_the_last_id():
    events = list(parse([b"id: 1\ndata: a\n\ndata: b\n\n"]))

    assert events == [Event("message", "a", "1"), Event("message", "b", "1")]


def test_lines_of_data_are_joined_and_comments_are_ignored():
    assert list(parse([b": alive\ndata: a\ndata:b\nretry: 5\n\n"])) == [Event("message", "a\nb", "")]


def test_an_event_that_the_stream_leaves_unfinished_is_dropped():
    assert list(parse([b"data: a\n\ndata: b\n"])) == [Event("message", "a", "")]


def test_the_id_to_resume_from_holds_until_the_stream_sets_another():
    assert list(parse([b"data: a\n\n"], last_id="9")) == [Event("message", "a", "9")]


@given(
    text=st.text(st.characters(blacklist_categories=["Cs"]), max_size=30),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    size=st.integers(1, 5),
)
def test_how_the_bytes_are_cut_into_chunks_makes_no_difference(text, ending, size):
    lines = [f"data:{line}" for line in ["x" + text.replace("\r", "").replace("\n", ""), "y"]]
    content = (ending.join(lines) + ending * 3).encode()
    chunks = [content[start : start + size] for start in range(0, len(content), size)]

    assert list(parse(chunks)) == list(parse([content]))
    assert len(list(parse(chunks))) == 1


def test_a_line_without_end_is_refused_instead_of_gathered():
    with pytest.raises(StreamError, match="longer than 10"):
        list(parse([b"data: " + b"a" * 20], limit=10))


def test_an_event_of_many_lines_is_bounded_too():
    with pytest.raises(StreamError, match="larger than 10"):
        list(parse([b"data: aaa\n" * 9], limit=10))


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(StreamError, match="UTF-8"):
        list(parse([b"data: \xff\xfe\n\n"]))
