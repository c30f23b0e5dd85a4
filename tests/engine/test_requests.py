import uuid

from hypothesis import given
from hypothesis import strategies as st

from loom_local.engine.requests import Requests


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def identity(n: int) -> bytes:
    return n.to_bytes(16)


def test_a_request_is_new_once() -> None:
    requests = Requests(10, 60, Clock())
    assert requests.remember(identity(1))
    assert not requests.remember(identity(1))
    assert requests.remember(identity(2))


def test_a_request_is_forgotten_after_its_age() -> None:
    clock = Clock()
    requests = Requests(10, 60, clock)
    requests.remember(identity(1))
    clock.now += 59
    assert not requests.remember(identity(1))
    clock.now += 2
    requests.remember(identity(2))
    assert requests.remember(identity(1))


def test_a_request_read_from_the_file_keeps_its_age() -> None:
    clock = Clock()
    requests = Requests(10, 60, clock)
    requests.remember(identity(1), at=clock.now - 50)
    clock.now += 20
    requests.remember(identity(2))
    assert requests.remember(identity(1))


@given(st.lists(st.integers(0, 20)), st.integers(1, 10))
def test_memory_is_bounded_and_the_latest_are_known(numbers: list[int], most: int) -> None:
    requests, order = Requests(most, 60, Clock()), list[int]()
    for n in numbers:
        assert requests.remember(identity(n)) == (n not in order[-most:])
        if n not in order[-most:]:
            order.append(n)
        assert len(requests._seen) <= most


def test_only_uuids_are_recognised() -> None:
    some = uuid.uuid4()
    assert Requests.parse(str(some)) == some.bytes
    assert Requests.parse("") is None
    assert Requests.parse("not one") is None
