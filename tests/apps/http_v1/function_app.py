"""A plain FunctionApp of the first HTTP model: whole requests, whole responses."""

import json
import logging
import os
import time

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route(route="echo/{id:int}/{name?}", methods=["GET", "POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    body = {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "header": req.headers.get("X-Thing"),
        "body": req.get_body().decode(),
    }
    return func.HttpResponse(
        json.dumps(body), status_code=201, mimetype="application/json", headers={"X-Reply": "yes"}
    )


@app.route(route="echo/latest", methods=["GET"])
async def latest(req: func.HttpRequest) -> str:
    return "the literal route"


@app.route(route="files/{*path}", auth_level=func.AuthLevel.ANONYMOUS)
async def files(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return func.HttpResponse(f"{context.function_name}:{req.route_params.get('path', '')}")


@app.route(route="boom", methods=["GET"])
def boom(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("a secret of the handler")


@app.route(route="quit", methods=["GET"])
def quit_(req: func.HttpRequest) -> func.HttpResponse:
    raise SystemExit(3)


@app.route(route="cookies", methods=["GET"])
def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("ok")
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2; Path=/")
    return response


@app.route(route="sleep/{seconds}", methods=["GET"])
def sleep(req: func.HttpRequest) -> func.HttpResponse:
    logging.getLogger(__name__).info("going to sleep")
    time.sleep(float(req.route_params["seconds"]))
    return func.HttpResponse("awake")


@app.route(route="settings", methods=["GET"])
def settings(req: func.HttpRequest) -> func.HttpResponse:
    names = ("FROM_FILE", "LOOM_DATA", "LOOM_API_KEY")
    return func.HttpResponse(json.dumps({name: os.environ.get(name) for name in names}))


@app.queue_trigger(arg_name="message", queue_name="in", connection="Storage")
def on_message(message: func.QueueMessage) -> None:
    raise AssertionError("the local host has no storage queues")


@app.timer_trigger(schedule="%NOT_SET%", arg_name="timer")
def unscheduled(timer: func.TimerRequest) -> None:
    raise AssertionError("its schedule is not set")
