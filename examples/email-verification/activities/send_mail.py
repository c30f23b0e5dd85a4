"""Mails, as files in the folder `outbox` of the app's data: most mail servers take them from there."""

import hashlib
import os
from email.message import EmailMessage
from pathlib import Path

from loom_core import activity, current_call


@activity("send-mail")
def send_mail(to: str, subject: str, text: str) -> str:
    """Put a mail into the outbox; a repeated call replaces its own mail. The result is the file's name."""
    name = hashlib.sha256(current_call.get().key.encode()).hexdigest()[:32] + ".eml"
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Loom <verify@localhost>", to, subject
    mail.set_content(text)
    outbox = Path(os.environ.get("LOOM_DATA") or ".loom") / "outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    part = outbox / f"{name}.part"
    part.write_bytes(mail.as_bytes())
    part.replace(outbox / name)
    return name
