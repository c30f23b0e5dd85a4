"""The string that a durable client binding gives to a function, as the Durable extension writes it."""

import json
from urllib.parse import urlencode

WEBHOOKS = "/runtime/webhooks/durabletask"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def client_binding(*, rpc_address: str, origin: str, hub: str, key: str = "") -> str:
    """Describe the engine at `rpc_address` ("127.0.0.1:4001") and the webhooks under `origin` ("http://…").

    Equal arguments give equal strings: the SDK keeps one client per string.
    """
    base = f"{origin}{WEBHOOKS}"
    query = urlencode({"taskHub": hub, "connection": "Storage"} | ({"code": key} if key else {}))
    code = f"?code={key}" if key else ""
    instance = f"{base}/instances/INSTANCEID"
    reason = f"reason={{text}}&{query}"
    document = {
        "taskHubName": hub,
        "connectionName": "Storage",
        "rpcBaseUrl": f"http://{rpc_address}",
        "httpBaseUrl": base,
        "baseUrl": base,
        "requiredQueryStringParameters": query,
        "useForwardedHost": False,
        "maxGrpcMessageSizeInBytes": MAX_MESSAGE_BYTES,
        "grpcHttpClientTimeout": "00:01:40",
        "creationUrls": {
            "createNewInstancePostUri": f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]{code}",
            "createAndWaitOnNewInstancePostUri": (
                f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]"
                f"?timeout={{timeoutInSeconds}}&pollingInterval={{intervalInSeconds}}"
                + (f"&code={key}" if key else "")
            ),
        },
        "managementUrls": {
            "id": "INSTANCEID",
            "statusQueryGetUri": f"{instance}?{query}",
            "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{query}",
            "terminatePostUri": f"{instance}/terminate?{reason}",
            "rewindPostUri": f"{instance}/rewind?{reason}",
            "purgeHistoryDeleteUri": f"{instance}?{query}",
            "restartPostUri": f"{instance}/restart?{query}",
            "suspendPostUri": f"{instance}/suspend?{reason}",
            "resumePostUri": f"{instance}/resume?{reason}",
        },
    }
    return json.dumps(document, separators=(",", ":"))


def management_urls(binding: str, instance_id: str, origin: str) -> dict[str, str]:
    """Give the links of a check-status response for one instance, under the origin the caller used."""
    from urllib.parse import quote  # noqa: PLC0415  only this function

    document = json.loads(binding)
    own = document["baseUrl"].removesuffix(WEBHOOKS)
    return {
        name: instance_id
        if name == "id"
        else origin + url.removeprefix(own).replace("INSTANCEID", quote(instance_id, safe=""))
        for name, url in document["managementUrls"].items()
    }
