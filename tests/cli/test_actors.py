import json

import pytest

from loom_local.cli.actors import actors
from loom_local.cli.api import UnreachableError
from loom_local.cli.journal import line, read

A = "/api/actors/Counter/a"
ENTRIES = [
    {"seq": 1, "type": "created", "at": "2027-01-01T00:00:00.000Z"},
    {
        "seq": 2,
        "type": "message_received",
        "at": "2027-01-01T00:00:01.000Z",
        "messageId": "m-1",
        "correlationId": "m-1",
        "payload": {"text": "two\nlines"},
    },
    {
        "seq": 3,
        "type": "state_patches",
        "at": "2027-01-01T00:00:01.000Z",
        "patches": [
            {"op": "replace", "path": "", "value": {"total": 3}},
            {"op": "add", "path": "/list/-", "value": "x"},
            {"op": "remove", "path": "/old"},
            {"op": "move", "from": "/b", "path": "/c"},
        ],
        "inverse": [],
    },
]


def page(*entries, following=None):
    return {"entries": list(entries), "next": following}


def test_without_a_type_the_types_are_listed(host, loom):
    host.documents = {"/api/actors": {"types": ["Counter", "Echo"]}}

    assert loom(actors, "list").stdout == loom(actors).stdout == "Counter\nEcho\n"


def test_the_actors_of_a_type_are_listed_page_by_page(host, loom):
    host.documents = {
        "/api/actors/Counter?limit=3": {"actors": ["Counter/a", "Counter/b"], "next": "b"},
        "/api/actors/Counter?limit=1&after=b": {"actors": ["Counter/c"], "next": "c"},
    }

    result = loom(actors, "list", "Counter", "--limit", "3", "--json")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        "Counter/a",
        "Counter/b",
        "Counter/c",
    ]


def test_an_actor_is_shown_with_its_state(host, loom):
    host.documents = {A: {"type": "Counter", "status": "idle", "lastError": None, "state": {"total": 3}}}

    shown = loom(actors, "show", "Counter/a").stdout
    raw = loom(actors, "show", "Counter/a", "--json").stdout

    assert shown == 'type  Counter\nstatus  idle\nstate: {\n  "total": 3\n}\n'
    assert json.loads(raw) == host.documents[A]


def test_the_journal_is_lines_for_people_and_documents_for_machines(host, loom):
    host.documents = {
        f"{A}/journal?after=0&limit=500": page(*ENTRIES[:2], following=2),
        f"{A}/journal?after=2&limit=500": page(ENTRIES[2]),
    }

    lines = loom(actors, "journal", "Counter/a").stdout.splitlines()
    raw = loom(actors, "journal", "Counter/a", "--json").stdout

    assert lines == [
        "     1  2027-01-01T00:00:00.000Z  created",
        r'     2  2027-01-01T00:00:01.000Z  message_received    messageId=m-1  payload={"text":"two\nlines"}',
        '     3  2027-01-01T00:00:01.000Z  state_patches       /={"total":3}  +/list/-=x  -/old  move /c /b',
    ]
    assert [json.loads(one) for one in raw.splitlines()] == ENTRIES


def test_a_part_of_the_journal_is_read(host, loom):
    host.documents = {f"{A}/journal?after=1&limit=1": page(ENTRIES[1], following=2)}

    assert len(loom(actors, "journal", "Counter/a", "--after", "1", "--limit", "1").stdout.splitlines()) == 1


def test_a_line_is_never_too_long_and_commands_no_terminal():
    text = line({"seq": 1, "type": "event", "at": "now", "name": "\x1b[2J" + "x" * 1_000})

    assert len(text) == 200
    assert text.endswith("…")
    assert "\x1b" not in text


def test_a_journal_is_followed_over_a_host_that_is_away():
    pages = [page(ENTRIES[0]), UnreachableError("away"), page(), page(ENTRIES[1]), KeyboardInterrupt()]
    asked, pauses, found = [], [], []

    class Flaky:
        def get(self, path, query):
            asked.append(query["after"])
            answer = pages.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    followed = read(Flaky(), A, 0, None, follow=True, sleep=pauses.append)
    with pytest.raises(KeyboardInterrupt):
        found.extend(followed)

    assert found == ENTRIES[:2]
    assert asked == [0, 1, 1, 1, 2]
    assert len(pauses) == 4


def test_the_state_is_told_as_it_is_and_as_it_was(host, loom):
    host.documents = {
        f"{A}/state": {"seq": 3, "state": {"total": 3}},
        f"{A}/state?at=2": {"seq": 2, "state": None},
    }

    assert json.loads(loom(actors, "state", "Counter/a").stdout) == {"total": 3}
    assert loom(actors, "state", "Counter/a", "--at", "2").stdout == "null\n"
    assert json.loads(loom(actors, "state", "Counter/a", "--at", "2", "--json").stdout)["seq"] == 2


def test_a_history_is_exported_to_a_file_or_the_standard_output(host, loom, tmp_path):
    host.documents = {f"{A}/export": b'{"seq":1}\n{"seq":2}\n'}
    file = tmp_path / "a.jsonl"

    shown = loom(actors, "export", "Counter/a")
    kept = loom(actors, "export", "Counter/a", "--output", str(file))

    assert shown.stdout_bytes == file.read_bytes() == host.documents[f"{A}/export"]
    assert kept.stdout == ""


def test_an_actor_that_there_is_not_leaves_no_file(host, loom, tmp_path):
    result = loom(actors, "export", "Counter/b", "--output", str(tmp_path / "a.jsonl"))

    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_actor_is_steered(host, loom):
    host.posted = {
        f"{A}/cancel": (200, {"status": "cancelling"}),
        f"{A}/rollback": (200, {"seq": 9, "state": {"total": 0}}),
        f"{A}/resume": (202, {"messageId": "msg-1", "actorId": "Counter/a", "status": "accepted"}),
    }

    told = [
        loom(actors, "cancel", "Counter/a").stdout,
        loom(actors, "cancel", "Counter/a", "--message", "m-1").stdout,
        json.loads(loom(actors, "rollback", "Counter/a", "2").stdout),
        loom(actors, "resume", "Counter/a", "--payload", '{"go": 1}').stdout,
    ]

    assert told == ["cancelling\n", "cancelling\n", {"total": 0}, "msg-1\n"]
    assert host.bodies == [{}, {"messageId": "m-1"}, {"toSeq": 2}, {"go": 1}]


def test_what_is_no_address_exits_with_2_before_any_request(host, loom):
    for wrong in ("Counter", "Counter/", "/a"):
        assert loom(actors, "show", wrong).exit_code == 2

    assert host.requests == []


def test_an_id_is_quoted(host, loom):
    loom(actors, "show", "Counter/a b?")

    assert host.requests == [("GET", "/api/actors/Counter/a%20b%3F")]


def test_no_host_exits_with_3(nowhere, loom):
    assert loom(actors, "list").exit_code == 3
    assert loom(actors, "journal", "Counter/a").exit_code == 3
    assert loom(actors, "export", "Counter/a").exit_code == 3
