"""Who may talk to the host: only this machine by default, only holders of the key otherwise.

A page on the internet can make a browser send requests to 127.0.0.1, under a host name of its own
(DNS rebinding) or openly across sites. Both are told apart by headers that a page cannot forge.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from loom_local.host.exchange import Reply

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Access:
    """`key` guards everything that is not anonymous; without it, only loopback callers are served."""

    key: str | None
    loopback: bool

    @property
    def webhook_key(self) -> str:
        """The key inside management links: derived, so that handing out a link does not hand out `key`."""
        if self.key is None:
            return ""
        return hmac.new(self.key.encode(), b"durabletask_extension", hashlib.sha256).hexdigest()

    def refuse_caller(self, headers: Mapping[str, str]) -> Reply | None:
        """Refuse a caller that cannot be this machine's user. None: served."""
        if not self.loopback:
            return None
        host = headers.get("host", "")
        if _hostname(host) not in _LOCAL_NAMES:
            return Reply(
                421, f"This host serves this machine only and does not answer to the name {host[:100]!r}.\n"
            )
        origin = headers.get("origin")
        if origin is not None and _hostname(urlsplit(origin).netloc) not in _LOCAL_NAMES:
            return Reply(403, "This host serves this machine only and refuses requests from other sites.\n")
        return None

    def refuse_key(
        self, headers: Mapping[str, str], query: Mapping[str, str], *, webhook: bool = False
    ) -> Reply | None:
        """Refuse a caller that does not hold the key. None: served."""
        if self.key is None:
            return None
        given = (headers.get("x-functions-key") or query.get("code") or "").encode()
        if hmac.compare_digest(given, self.key.encode()):
            return None
        if webhook and hmac.compare_digest(given, self.webhook_key.encode()):
            return None
        return Reply(401, "A key is needed: send it as x-functions-key or ?code=.\n")


def _hostname(netloc: str) -> str:
    name, colon, port = netloc.rpartition(":")
    return (name if colon and port.isdigit() else netloc).lower()
