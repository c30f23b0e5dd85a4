import json

from loom_local.cli.deadletters import deadletters


def letter(id_):
    return {
        "id": id_,
        "actorId": "Echo/a",
        "messageId": "m-1",
        "error": {"type": "ValueError", "message": "no"},
        "attempts": 3,
        "failedAt": "2027-01-01T00:00:00.000Z",
        "source": "actor",
    }


def page(*ids, following=None):
    return {"deadLetters": [letter(id_) for id_ in ids], "next": following}


def replayed(*ids, following=None, **refused):
    good = [{"id": id_, "actorId": "Echo/a", "messageId": "m-1#r1"} for id_ in ids]
    bad = [{"id": id_, "error": reason} for id_, reason in refused.items()]
    return 202, {"replayed": len(good), "results": good + bad, "next": following}


def test_dead_letters_are_listed_until_there_are_enough(host, loom):
    host.documents = {
        "/api/deadletters?limit=100": page("a", "b", following="b"),
        "/api/deadletters?limit=100&after=b": page("c", "d"),
    }

    shown = loom(deadletters, "list", "--limit", "3").stdout.splitlines()
    raw = loom(deadletters, "list", "--json").stdout.splitlines()

    assert shown[0] == "a  Echo/a  m-1  2027-01-01T00:00:00.000Z  ValueError: no"
    assert len(shown) == 3
    assert [json.loads(line)["id"] for line in raw] == ["a", "b", "c", "d"]


def test_those_of_one_actor_are_listed(host, loom):
    host.documents = {"/api/deadletters?limit=100&actor=Echo%2Fa": page("a")}

    assert loom(deadletters, "list", "--actor", "Echo/a").stdout.startswith("a  ")


def test_one_is_shown_with_its_message(host, loom):
    host.documents = {"/api/deadletters/a": letter("a") | {"message": {"payload": 1}}}

    assert json.loads(loom(deadletters, "show", "a").stdout)["message"] == {"payload": 1}
    assert loom(deadletters, "show", "b").exit_code == 2


def test_the_named_are_replayed_and_one_that_cannot_be_exits_with_1(host, loom):
    host.posted = {"/api/deadletters/replay": replayed("a", b="there is no dead letter b")}

    result = loom(deadletters, "replay", "a", "b")

    assert result.stdout == "a  Echo/a  m-1#r1\nb  there is no dead letter b\n"
    assert result.exit_code == 1
    assert host.bodies == [{"ids": ["a", "b"]}]


def test_all_of_an_actor_are_replayed_page_by_page(host, loom):
    pages = [replayed("a", following="a"), replayed("b")]

    class Pages(dict):
        def __getitem__(self, _):
            return pages.pop(0)

    host.posted = Pages({"/api/deadletters/replay": None})

    result = loom(deadletters, "replay", "--all", "--actor", "Echo/a", "--json")

    assert result.exit_code == 0
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", "b"]
    assert host.bodies == [
        {"all": True, "after": "", "actor": "Echo/a"},
        {"all": True, "after": "a", "actor": "Echo/a"},
    ]


def test_what_is_to_be_replayed_has_to_be_said_one_way(host, loom):
    for wrong in ([], ["a", "--all"], ["--actor", "Echo/a"], ["a", "--actor", "Echo/a"]):
        assert loom(deadletters, "replay", *wrong).exit_code == 2

    assert host.requests == []


def test_dead_letters_are_dropped(host, loom):
    assert loom(deadletters, "drop", "a", "b").exit_code == 0
    assert host.requests == [("DELETE", "/api/deadletters/a"), ("DELETE", "/api/deadletters/b")]


def test_no_host_exits_with_3(nowhere, loom):
    assert loom(deadletters).exit_code == 3
