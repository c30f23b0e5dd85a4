"""Continuation tokens of queries: opaque to clients, good for the same query only."""

import base64
import hashlib
import json

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.sql.values import UNDEFINED, canonical, compact


class Token:
    """`after`: the place of the last row delivered; `left`: how many more TOP or LIMIT let through;
    `delivered`: for results only known all together, how many have gone out."""

    def __init__(self, digest, after=None, left=None, delivered=0):
        self._digest = digest
        self.left = left
        self.delivered = delivered
        self.after = after

    @classmethod
    def read(cls, text, body):
        digest = hashlib.sha256(canonical(body).encode()).hexdigest()[:16]
        if not text:
            return cls(digest)
        try:
            said = json.loads(base64.urlsafe_b64decode(text))
            token = cls(digest, _decoded(said["after"]), said["left"], said["delivered"])
        except (ValueError, KeyError, TypeError):
            raise bad_request("Invalid Continuation Token.") from None
        if said["query"] != digest:
            raise bad_request("The continuation token belongs to another query.")
        return token

    def after_row(self, place, left):
        """The token for what comes after this row."""
        return self._encoded(place, left, 0)

    def after_results(self, delivered):
        return self._encoded(None, None, delivered)

    def _encoded(self, place, left, delivered):
        if place is not None:
            values, number, position = place
            place = [[[] if value is UNDEFINED else [value] for value in values], number, position]
        said = {"query": self._digest, "after": place, "left": left, "delivered": delivered}
        return base64.urlsafe_b64encode(compact(said).encode()).decode()


def _decoded(place):
    if place is None:
        return None
    values, number, position = place
    return [[value[0] if value else UNDEFINED for value in values], number, position]
