"""`eyehand serve` and `eyehand eval --server`: our servers, and anybody's."""

import json
import os
import re
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from eyehand.cli import main
from eyehand.evaluation.protocol import checkpoint_sha256
from eyehand.evaluation.results import read_results
from eyehand.functional.wire import pack, unpack
from eyehand.policies.registry import RELEASED


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the released policy as a user does."""
    command = [sys.executable, "-c", "from eyehand.cli import main; main()"]
    command += ["serve", "mt50", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        found = re.search(r"ws://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found
        yield found[0]
        process.terminate()


def test_a_served_policy_is_measured_like_the_checkpoint(address: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f"eval --server {address} --tasks drawer-open --episodes 1 --films 1 --out {out}"
    recording = tmp_path / "seen.rrd"
    rerun = ["--rerun", str(recording)] if find_spec("rerun") else []  # make extras
    assert main([*command.split(), "--workers", "1", *rerun]) == 0
    results = read_results(out)
    assert [success for _, _, success, _ in results.episodes] == [True]
    assert results.checkpoint == address
    assert results.checkpoint_sha256 == checkpoint_sha256(RELEASED / "mt50")
    assert results.observation["picture"] == "96 x 96 RGB"
    assert f"--server {address} --camera work_area --image-size 96" in results.command
    assert not rerun or recording.stat().st_size > 10_000


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of somebody else: speaks openpi's protocol, knows nothing of ours."""
    heard: list[dict[str, Any]] = []

    def answer(socket: ServerConnection) -> None:
        socket.send(pack({}))
        for message in socket:
            assert isinstance(message, bytes)
            heard.append(unpack(message))
            socket.send(pack({"actions": np.zeros((20, 4), np.float64)}))

    with serve(answer, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", heard
        server.shutdown()


def test_anybodys_server_can_be_measured(
    stranger: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    address, heard = stranger
    command = f"eval --server {address} --tasks reach --episodes 1 --films 0 --workers 1"
    command += f" --image-size 32 --execution.steps 20 --out {tmp_path}"
    assert main(command.split()) == 0
    (episode,) = read_results(tmp_path).episodes
    assert episode[2:] == (False, 500)
    assert len(heard) == 25
    for message in heard:
        assert set(message) == {"prompt", "observation/state", "observation/image"}
        assert message["observation/image"].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("hello", "actions", "said"),
    [
        ({"image_size": "large"}, None, "must say 'image_size' as a number from 1 to 1024"),
        ({"cameras": ["nowhere"]}, None, "no camera of metaworld 'nowhere'"),
        ({"picture_keys": {"nowhere": "x"}}, None, "cameras that the robot does not have"),
        ({}, np.full((20, 4), np.nan), "All must be finite"),
    ],
)
def test_a_server_that_answers_wrongly_ends_in_one_sentence(
    hello: dict[str, Any], actions: Any, said: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def answer(socket: ServerConnection) -> None:
        socket.send(pack(hello))
        for _ in socket:
            socket.send(pack({"actions": actions}))

    with serve(answer, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        command = f"eval --server {address} --tasks reach --episodes 1 --films 0 --workers 1"
        assert main([*command.split(), "--image-size", "32", "--out", str(tmp_path / "out")]) == 2
        server.shutdown()
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--server ws://127.0.0.1:9", "no policy server answers"),
        ("mt50 --server ws://127.0.0.1:9", "name what is measured"),
        ("", "name what is measured"),
        ("--server nonsense", "no policy server answers"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *words.split(), "--tasks", "reach", "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve nowhere", "nowhere"),
        ("serve mt50 --host 0.0.0.0", "set --token"),
        ("serve mt50 --host [::1]", "--host must be an address"),
        ("serve mt50 --patience.idle 0", "--patience.idle must be above 0"),
        ("serve mt50 --window-ms -1", "--window-ms must be in"),
        ("serve mt50 --most-clients 0", "--most-clients must be above 0"),
        ("live --port 99999", "--port must be in"),
        ("live --task drawer-opn", "drawer-open"),
        ("live --host 0.0.0.0", "set --token"),
        ("live --rerun film.mp4", "ends in .rrd"),
        ("play mt50 --task reach --rerun film.mp4", "ends in .rrd"),
        ("eval mt50 --tasks reach --out unused --rerun film.mp4", "ends in .rrd"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_sentence(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


CLIENT = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

client = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
told = client.get_server_metadata()
seen = {
    "observation/image": np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8),
    "observation/state": np.array([0.0, 0.6, 0.2, 1.0], np.float32),
    "prompt": "open the drawer",
}
chunks = [client.infer(seen)["actions"] for _ in range(3)]
try:
    client.infer({**seen, "observation/state": np.full(4, np.nan, np.float32)})
except RuntimeError as error:
    said = str(error)
after = client.infer(seen)["actions"]
print(json.dumps({
    "policy": told["name"], "horizon": told["horizon"], "said": said,
    "shape": chunks[0].shape, "type": str(chunks[0].dtype), "largest": float(np.abs(chunks).max()),
    "same": all(np.array_equal(chunk, after) for chunk in chunks),
}))
"""


PACKAGES = ("openpi-client==0.1.2", "typing_extensions")
"""The client, and what it imports without saying so."""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with openpi-client and nothing of ours."""
    folder = tmp_path_factory.mktemp("openpi") / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


@pytest.mark.slow
def test_openpis_client_gets_actions_from_the_released_policy(peer: Path, address: str) -> None:
    done = subprocess.run(
        [peer, "-c", CLIENT, address.split(":")[-1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["policy"] == "bcz"
    assert found["shape"] == [found["horizon"], 4]
    assert found["type"] == "float32"
    assert found["largest"] <= 1
    assert found["same"]
    assert "'observation/state' must be finite numbers" in found["said"]
