"""The page and its WebSocket."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ...sync.errors import NodeError
from .hub import Hub, HubClient

STATIC = Path(__file__).with_name("static")
STATUS_SLOT = "status"
MAX_CLIENTS = 16
TRY_LATER = 1013
POLICY = 1008
TOKEN_HEADER = "X-Ethostream-Token"
"""A page of another site can neither read the token of this one nor send this header to it."""
_TOKEN_PLACE = "TOKEN-OF-THIS-PAGE"

Disarm = Callable[[], dict[str, Any]]
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def make_app(hub: Hub, on_start: Callable[[], None], on_disarm: Disarm | None = None) -> FastAPI:
    """The application; ``on_start`` is called in its event loop once it serves.

    ``/`` the page, ``/api/status`` the newest status as JSON, ``/ws`` both status (text) and tiles (binary) as they
    come. ``/ws?sync=1``: after each batch a text ``{"type": "sync", "n": n}`` follows, and nothing more is sent until
    the client has answered ``n``; so what is on its way to a slow tab stays one batch.

    ``POST /api/disarm`` with the page's token stops the rules from firing (``on_disarm``, in a thread of its own).
    There is nothing to arm them: whoever can reach the page may stop a rig, and only its user may let it act.
    """
    token = secrets.token_urlsafe(16)
    index = (STATIC / "index.html").read_text(encoding="utf-8").replace(_TOKEN_PLACE, token)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        hub.attach(asyncio.get_running_loop())
        on_start()
        yield
        hub.attach(None)

    app = FastAPI(title="ethostream monitor", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    # A page of another site that resolves its own name to this machine must not read the rig.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])

    async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    async def page() -> HTMLResponse:
        return HTMLResponse(index)

    def disarm(request: Request) -> Response:
        if on_disarm is None:
            return Response("this page has no rig to disarm", status_code=404)
        if not secrets.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), token.encode()):
            return Response("reload the page, and press the button there", status_code=403)
        try:
            return Response(str(on_disarm()["words"]), media_type="text/plain")
        except NodeError as error:
            return Response(str(error), status_code=503, media_type="text/plain")

    async def status() -> Response:
        _, payload = hub.newest(STATUS_SLOT)
        if not payload:
            return Response(status_code=503, headers={"Retry-After": "1"})
        return Response(payload, media_type="application/json")

    async def stream(socket: WebSocket) -> None:
        if not _same_site(socket):
            await socket.close(POLICY, "another site's page may not read this one")
            return
        await socket.accept()
        if hub.n_clients >= MAX_CLIENTS:
            await socket.close(TRY_LATER, f"{MAX_CLIENTS} pages are open already; close one")
            return
        await _serve(socket, hub)

    app.middleware("http")(add_headers)
    app.add_api_route("/", page)
    app.add_api_route("/api/status", status)
    app.add_api_route("/api/disarm", disarm, methods=["POST"], response_model=None)
    app.add_api_websocket_route("/ws", stream)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _same_site(socket: WebSocket) -> bool:
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")


async def _serve(socket: WebSocket, hub: Hub) -> None:
    answers = _Answers()
    client = hub.join()
    try:
        sender = asyncio.create_task(_send(socket, client, answers if "sync" in socket.query_params else None))
        listener = asyncio.create_task(_listen(socket, answers))
        done, waiting = await asyncio.wait({sender, listener}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            task.result()
    finally:
        hub.leave(client)


class _Answers:
    """The last batch that the browser says it has drawn."""

    def __init__(self) -> None:
        self.n = 0
        self.came = asyncio.Event()

    async def wait_for(self, n: int) -> None:
        while self.n < n:
            self.came.clear()
            await self.came.wait()


async def _send(socket: WebSocket, client: HubClient, answers: _Answers | None) -> None:
    n_batch = 0
    try:
        while True:
            await client.changed.wait()
            for slot, payload in client.take():
                # Awaits while the socket's buffer is full: what changes meanwhile is skipped for this client alone.
                if slot == STATUS_SLOT:
                    await socket.send_text(payload.decode())
                else:
                    await socket.send_bytes(payload)
            if answers is not None:
                n_batch += 1
                await socket.send_json({"type": "sync", "n": n_batch})
                await answers.wait_for(n_batch)
    except WebSocketDisconnect:
        return


async def _listen(socket: WebSocket, answers: _Answers) -> None:
    try:
        while True:
            text = await socket.receive_text()
            if text.isdecimal() and len(text) < 12:
                answers.n = int(text)
                answers.came.set()
    except (WebSocketDisconnect, KeyError):
        return  # KeyError: a binary message, which no page of ours sends
