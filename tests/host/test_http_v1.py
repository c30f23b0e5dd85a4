import io
import json

import pytest

from tests.host.processes import APPS, FAST, ready_host

KEY = "a-key-of-at-least-sixteen"


@pytest.fixture
def url(host_of):
    return host_of("http_v1").url


async def test_a_function_sees_the_whole_request_and_answers_with_status_and_headers(url, http):
    address = f"{url}/v1/echo/7/bob?a=1&a=2&b="
    async with http.post(address, data="the body", headers={"X-Thing": "thing"}) as reply:
        assert reply.status == 201
        assert reply.headers["X-Reply"] == "yes"
        assert await reply.json() == {
            "method": "POST",
            "url": address,
            "params": {"a": "1,2", "b": ""},
            "route": {"id": "7", "name": "bob"},
            "header": "thing",
            "body": "the body",
        }


async def test_the_more_specific_route_wins_and_text_is_an_answer(url, http):
    async with http.get(f"{url}/v1/echo/latest") as reply:
        assert (reply.status, await reply.text()) == (200, "the literal route")


@pytest.mark.parametrize("path", ["v1/echo/x", "v1/nothing", "api/echo/7", "admin/nothing"])
async def test_a_path_that_fits_no_route_is_not_found(url, http, path):
    async with http.get(f"{url}/{path}") as reply:
        assert reply.status == 404


async def test_a_method_that_fits_no_route_is_not_found(url, http):
    async with http.delete(f"{url}/v1/echo/7") as reply:
        assert reply.status == 404


async def test_a_catch_all_takes_the_rest_of_the_path_and_the_context_is_given(url, http):
    for path in ("a/b/c", ""):
        async with http.get(f"{url}/v1/files/{path}") as reply:
            assert await reply.text() == f"files:{path}"


async def test_cookies_stay_separate(url, http):
    async with http.get(f"{url}/v1/cookies") as reply:
        assert sorted(reply.headers.getall("Set-Cookie")) == ["a=1; Path=/", "b=2; Path=/"]


@pytest.mark.parametrize("path", ["boom", "quit"])
async def test_a_function_that_raises_is_a_500_whose_reason_only_the_log_tells(host_of, http, path):
    host = host_of("http_v1")
    async with http.get(f"{host.url}/v1/{path}") as reply:
        assert (reply.status, await reply.text()) == (500, "Internal Server Error\n")
    host.wait_for("^RuntimeError: a secret of the handler" if path == "boom" else "^SystemExit: 3")


async def test_settings_of_the_file_are_in_the_environment_and_the_data_directory_too(url, http):
    async with http.get(f"{url}/v1/settings") as reply:
        settings = json.loads(await reply.text())
    assert settings["FROM_FILE"] == "yes"
    assert settings["LOOM_DATA"]


async def test_functions_that_cannot_run_here_are_listed_with_the_reason(host_of, http):
    host = host_of("http_v1")
    async with http.get(f"{host.url}/admin/functions") as reply:
        listed = {function["name"]: function["disabled"] for function in await reply.json()}
    assert listed["on_message"] == "trigger 'queueTrigger' is not supported by the local host"
    assert listed["unscheduled"] == "the app setting %NOT_SET% is not set"
    assert listed["echo"] is None
    assert "on_message: trigger 'queueTrigger' is not supported" in host.output


@pytest.mark.parametrize("name", ["evil.example", "evil.example:7071", "127.0.0.1.evil.example", ""])
async def test_a_foreign_host_header_is_refused(url, http, name):
    async with http.get(f"{url}/v1/files/x", headers={"Host": name}) as reply:
        assert reply.status == 421
        assert "this machine only" in await reply.text()


@pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1", "[::1]:7071", "LOCALHOST"])
async def test_this_machine_s_own_names_are_served(url, http, name):
    async with http.get(f"{url}/v1/files/x", headers={"Host": name}) as reply:
        assert reply.status == 200


async def test_requests_from_pages_of_other_sites_are_refused(url, http):
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 200)):
        async with http.get(f"{url}/v1/files/x", headers={"Origin": origin}) as reply:
            assert reply.status == status


async def test_with_a_key_only_its_holders_reach_what_is_not_anonymous(tmp_path, http):
    with ready_host(APPS / "http_v1", tmp_path, *FAST, env={"LOOM_API_KEY": KEY}) as host:
        echo = f"{host.url}/v1/echo/latest"
        for address in (echo, f"{echo}?code=wrong", f"{host.url}/admin/functions"):
            async with http.get(address) as reply:
                assert reply.status == 401
        async with http.get(f"{host.url}/runtime/webhooks/durabletask/instances") as reply:
            assert reply.status == 401
        async with http.get(f"{host.url}/v1/files/x") as reply:
            assert reply.status == 200
        async with http.get(echo, headers={"x-functions-key": KEY}) as reply:
            assert reply.status == 200
        async with http.get(f"{host.url}/v1/settings", params={"code": KEY}) as reply:
            assert json.loads(await reply.text())["LOOM_API_KEY"] is None
        assert KEY not in host.output


async def test_a_body_over_the_limit_is_refused_however_it_is_sent(tmp_path, http):
    async def chunks():
        for _ in range(20):
            yield b"x" * 100_000

    with ready_host(APPS / "http_v1", tmp_path, *FAST, "--max-body", "1") as host:
        for body in (io.BytesIO(b"x" * 2_000_000), chunks()):
            async with http.post(f"{host.url}/v1/echo/1", data=body) as reply:
                assert reply.status == 413
        async with http.post(f"{host.url}/v1/echo/1", data=b"x" * 1_000_000) as reply:
            assert reply.status == 201
