import pytest


@pytest.fixture
def url(host_of):
    return host_of("http_v2").url


async def test_chunks_arrive_while_the_generator_is_still_running(url, http):
    async with http.get(f"{url}/api/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert await stream.content.readline() == b"data: before\n"
        # The generator stands at the gate now: only this second request lets it go on.
        async with http.post(f"{url}/api/open") as reply:
            assert reply.status == 204
        assert await stream.content.read() == b"\ndata: after\n\n"


async def test_a_request_body_streams_into_the_function(url, http):
    async def chunks():
        for _ in range(10):
            yield b"x" * 100_000

    async with http.post(f"{url}/api/count", data=chunks()) as reply:
        assert await reply.json() == {"bytes": 1_000_000}


async def test_what_a_function_returns_is_encoded_as_fastapi_does(url, http):
    async with http.get(f"{url}/api/thing/7?q=x") as reply:
        assert (reply.status, await reply.json()) == (200, {"id": "7", "q": "x"})


async def test_an_http_exception_is_its_status(url, http):
    async with http.get(f"{url}/api/thing/0") as reply:
        assert (reply.status, await reply.json()) == (404, {"detail": "no such thing"})


async def test_a_function_that_raises_is_a_500_whose_reason_only_the_log_tells(host_of, http):
    host = host_of("http_v2")
    async with http.get(f"{host.url}/api/boom") as reply:
        assert (reply.status, await reply.text()) == (500, "Internal Server Error\n")
    host.wait_for("^RuntimeError: a secret of the handler")
