"""Does somebody read mails at this address? Asks, reminds once, and remembers the answer."""

from pydantic import BaseModel, Field

from loom_core import Actor
from loom_core.errors import TimedOutError

TEXT = """Say yes:

  loom send {0} --event email_verified

or no:

  loom send {0} --event email_verified --payload false
"""


class Request(BaseModel):
    """Whom to ask, and how many seconds to wait before the reminder and after it."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    remind_after: float = Field(default=3_600, gt=0)
    give_up_after: float = Field(default=86_400, gt=0)


class EmailVerification(Actor):
    """One user's address, whose id is the actor's. Answers `verified`, `refused` or `expired`.

    Waits for the event `email_verified`; its data is false if it is not theirs.
    """

    Message = Request

    def default_state(self):
        return {"status": "new", "mails": 0}

    def execute(self, request):
        self.update_state(lambda state: state.update(email=request.email, status="asked"))
        rounds = (
            ("Is this your address?", request.remind_after),
            ("Is this your address? This is the last mail.", request.give_up_after),
        )
        for subject, seconds in rounds:
            yield self.call_activity(
                "send-mail", {"to": request.email, "subject": subject, "text": TEXT.format(self.address)}
            )
            self.update_state(lambda state: state.update(mails=state["mails"] + 1))
            try:
                answer = yield self.wait_for_event("email_verified", timeout=seconds)
            except TimedOutError:
                continue
            return self.end("refused" if answer is False else "verified")
        return self.end("expired")

    def end(self, status):
        self.update_state(lambda state: state.update(status=status))
        return status
