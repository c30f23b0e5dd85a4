from loom_core.adapters.memory import MemoryMessageQueue
from loom_core.ports.queue import QueueMessage


async def test_every_session_has_its_turn():
    queue = MemoryMessageQueue(sessions=["mail"])
    sessions = [session for session in "abc" for _ in range(3)]
    await queue.send(
        "mail", [QueueMessage(body=n, message_id=f"{n}", session_id=s) for n, s in enumerate(sessions)]
    )

    turns = []
    for _ in range(6):
        (delivery,) = await queue.receive("mail")
        turns.append(delivery.message.session_id)
        await queue.settle(delivery, "complete")

    assert turns == ["a", "b", "c"] * 2
