"""Mails, as files in an outbox folder: most mail servers take them from there."""

import hashlib
import os
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import TypedDict

from activities._ledger import folder
from loom_core.activities import activity, current_call

# An address in the text is not broken over lines.
POLICY = default.clone(max_line_length=500)


class Sent(TypedDict):
    messageId: str


@activity("send-email")
def send_email(*, to: str, subject: str, text: str) -> Sent:
    """Put a mail into the folder `outbox`, once for this call.

    Its name and its Message-ID come from the call's key, so a repeated call replaces its own mail.
    """
    name = hashlib.sha256(current_call.get().key.encode()).hexdigest()[:32]
    mail = EmailMessage(POLICY)
    mail["From"] = "Loom <onboarding@localhost>"
    mail["To"], mail["Subject"], mail["Message-ID"] = to, subject, f"<{name}@localhost>"
    mail.set_content(text)
    outbox = folder() / "outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    _write(outbox / f"{name}.eml", mail.as_bytes())
    return {"messageId": f"{name}@localhost"}


def _write(file: Path, content: bytes) -> None:
    """Whoever looks into the folder sees the whole mail or none."""
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
