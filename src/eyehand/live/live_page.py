"""The server of the live page: many visitors watch a robot in the browser, one of them drives it.

The driver's page sends commands, and every page shows the same pictures. The robot checks every
command; a command that cannot be done is answered by a note on the page, and changes nothing.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from eyehand.collection.episodes import replay_episode, zip_episode
from eyehand.envs.rollout import Outcome, Start
from eyehand.envs.suite import Suite, find_suite
from eyehand.evaluation.film import film_episode
from eyehand.evaluation.latency import StageTimer
from eyehand.evaluation.rerun_recording import check_recording
from eyehand.live.robot import LivePolicy, Take
from eyehand.live.worker import FRAMES_PER_SECOND, Note, Shown, Worker
from eyehand.serving.server import check_exposure, is_same_site, only_known_hosts
from eyehand.types import Actor, InputError

FOLDER = Path(__file__).parent / "page"
"""The page itself."""
COOKIE = "eyehand_token"
MESSAGE_BYTES = 16_384
"""Longest message of a visitor, bytes."""
MOST_VISITORS = 32
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
        """Check port, token, task and recording."""
        if not 0 <= self.port < 65536:
            raise InputError(f"--port must be in 0 to 65535. Got {self.port}.")
        check_exposure(self.host, self.token)
        find_suite(self.suite).check_task(self.task)
        if self.rerun is not None:
            check_recording(self.rerun)


@dataclass
class Visitor:
    """One open page."""

    number: int
    latest: Shown | None = None
    """What is sent to it next; on a slow connection older pictures are skipped."""
    notes: list[Note] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class LivePage:
    """The page's server; its ``app`` is an ASGI application.

    Args:
        make_policy: Makes policy, description and timer in the robot's process.
        live: The same description, for the pages.
        looks: How the policy shows where it looks: attention, saliency, or None.
        config: Task, seed, token.
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
        self.worker: Worker | None = None
        self._numbers = count(1)
        self._takes: list[asyncio.Future[Take]] = []
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                WebSocketRoute("/socket", self._serve_visitor),
                Route("/film.mp4", self._film),
                Route("/episode.zip", self._episode),
                Route("/correction.zip", self._correction),
                Mount("/page", StaticFiles(directory=FOLDER)),
            ],
            middleware=only_known_hosts(config.host, config.token),
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        self._files = TemporaryDirectory(prefix="eyehand-live-")
        # spawn: a GL context does not survive a fork.
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
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
            self._pool.shutdown(cancel_futures=True)
            self._files.cleanup()

    def _hear(self, message: Shown | Note | Take) -> None:
        """Pass a message of the robot on to those who wait for it."""
        if isinstance(message, Take):
            for future in self._takes:
                if not future.done():
                    future.set_result(message)
            self._takes.clear()
            return
        if isinstance(message, Shown):
            self.shown = message
        for visitor in self.visitors.values():
            if isinstance(message, Shown):
                visitor.latest = message
            else:
                visitor.notes.append(message)
            visitor.news.set()

    def _is_allowed(self, connection: HTTPConnection) -> bool:
        if self.config.token is None:
            return True
        said = connection.query_params.get("token") or connection.cookies.get(COOKIE, "")
        return hmac.compare_digest(said.encode(), self.config.token.encode())

    async def _page(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return PlainTextResponse("a token is needed: /?token=...\n", status_code=401)
        if "token" in request.query_params:
            answer: Response = RedirectResponse("/")
            token = request.query_params["token"]
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
        self.visitors[visitor.number] = visitor
        if self.driver is None:
            self.driver = visitor.number
        self._refresh()
        sending = asyncio.create_task(self._show(socket, visitor))
        try:
            while True:
                self._handle(visitor, await socket.receive())
        except (WebSocketDisconnect, RuntimeError):
            pass  # the tab was closed
        finally:
            sending.cancel()
            del self.visitors[visitor.number]
            if self.driver == visitor.number:
                self.driver = None
            self._refresh()

    async def _show(self, socket: WebSocket, visitor: Visitor) -> None:
        """Send a visitor everything new, as fast as the connection takes it."""
        await socket.send_text(json.dumps(self._hello(visitor)))
        visitor.news.set()
        while True:
            await visitor.news.wait()
            visitor.news.clear()
            notes, visitor.notes = visitor.notes, []
            for note in notes:
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
            command = json.loads(event.get("text") or "")
            if not isinstance(command, dict):
                raise ValueError
        except (ValueError, RecursionError):
            self._tell(visitor, "the page sent something that is not a command.")
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
        elif what != "drive" and self.worker is not None:
            self.worker.send(command)

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
                {"name": task, "group": group, "sentences": sentences_of(self.suite, task)}
                for group, tasks in self.suite.groups.items()
                for task in tasks
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
        if self.worker is not None:
            self.worker.send("take")
        try:
            take = await asyncio.wait_for(future, TAKE_SECONDS)
        except TimeoutError:
            raise InputError("the robot does not answer: try again.") from None
        if not take.actions:
            raise InputError("this episode has no actions yet: run it first.")
        return take

    async def _film(self, request: Request) -> Response:
        return await self._download(request, "film.mp4", write_film_of)

    async def _episode(self, request: Request) -> Response:
        return await self._download(request, "episode.zip", write_episode_of)

    async def _correction(self, request: Request) -> Response:
        return await self._download(request, "correction.zip", write_correction_of)

    async def _download(
        self, request: Request, name: str, write: Callable[[str, Take, LivePolicy, Path], None]
    ) -> Response:
        if not self._is_allowed(request):
            return PlainTextResponse("a token is needed\n", status_code=401)
        try:
            take = await self._take()
            file = Path(self._files.name) / f"{next(self._numbers)}-{name}"
            made: Awaitable[None] = asyncio.get_running_loop().run_in_executor(
                self._pool, write, self.config.suite, take, self.live, file
            )
            await made
        except InputError as error:
            return PlainTextResponse(f"{error}\n", status_code=409)
        title = f"{take.task}-{take.seed}-{name}"
        return FileResponse(
            file,
            filename=title,
            headers={"Cache-Control": "no-store"},
            background=BackgroundTask(file.unlink),
        )


def sentences_of(suite: Suite, task: str) -> list[str]:
    """Return the sentences that the page suggests for a task, the canonical one first."""
    told = suite.instructions(task)
    return [told.canonical, *told.training]


def write_film_of(suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    """Film an episode of the live robot."""
    start = Start(take.task, take.seed, take.sentence)
    outcome = Outcome(start, take.success, np.stack(take.actions))
    film_episode(find_suite(suite), outcome, file, size=480, stride=4)


def write_episode_of(suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    """Write an episode of the live robot as a data set."""
    _write_episode(find_suite(suite), take, live, file, action_mask=None)


def write_correction_of(suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    """Write an episode as a data set in which only the person's actions are to be learned.

    Raises:
        InputError: If there is no such part.
    """
    if not any(take.human):
        raise InputError("no person has led the hand in this episode: take over first.")
    _write_episode(find_suite(suite), take, live, file, action_mask=take.human)


def _write_episode(
    suite: Suite, take: Take, live: LivePolicy, file: Path, *, action_mask: list[bool] | None
) -> None:
    start = Start(take.task, take.seed, take.sentence)
    env = suite.make(take.task, cameras=live.cameras, render_observations=False)
    try:
        episode = replay_episode(env, start, take.actions, action_mask=action_mask)
    finally:
        env.close()
    zip_episode(episode, file, suite)
