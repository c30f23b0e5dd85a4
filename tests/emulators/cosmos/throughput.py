"""Offers: the throughput of a database or a container. It is kept and answered, never enforced."""

import json

from tests.emulators.cosmos.errors import bad_request, not_found, whole

DEFAULT = {"offerThroughput": 400}


def offered(headers):
    """What a creation's headers say of throughput, as an offer's content; None if nothing."""
    if (fixed := headers.get("x-ms-offer-throughput")) is not None:
        return _checked({"offerThroughput": whole(fixed)})
    if (autoscale := headers.get("x-ms-cosmos-offer-autopilot-settings")) is not None:
        try:
            settings = json.loads(autoscale)
            base = settings["maxThroughput"] // 10
        except (ValueError, KeyError, TypeError):
            raise bad_request("The autopilot settings are invalid.") from None
        return {"offerThroughput": base, "offerAutopilotSettings": settings}
    return None


def _checked(content):
    throughput = content.get("offerThroughput")
    if type(throughput) is not int or throughput < 400 or throughput % 100:
        raise bad_request("The offer throughput must be at least 400, in increments of 100.")
    return content


class Throughput:
    def __init__(self, database):
        self._database = database

    def list(self):
        rows = self._database.execute("SELECT body FROM resources WHERE kind = 'offers'")
        return [json.loads(body) for (body,) in rows]

    def of(self, link):
        return next((offer for offer in self.list() if offer["resource"] == link), None)

    def create(self, resource, content):
        rid = f"o{self._database.next():05}"
        offer = {
            "id": rid,
            "_rid": rid,
            "_self": f"offers/{rid}/",
            "_etag": f'"{rid}"',
            "_ts": resource["_ts"],
            "resource": resource["_self"],
            "offerResourceId": resource["_rid"],
            "offerType": "Invalid",
            "offerVersion": "V2",
            "content": content or DEFAULT,
        }
        self._database.execute(
            "INSERT INTO resources VALUES ('offers', '', ?, ?, ?)", (rid, rid, json.dumps(offer))
        )

    def replace(self, rid, body):
        old = next((offer for offer in self.list() if offer["_rid"].lower() == rid.lower()), None)
        if old is None:
            raise not_found()
        content = body.get("content") or {}
        if "offerAutopilotSettings" not in content:
            _checked(content)
        offer = {**old, "content": content}
        self._database.execute(
            "UPDATE resources SET body = ? WHERE kind = 'offers' AND id = ?", (json.dumps(offer), old["id"])
        )
        return offer

    def delete(self, link):
        for offer in self.list():
            if offer["resource"] == link:
                self._database.execute(
                    "DELETE FROM resources WHERE kind = 'offers' AND id = ?", (offer["id"],)
                )
