import pytest

from loom_core.errors import NotFoundError
from loom_core.journals.dead_letters import DeadLetters


def letter(n, attempts=3):
    return {"actorId": "Counter/one", "message": {"messageId": f"m{n}"}, "error": "no", "attempts": attempts}


async def test_the_same_message_of_the_same_actor_is_one_letter(house):
    letters = DeadLetters(house.state)

    first, again = await letters.put(letter(1)), await letters.put(letter(1, attempts=4))
    other = await letters.put({**letter(1), "actorId": "Counter/two"})

    assert first == again != other
    assert (await letters.get(first))["attempts"] == 4


async def test_letters_come_in_pages(house):
    letters = DeadLetters(house.state)
    kept = {await letters.put(letter(n)) for n in range(5)}

    found, after = [], ""
    while after is not None:
        page, after = await letters.page(2, after)
        found += page

    assert [id_ for id_, _ in found] == sorted(kept)
    assert sorted(body["message"]["messageId"] for _, body in found) == ["m0", "m1", "m2", "m3", "m4"]


async def test_a_letter_that_is_deleted_is_gone_and_may_be_deleted_again(house):
    letters = DeadLetters(house.state)
    id_ = await letters.put(letter(1))

    await letters.delete(id_)
    await letters.delete(id_)

    with pytest.raises(NotFoundError):
        await letters.get(id_)
    assert await letters.page(10) == ([], None)
