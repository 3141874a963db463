"""The page's server against visitors that do what a browser would not; the robot is a stand-in."""

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import uvicorn
from websockets.sync.client import ClientConnection, connect

from eyehand.live import live_page
from eyehand.live.downloads import Downloads
from eyehand.live.live_page import MESSAGE_BYTES, MOST_NOTES, LiveConfig, LivePage, read_command
from eyehand.live.robot import LivePolicy, Take
from eyehand.live.worker import BUSY, TAKE, Note, Shown
from eyehand.types import InputError

WAIT = 20.0
"""Longest wait on a busy machine, seconds."""
LIVE = LivePolicy("still", {"top": 16}, horizon=4, executed=2)
FRAME = Shown({"kind": "frame", "task": "two-ways", "seed": 3}, (b"eye", b"view"))


class Robot:
    """Stands in for the robot's process: it keeps the commands, and answers one of them."""

    def __init__(self, *_: object, on_message: Callable[[Any], object], **__: object) -> None:
        self.say = on_message
        self.commands: queue.Queue[Any] = queue.Queue()
        self.answer = ""

    def send(self, command: dict[str, Any]) -> str:
        self.commands.put(command)
        if command == TAKE:
            self.say(Take("two-ways", 3, "go", actions=[np.zeros(2, np.float32)]))
        return self.answer

    def close(self) -> None:
        pass


class Served:
    """A page that is served in a thread."""

    def __init__(self, token: str | None = None) -> None:
        config = LiveConfig(token=token, suite="two-ways", task="two-ways")
        self.page = LivePage(lambda: None, LIVE, looks=None, config=config)
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.server = uvicorn.Server(
            uvicorn.Config(
                self.page.app,
                ws="websockets-sansio",
                ws_max_size=MESSAGE_BYTES,
                log_level="error",
                timeout_graceful_shutdown=1,
            )
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [sock]})
        self.thread.start()
        wait_until(lambda: self.server.started)

    @property
    def robot(self) -> Robot:
        return self.page.worker

    def visit(self) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/socket", max_size=None, close_timeout=1)

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.body = answer.read()
        connection.close()
        return answer

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(WAIT)


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def note(socket: ClientConnection) -> str:
    """Return the text of the next note."""
    while True:
        message = socket.recv(timeout=WAIT)
        if isinstance(message, str) and json.loads(message)["kind"] == "note":
            return str(json.loads(message)["text"])


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(token: str | None = None) -> Served:
        made.append(Served(token))
        return made[-1]

    monkeypatch.setattr(live_page, "Worker", Robot)
    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": -1}, "--seed must be a whole number, 0 to 2147483647. Got -1."),
        ({"seed": 10**30}, "--seed must be a whole number, 0 to 2147483647. Got 1000"),
        ({"token": "a\udcff"}, "--token must be text that can be printed"),
    ],
)
def test_what_no_robot_can_start_with_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LiveConfig(**wrong)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "go", "[]", '"run"', "{", "[" * 10_000, '{"do": {"a": 1}}',
        '{"do": ' + "[" * 900 + "]" * 900 + "}", '{"do": "hand", "keys": [["up"]]}',
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused(text: str | None) -> None:
    with pytest.raises(InputError, match="not a command"):
        read_command(text)


def test_only_the_driver_commands_and_everyone_is_answered(serve: Any) -> None:
    served = serve()
    with served.visit() as driver, served.visit() as other:
        wait_until(lambda: len(served.page.visitors) == 2)
        driver.send('{"do": "run"}')
        assert served.robot.commands.get(timeout=WAIT) == {"do": "run"}
        other.send('{"do": "run"}')
        assert note(other) == "somebody else drives."
        other.send(b"\xff\x00")
        assert note(other) == "the page sent something that is not a command."
        driver.send('{"do": "drive"}')
        assert note(driver) == "you drive already."
        served.robot.answer = BUSY
        driver.send('{"do": "run"}')
        assert note(driver) == BUSY
        assert "commands wait for it" in str(served.get("/film.mp4").body)
        driver.send("x" * (MESSAGE_BYTES + 1))
        wait_until(lambda: len(served.page.visitors) == 1)
        other.send('{"do": "drive"}')
        wait_until(lambda: served.page.driver)


def test_a_flood_is_read_no_faster_than_others_are_served(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "MESSAGES_PER_SECOND", 10)
    served = serve()
    with served.visit() as driver, served.visit() as other:
        begun = time.monotonic()
        for _ in range(1000):
            driver.send('{"do": "start", "task": "two-ways", "seed": 3}')
        other.send("{}")
        assert note(other) == "somebody else drives."
        took = time.monotonic() - begun
        assert served.robot.commands.qsize() <= 2 + 10 * took


def test_a_visitor_that_never_reads_costs_little_and_is_sent_away(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "SENDING_SECONDS", 0.3)
    served = serve()
    large = Shown(FRAME.frame, (b"", bytes(4_000_000)))
    with served.visit() as reader, socket.create_connection(("127.0.0.1", served.port)) as silent:
        upgrade = "GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        upgrade += "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        silent.sendall(f"{upgrade}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        wait_until(lambda: len(served.page.visitors) == 2)
        lost = served.page.visitors[max(served.page.visitors)]
        for _ in range(3):
            served.robot.say(large)
            for number in range(200):
                served.robot.say(Note(f"{number}", error=True))
        wait_until(lambda: len(served.page.visitors) == 1)
        assert len(lost.notes) <= MOST_NOTES
        while note(reader) != "199":
            pass  # the one that reads is still there


def test_who_comes_while_there_is_no_robot_is_told_why(serve: Any) -> None:
    served = serve()
    served.robot.say(Note("The robot's process died.", error=True, until_shown=True))
    wait_until(lambda: served.page.trouble)
    with served.visit() as visitor:
        assert note(visitor) == "The robot's process died."
    served.robot.say(FRAME)
    wait_until(lambda: served.page.trouble is None)


def test_a_download_leaves_no_file_whatever_its_reader_does(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"film" * 2_000_000

    async def write(self: Downloads, name: str, take: Take, file: Path) -> None:
        file.write_bytes(content)
        if take.sentence == "fail":
            raise InputError("it failed.")

    monkeypatch.setattr(Downloads, "_write", write)
    served = serve()
    folder = served.page._downloads._folder
    for headers in ({}, {"Range": "bytes=zzz"}, {"Range": "bytes=9999999999-"}):
        answer = served.get("/film.mp4", **headers)
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["content-disposition"].endswith("two-ways-3-film.mp4")
    with socket.create_connection(("127.0.0.1", served.port)) as leaver:
        leaver.sendall(b"GET /film.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert leaver.recv(100)
    monkeypatch.setattr(served.robot, "send", lambda _: served.robot.say(FAILS) or "")
    assert served.get("/film.mp4").status == 409
    assert [file.name for file in folder.iterdir()] == [".lock"]
    assert served.page._takes == []
    served.close()
    assert not folder.exists()


FAILS = Take("two-ways", 3, "fail", actions=[np.zeros(2, np.float32)])


def test_a_robot_that_does_not_answer_is_said(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "TAKE_SECONDS", 0.01)
    served = serve()
    monkeypatch.setattr(served.robot, "send", lambda _: "")
    answer = served.get("/film.mp4")
    assert (answer.status, answer.body) == (409, b"the robot does not answer: try again.\n")
    assert served.page._takes == []


@pytest.mark.parametrize("token", ["open sesame", "ключ;=%"])
def test_a_token_of_any_letters_opens_the_page_and_no_other_does(serve: Any, token: str) -> None:
    served = serve(token)
    for wrong in ("", "日本", "\udcff", "x" * 5000):
        said = quote(wrong.encode("utf-8", "surrogateescape"))
        for path in ("/", "/film.mp4", "/socket"):
            assert served.get(f"{path}?token={said}").status in (401, 404)
        for cookie in (said, "\xff\xfe", 'a"b;c'):
            assert served.get("/", Cookie=f"eyehand_token={cookie}").status == 401
    answer = served.get(f"/?token={quote(token)}")
    assert answer.status == 307
    cookie = answer.headers["set-cookie"].split(";")[0]
    assert served.get("/", Cookie=cookie).status == 200
    with connect(f"ws://127.0.0.1:{served.port}/socket", additional_headers={"Cookie": cookie}):
        pass


def test_without_a_token_any_is_passed_over(serve: Any) -> None:
    answer = serve().get(f"/?token={quote('日本')}")
    assert (answer.status, answer.headers["set-cookie"]) == (200, None)
