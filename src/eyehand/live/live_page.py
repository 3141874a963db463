"""The server of the live page: many visitors watch a robot in the browser, one of them drives it.

The driver's page sends commands, and every page shows the same pictures. The robot checks every
command; a command that cannot be done is answered by a note on the page, and changes nothing.
"""

import asyncio
import hmac
import json
import mimetypes
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from eyehand.envs.suite import find_suite
from eyehand.evaluation.latency import StageTimer
from eyehand.evaluation.rerun_recording import check_recording
from eyehand.live.downloads import WRITERS, Downloads, chunks, own_folder
from eyehand.live.robot import LivePolicy, Take, check_seed
from eyehand.live.worker import FRAMES_PER_SECOND, LOST, TAKE, Note, Shown, Worker
from eyehand.serving.server import check_exposure, is_same_site, only_known_hosts
from eyehand.types import Actor, InputError

FOLDER = Path(__file__).parent / "page"
"""The page itself."""
COOKIE = "eyehand_token"
MESSAGE_BYTES = 16_384
"""Longest message of a visitor, bytes."""
MESSAGES_PER_SECOND = 100
"""Messages of a visitor that are read, at most; the others wait on the visitor's side."""
MOST_VISITORS = 32
MOST_NOTES = 16
"""Notes that wait for a visitor on a slow connection; of more, the oldest are not sent."""
SENDING_SECONDS = 20.0
"""Longest time that a connection may take for a picture and notes; then it is closed."""
TAKE_SECONDS = 5.0
"""Longest wait for the robot's recorded episode."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class LiveConfig:
    """Where the page is served, and its first episode."""

    host: str = "127.0.0.1"
    """Address to listen on; one that other machines can reach needs a token."""
    port: int = 7860
    """Port to listen on; 0 chooses one that is free."""
    token: str | None = None
    """What visitors must have in the address (?token=...)."""
    suite: str = "metaworld"
    """The benchmark."""
    task: str = "drawer-open"
    """The first task."""
    seed: int = 1_000_000
    """Its start state."""
    rerun: Path | None = None
    """Also record the robot for the rerun viewer, into this .rrd file."""

    def __post_init__(self) -> None:
        """Check port, token, task, seed and recording."""
        if not 0 <= self.port < 65536:
            raise InputError(f"--port must be in 0 to 65535. Got {self.port}.")
        check_exposure(self.host, self.token)
        if self.token is not None and not self.token.isprintable():
            raise InputError("--token must be text that can be printed, as in an address.")
        find_suite(self.suite).check_task(self.task)
        check_seed(self.seed, "--seed")
        if self.rerun is not None:
            check_recording(self.rerun)


@dataclass
class Visitor:
    """One open page."""

    number: int
    latest: Shown | None = None
    """What is sent to it next; on a slow connection older pictures are skipped."""
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=MOST_NOTES))
    news: asyncio.Event = field(default_factory=asyncio.Event)


class LivePage:
    """The page's server; its ``app`` is an ASGI application.

    ``make_policy`` makes policy, description and timer in the robot's process; ``live`` is the same
    description, for the pages. ``looks`` says how the policy shows where it looks: attention,
    saliency, or None.
    """

    def __init__(
        self,
        make_policy: Callable[[], tuple[Actor, LivePolicy, StageTimer]],
        live: LivePolicy,
        *,
        looks: str | None,
        config: LiveConfig,
    ) -> None:
        self.live, self.looks, self.config = live, looks, config
        self.suite = find_suite(config.suite)
        self._make_policy = make_policy
        self.visitors: dict[int, Visitor] = {}
        self.driver: int | None = None
        self.shown: Shown | None = None
        self.trouble: Note | None = None
        """Why there is no robot at present."""
        self.worker: Worker | None = None
        self._numbers = count(1)
        self._takes: list[asyncio.Future[Take]] = []
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                WebSocketRoute("/socket", self._serve_visitor),
                *(Route(f"/{name}", partial(self._download, name=name)) for name in WRITERS),
                Mount("/page", StaticFiles(directory=FOLDER)),
            ],
            middleware=only_known_hosts(config.host, config.token),
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with own_folder() as folder:
            self._downloads = Downloads(self.config.suite, self.live, folder)
            self.worker = Worker(
                self._make_policy,
                suite=self.config.suite,
                task=self.config.task,
                seed=self.config.seed,
                rerun=self.config.rerun,
                on_message=lambda message: loop.call_soon_threadsafe(self._hear, message),
            )
            try:
                yield
            finally:
                self.worker.close()
                self._downloads.close()

    def _hear(self, message: Shown | Note | Take) -> None:
        """Pass a message of the robot on to those who wait for it."""
        if isinstance(message, Take):
            for future in self._takes:
                if not future.done():
                    future.set_result(message)
            self._takes.clear()
            return
        if isinstance(message, Shown):
            self.shown, self.trouble = message, None
        elif message.until_shown:
            self.trouble = message
        for visitor in self.visitors.values():
            if isinstance(message, Shown):
                visitor.latest = message
            else:
                visitor.notes.append(message)
            visitor.news.set()

    def _is_allowed(self, connection: HTTPConnection) -> bool:
        if self.config.token is None:
            return True
        said = connection.query_params.get("token") or unquote(connection.cookies.get(COOKIE, ""))
        return hmac.compare_digest(said.encode(), self.config.token.encode())

    async def _page(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return PlainTextResponse("a token is needed: /?token=...\n", status_code=401)
        if self.config.token and "token" in request.query_params:
            answer: Response = RedirectResponse("/")
            token = quote(self.config.token, safe="")  # a cookie is ASCII
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return answer
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    async def _serve_visitor(self, socket: WebSocket) -> None:
        if not is_same_site(socket) or not self._is_allowed(socket):
            await socket.close(code=1008, reason="a token is needed, or the page is another site's")
            return
        if len(self.visitors) >= MOST_VISITORS:
            await socket.close(code=1013, reason=f"{MOST_VISITORS} people watch already")
            return
        await socket.accept()
        visitor = Visitor(next(self._numbers), latest=self.shown)
        if self.trouble is not None:
            visitor.notes.append(self.trouble)
        self.visitors[visitor.number] = visitor
        if self.driver is None:
            self.driver = visitor.number
        self._refresh()
        # The first of the two that ends ends the visit: the tab was closed, or it reads nothing.
        tasks = [
            asyncio.create_task(visit)
            for visit in (self._show(socket, visitor), self._listen(socket, visitor))
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            del self.visitors[visitor.number]
            if self.driver == visitor.number:
                self.driver = None
            self._refresh()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                # RuntimeError: the connection was closed while something was sent.
                known = WebSocketDisconnect | RuntimeError | TimeoutError
                if isinstance(ended, Exception) and not isinstance(ended, known):
                    raise ended

    async def _listen(self, socket: WebSocket, visitor: Visitor) -> None:
        """Do what a visitor says, until the connection ends."""
        while True:
            self._handle(visitor, await socket.receive())
            await asyncio.sleep(1 / MESSAGES_PER_SECOND)

    async def _show(self, socket: WebSocket, visitor: Visitor) -> None:
        """Send a visitor everything new, as fast as the connection takes it."""
        async with asyncio.timeout(SENDING_SECONDS):
            await socket.send_text(json.dumps(self._hello(visitor)))
        visitor.news.set()
        while True:
            await visitor.news.wait()
            visitor.news.clear()
            async with asyncio.timeout(SENDING_SECONDS):
                await self._send_news(socket, visitor)

    async def _send_news(self, socket: WebSocket, visitor: Visitor) -> None:
        while visitor.notes:
            note = visitor.notes.popleft()
            message = {"kind": "note", "text": note.text, "error": note.error}
            await socket.send_text(json.dumps(message))
        shown, visitor.latest = visitor.latest, None
        if shown is not None:
            people = {"driver": self.driver, "visitors": len(self.visitors)}
            await socket.send_text(json.dumps(shown.frame | people))
            for number, picture in enumerate(shown.pictures):
                await socket.send_bytes(bytes([number]) + picture)

    def _refresh(self) -> None:
        """Tell every page who drives and how many watch."""
        for visitor in self.visitors.values():
            visitor.latest = visitor.latest or self.shown
            visitor.news.set()

    def _handle(self, visitor: Visitor, event: Mapping[str, Any]) -> None:
        """Do a visitor's command, or tell the visitor why it is not done."""
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        try:
            command = read_command(event.get("text"))
        except InputError as error:
            self._tell(visitor, str(error))
            return
        what = command.get("do")
        if what == "drive" and self.driver is None:
            self.driver = visitor.number
            self._refresh()
        elif self.driver != visitor.number:
            nobody = "nobody drives: press Drive first."
            self._tell(visitor, "somebody else drives." if self.driver else nobody)
        elif what == "leave":
            self.driver = None
            self._refresh()
        elif what == "drive":
            self._tell(visitor, "you drive already.")
        elif self.worker is not None and (trouble := self.worker.send(command)):
            self._tell(visitor, trouble)

    def _tell(self, visitor: Visitor, text: str) -> None:
        visitor.notes.append(Note(text, error=True))
        visitor.news.set()

    def _hello(self, visitor: Visitor) -> dict[str, Any]:
        return {
            "kind": "hello",
            "you": visitor.number,
            "policy": {
                "name": self.live.name,
                "image_size": self.live.cameras[self.live.camera],
                "horizon": self.live.horizon,
                "executed": self.live.executed,
                "camera": self.live.camera,
                "looks": self.looks,
            },
            "tasks": [
                {"name": task, "group": group, "sentences": [told.canonical, *told.training]}
                for group, tasks in self.suite.groups.items()
                for task, told in zip(tasks, map(self.suite.instructions, tasks), strict=True)
            ],
            "actions": [action.name for action in self.suite.action],
            "frames_per_second": FRAMES_PER_SECOND,
        }

    async def _take(self) -> Take:
        """Return the robot's episode up to now.

        Raises:
            InputError: If there is no action yet, or the robot does not answer.
        """
        future: asyncio.Future[Take] = asyncio.get_running_loop().create_future()
        self._takes.append(future)
        try:
            if self.worker is not None and (lost := self.worker.send(TAKE)) in LOST:
                raise InputError(lost)
            take = await asyncio.wait_for(future, TAKE_SECONDS)
        except TimeoutError:
            raise InputError("the robot does not answer: try again.") from None
        finally:
            if future in self._takes:
                self._takes.remove(future)
        if not take.actions:
            raise InputError("this episode has no actions yet: run it first.")
        return take

    async def _download(self, request: Request, name: str) -> Response:
        if not self._is_allowed(request):
            return PlainTextResponse("a token is needed\n", status_code=401)
        try:
            take = await self._take()
            file = await self._downloads.draw(name, take)
        except InputError as error:
            return PlainTextResponse(f"{error}\n", status_code=409)
        except asyncio.CancelledError:
            return PlainTextResponse("the server is being stopped\n", status_code=503)
        title = quote(f"{take.task}-{take.seed}-{name}")
        return StreamingResponse(
            chunks(file),
            media_type=mimetypes.guess_type(name)[0],
            headers={
                "Cache-Control": "no-store",
                "Content-Length": str(os.fstat(file.fileno()).st_size),
                "Content-Disposition": f"attachment; filename*=UTF-8''{title}",
            },
        )


def read_command(text: str | None) -> dict[str, Any]:
    """Return the command in a visitor's message: names with texts, numbers, or lists of texts.

    Raises:
        InputError: If it is something else; deeper values could break whoever passes them on.
    """
    try:
        command = json.loads(text or "")
    except (ValueError, RecursionError):
        command = None
    if not isinstance(command, dict) or any(
        isinstance(value, dict)
        or (isinstance(value, list) and not all(isinstance(part, str) for part in value))
        for value in command.values()
    ):
        raise InputError("the page sent something that is not a command.")
    return command
