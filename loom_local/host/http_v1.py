"""HTTP as `func.HttpRequest` and `func.HttpResponse` travel: whole bodies, as binding datums."""

from collections.abc import Mapping
from typing import Any

from loom_local.host.exchange import Reply, Request


def request_fields(request: Request, parameters: Mapping[str, str], datum: Any) -> dict[str, Any]:
    """Describe a request the way the httpTrigger binding decodes it; `datum(value, kind)` makes its parts."""
    return {
        "method": datum(request.method, "string"),
        "url": datum(request.url, "string"),
        "headers": _texts(request.headers, datum),
        "query": _texts(request.query, datum),
        "params": _texts(parameters, datum),
        "body": datum(request.body, "bytes"),
    }


def reply_of(answer: Any) -> Reply:
    """Turn an encoded `$return` value into a reply: a response, plain text, or nothing (204)."""
    if answer is None or answer.value is None:
        return Reply(204)
    if answer.type != "http":
        return Reply(200, answer.value)
    value = answer.value
    headers = [(name, header.value) for name, header in value["headers"].items()]
    for cookies in value["cookies"] or ():
        headers += [("set-cookie", cookie.OutputString()) for cookie in cookies.values()]
    return Reply(int(value["status_code"].value), value["body"].value, tuple(headers))


def _texts(values: Mapping[str, str], datum: Any) -> dict[str, Any]:
    return {name: datum(value, "string") for name, value in values.items()}
