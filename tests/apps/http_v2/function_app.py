"""The second HTTP model: live FastAPI requests and responses, streaming both ways."""

import asyncio

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse
from fastapi import HTTPException

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
gate = asyncio.Event()


@app.route(route="open", methods=["POST"])
async def open_gate(req: Request) -> Response:
    gate.set()
    return Response(status_code=204)


@app.route(route="events", methods=["GET"])
async def events(req: Request) -> StreamingResponse:
    async def generate():
        yield "data: before\n\n"
        await gate.wait()
        yield "data: after\n\n"

    return StreamingResponse(generate(), media_type="text/event-stream")


@app.route(route="endless", methods=["GET"])
async def endless(req: Request) -> StreamingResponse:
    async def generate():
        yield "data: hello\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(generate(), media_type="text/event-stream")


@app.route(route="count", methods=["POST"])
async def count(req: Request) -> JSONResponse:
    size = 0
    async for chunk in req.stream():
        size += len(chunk)
    return JSONResponse({"bytes": size})


@app.route(route="thing/{id}", methods=["GET"])
async def thing(req: Request) -> dict:
    if req.path_params["id"] == "0":
        raise HTTPException(404, "no such thing")
    return {"id": req.path_params["id"], "q": req.query_params.get("q")}


@app.route(route="boom", methods=["GET"])
async def boom(req: Request) -> Response:
    raise RuntimeError("a secret of the handler")
