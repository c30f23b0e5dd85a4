"""The parts of the host that decide, without a host."""

import json

import pytest

from loom_core.errors import InvalidError
from loom_local.host.access import Access, is_loopback
from loom_local.host.client_binding import client_binding, management_urls
from loom_local.host.replay import QUICK_SECONDS, RUNS_TO_EARN_THE_LOOP, Pace
from loom_local.host.settings import HostJson, load_app_settings, resolve

KEY = "a-key-of-at-least-sixteen"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_function_earns_the_loop_with_quick_runs_and_loses_it_with_a_slow_one():
    clock = Clock()
    pace = Pace(clock)

    def slow():
        clock.now += QUICK_SECONDS

    for _ in range(RUNS_TO_EARN_THE_LOOP):
        assert not pace.is_quick("f")
        pace.timed("f", lambda: None)
    assert pace.is_quick("f")
    assert not pace.is_quick("g")
    pace.timed("f", slow)
    assert not pace.is_quick("f")


def test_a_run_that_raises_counts_too():
    pace = Pace(Clock())
    with pytest.raises(ZeroDivisionError):
        pace.timed("f", lambda: 1 / 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host, expected):
    assert is_loopback(host) is expected


def test_the_webhook_key_opens_webhooks_only():
    access = Access(KEY, loopback=False)
    link = {"code": access.webhook_key}
    assert access.refuse_key({}, link, webhook=True) is None
    refusal = access.refuse_key({}, link)
    assert refusal is not None
    assert refusal.status == 401
    assert access.refuse_key({}, {"code": KEY}) is None
    assert KEY not in access.webhook_key


def test_equal_arguments_give_equal_bindings_and_links_follow_the_caller_s_origin():
    arguments = {"rpc_address": "127.0.0.1:1", "origin": "http://127.0.0.1:2", "hub": "h", "key": "k"}
    binding = client_binding(**arguments)
    assert binding == client_binding(**arguments)
    links = management_urls(binding, "an id/x", "http://localhost:2")
    assert links["id"] == "an id/x"
    assert links["statusQueryGetUri"] == (
        "http://localhost:2/runtime/webhooks/durabletask/instances/an%20id%2Fx"
        "?taskHub=h&connection=Storage&code=k"
    )
    assert set(links) == set(json.loads(binding)["managementUrls"])


def test_app_settings_fill_in_what_is_not_set_yet(tmp_path):
    values = {"A": "from the file", "B": "from the file"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}), encoding="utf-8")
    environment = {"A": "from outside"}
    load_app_settings(tmp_path, environment)
    assert environment == {"A": "from outside", "B": "from the file"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "local.settings.json is not JSON"),
        ("[]", "must hold a JSON object"),
        ('{"IsEncrypted": true}', r"\$.IsEncrypted"),
        ('{"Values": {"A": 1, "B": true}}', r"\$.Values.A: must be a string; \$.Values.B: must be a string"),
        ('{"Values": 1}', r"\$.Values"),
    ],
)
def test_app_settings_that_cannot_be_read_are_refused(tmp_path, text, message):
    (tmp_path / "local.settings.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidError, match=message):
        load_app_settings(tmp_path, {})


def test_host_json_has_defaults_and_fills_in_app_settings(tmp_path):
    assert HostJson.read(tmp_path, {}).route_prefix == "api"
    document = {"extensions": {"http": {"routePrefix": ""}, "durableTask": {"hubName": "%HUB%x"}}}
    (tmp_path / "host.json").write_text(json.dumps(document), encoding="utf-8")
    read = HostJson.read(tmp_path, {"HUB": "my"})
    assert (read.route_prefix, read.hub_name) == ("", "myx")
    assert HostJson.read(tmp_path, {}).hub_name == "Loom"
    with pytest.raises(InvalidError, match="%HUB% is not set"):
        resolve("%HUB%", {})


def test_text_without_settings_stays_as_it_is():
    assert resolve("50% of 100%", {}) == "50% of 100%"
