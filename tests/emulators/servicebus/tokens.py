"""Claims-based security: what is put as a token, and whether it allows a link."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from urllib.parse import parse_qs, unquote

from tests.emulators.servicebus.broker import path
from tests.emulators.servicebus.errors import unauthorized

# The name and key of Microsoft's emulator; they protect nothing.
KEY_NAME, KEY = "RootManageSharedAccessKey", "SAS_KEY_VALUE"
AUDIENCES = ("https://servicebus.azure.net", "https://servicebus.azure.net/")
_SIGNED = "SharedAccessSignature "


def _covers(scope: str, entity: str) -> bool:
    return not scope or entity == scope or entity.startswith(scope + "/")


class Tokens:
    """Of one connection. Expiry is by the real clock: it is the client's that makes tokens."""

    def __init__(self, keys: dict[str, str]) -> None:
        self._keys = keys
        self._granted: dict[str, float] = {}

    def put(self, kind: object, name: object, token: object) -> None:
        """Raises ServiceBusError."""
        if not isinstance(name, str) or not isinstance(token, str):
            raise unauthorized("A token and the name of what it is for are needed.")
        if kind not in ("jwt", "servicebus.windows.net:sastoken"):
            raise unauthorized("InvalidToken: tokens are of type jwt or servicebus.windows.net:sastoken.")
        # The Python SDK calls a signature it made itself a JWT.
        signature = token.startswith(_SIGNED)
        until = self._check_signature(name, token) if signature else _check_claims(token)
        if until <= time.time():
            raise unauthorized("ExpiredToken: The token is expired.")
        self._granted[path(name)] = until

    def authorize(self, entity: str) -> None:
        """Raises ServiceBusError."""
        now = time.time()
        if not any(until > now and _covers(scope, entity) for scope, until in self._granted.items()):
            raise unauthorized("Unauthorized access. Claim(s) are required to perform this operation.")

    def _check_signature(self, name: str, token: str) -> float:
        fields = {key: values[-1] for key, values in parse_qs(token.removeprefix(_SIGNED)).items()}
        if fields.keys() != {"sr", "sig", "se", "skn"}:
            raise unauthorized("MalformedToken: sr, sig, se and skn make a shared access signature.")
        key = self._keys.get(fields["skn"])
        raw = token.removeprefix(_SIGNED).split("sr=", 1)[-1].split("&", 1)[0]
        signed = f"{raw}\n{fields['se']}".encode()
        expected = base64.b64encode(hmac.new((key or "").encode(), signed, hashlib.sha256).digest())
        if key is None or not hmac.compare_digest(expected, fields["sig"].encode()):
            raise unauthorized("InvalidSignature: The token has an invalid signature.")
        if not _covers(path(unquote(raw)), path(name)):
            raise unauthorized("InvalidAudience: The token is for another resource.")
        if not fields["se"].isdecimal():
            raise unauthorized("MalformedToken: se is a number of seconds.")
        return float(fields["se"][:15])


def _check_claims(token: str) -> float:
    """Nobody here can check the signature of an identity provider; what the claims say, anybody can."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        audience, until = claims["aud"], float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error, RecursionError) as error:
        raise unauthorized("MalformedToken: The token is no JWT with aud and exp.") from error
    if audience not in AUDIENCES:
        raise unauthorized(f"InvalidAudience: The token's audience is not {AUDIENCES[0]}.")
    return until
