"""Who may ask: whoever signs with the account's key, or bears an Entra token for this account."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from urllib.parse import parse_qsl, unquote

from tests.emulators.cosmos.errors import CosmosError

# The key of Microsoft's own emulator, known to everyone.
EMULATOR_KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
ANY_ACCOUNT = "https://cosmos.azure.com"


class Authorization:
    """`audience` (an URL) is what tokens must be for; None: this account by the host name it is called by."""

    def __init__(self, key=EMULATOR_KEY, audience=None):
        self._key = base64.b64decode(key)
        self._audience = audience

    def check(self, request):
        """Refuse a request as the service does: 401, or 403 for what a token cannot be allowed to do."""
        said = dict(parse_qsl(unquote(request.headers.get("authorization", "")).replace("+", "%2B")))
        match said.get("type"):
            case "master":
                self._check_signature(request, said.get("sig", ""))
            case "aad":
                self._check_token(said.get("sig", ""), request.host)
                if request.method != "GET" and len(request.segments) < 5:
                    raise CosmosError(
                        403,
                        "Request blocked: this operation cannot be authorized by AAD token in data plane.",
                        substatus=5300,
                    )
            case _:
                raise CosmosError(401, "Required Header authorization is missing.")

    def _check_signature(self, request, signature):
        kind, link = signed_resource(request.segments)
        date = request.headers.get("x-ms-date", "").lower()
        text = f"{request.method.lower()}\n{kind}\n{link}\n{date}\n\n"
        expected = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise CosmosError(
                401,
                "The input authorization token can't serve the request. Please check that the expected"
                " payload is built as per the protocol, and check the key being used.",
            )

    def _check_token(self, token, host):
        claims = _claims(token)
        audience = str(claims.get("aud", "")).rstrip("/")
        expected = self._audience or f"https://{host.rpartition(':')[0] or host}"
        if audience not in (expected.rstrip("/"), ANY_ACCOUNT):
            raise CosmosError(401, f"The token's audience {audience!r} is not this account ({expected}).")
        expiry = claims.get("exp")
        if not isinstance(expiry, int | float) or expiry <= time.time():
            raise CosmosError(401, "The token has expired.")


def signed_resource(segments):
    """The type and the link of the resource that a request's signature names."""
    if "operations" in segments[-2:-1]:
        return "colls", "/".join(segments[:-2])
    if not segments:
        return "", ""
    if len(segments) % 2:
        return segments[-1], "/".join(segments[:-1])
    if segments[0] == "offers":
        return "offers", segments[1].lower()
    return segments[-2], "/".join(segments)


def _claims(token):
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        claims = None
    if not isinstance(claims, dict):
        raise CosmosError(401, "The token is not a JSON web token.")
    return claims


def unsigned_token(audience, *, expires_in=600):
    """A token this server takes as Entra's, for so many seconds of the machine's time: nobody signed it."""
    parts = ({"alg": "none"}, {"aud": audience, "exp": int(time.time()) + expires_in})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*encoded, "unsigned"))
