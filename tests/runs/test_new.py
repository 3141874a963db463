"""Every template is a part that passes its own test, wherever it is written and however named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eyehand.cli import main
from eyehand.runs.new import LONGEST, ROOMS, find_checkout, write_new
from eyehand.types import InputError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "eyehand"
LONG = "long-name".ljust(LONGEST, "g")
FINDS_ROOMS_HERE = """import importlib
from pathlib import Path

ROOMS = "{rooms}"
for room in ROOMS.split():
    package = importlib.import_module("eyehand." + room.replace("/", "."))
    package.__path__.append(str(Path(__file__).parents[1] / "src" / "eyehand" / room))
loop = importlib.import_module("eyehand.training.loop")
loop.matrix_multiply_peak = lambda *_, **__: 1e9  # spare every run the second that it takes
"""
"""For a checkout that holds nothing but what is new: the rest is the eyehand under test."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty checkout in which each kind was written."""
    folder = empty_checkout(tmp_path_factory.mktemp("checkout"))
    (folder / "tests").mkdir()
    conftest = FINDS_ROOMS_HERE.format(rooms=" ".join(ROOMS.values()))
    (folder / "tests" / "conftest.py").write_text(conftest)
    for kind in ROOMS:
        write_new(kind, f"my-{kind}", folder=folder, checkout=True)
    return folder


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without eyehand in which each kind was written, under the shortest names."""
    folder = tmp_path_factory.mktemp("outside")
    for letter, kind in zip("abcd", ROOMS, strict=True):
        write_new(kind, letter, folder=folder, checkout=False)
    return folder


def empty_checkout(folder: Path) -> Path:
    (folder / "src" / "eyehand").mkdir(parents=True, exist_ok=True)
    (folder / "src" / "eyehand" / "__init__.py").write_text('"""eyehand."""\n')
    return folder


def test_what_is_written_passes_its_own_test(checkout: Path, outside: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    # The way of importing that both kinds of folder have by default, and no settings of ours.
    command += ["--rootdir", checkout, "-c", os.devnull, "--doctest-modules", checkout, outside]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_is_as_tidy_as_the_house(
    checkout: Path, outside: Path, tmp_path: Path
) -> None:
    """Also under names so long that lines would have to be broken elsewhere."""
    for kind in ROOMS:
        write_new(kind, LONG, folder=empty_checkout(tmp_path), checkout=True)
    ours = 'lint.isort.known-first-party = ["eyehand", "a", "b", "c", "d"]'
    for folder in (checkout, tmp_path, outside):
        house = ["--no-cache", "--config", ROOT / "pyproject.toml", "--config", ours]
        tests_beside = ["--ignore", "D"] if folder == outside else []
        for command in (["format", "--check", *house], ["check", *house, *tests_beside]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "."],
                cwd=folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_verb_says_which_line_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = empty_checkout(tmp_path) / "src" / "eyehand"
    monkeypatch.chdir(room)
    lines = {
        "suite": '    "my-arm": "eyehand.envs.my_arm:MY_ARM",',
        "policy": '    "my-arm": "eyehand.policies.my_arm:MyArm",',
        "head": "from eyehand.policies.heads.my_arm import MyArmConfig\n    | MyArmConfig",
        "update": "give MyArm(network) to eyehand.training.loop.train",
    }
    for kind, line in lines.items():
        assert main(["new", kind, "my-arm"]) == 0
        assert line in capsys.readouterr().out
        place = Path(ROOMS[kind]) / "my_arm.py"
        assert (room / place).is_file()
        assert (tmp_path / "tests" / place.with_name("test_my_arm.py")).is_file()
    assert main(["new", "suite", "my_arm", "--out", str(tmp_path / "elsewhere")]) == 0
    assert "PYTHONPATH=. eyehand record --suite my_arm:SUITE" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    assert written == ["my_arm.py", "test_my_arm.py"]
    assert find_checkout(tmp_path.parent) is None


def test_the_lines_to_add_have_a_place() -> None:
    """What the advice says to extend is there, and its entries look like the new one."""
    assert '    "two-ways": "eyehand.envs.two_ways:' in (PACKAGE / "envs/suite.py").read_text()
    assert '    "bcz": "eyehand.policies.bcz:' in (PACKAGE / "policies/registry.py").read_text()
    assert "\n    | VQHeadConfig\n" in (PACKAGE / "policies/heads/registry.py").read_text()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("suite", "2nd-arm", "begins with a letter.*got '2nd-arm'"),
        ("suite", "My-Arm", "lower-case.*got 'My-Arm'"),
        ("suite", "my--arm", "got 'my--arm'"),
        ("suite", LONG + "e", f"at most {LONGEST} characters"),
        ("policy", "lambda", "'lambda' is a word of Python"),
        ("policy", "none", "'none' is a word of Python"),
        ("suite", "numpy", "has a module 'numpy' already"),
        ("update", "learner", "needs the name Learner for something else"),
        ("head", "action-head-config", "needs the name ActionHeadConfig"),
    ],
)
def test_a_bad_name_is_one_sentence(
    tmp_path: Path, kind: str, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=message):
        write_new(kind, name, folder=tmp_path, checkout=False)
    assert main(["new", kind, name, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for taken in ("tests/envs/test_arm.py", "src/eyehand/training/sgd.py"):
        (tmp_path / taken).parent.mkdir(parents=True)
        (tmp_path / taken).write_text("mine")
    with pytest.raises(InputError, match=r"test_arm\.py exists already"):
        write_new("suite", "arm", folder=tmp_path, checkout=True)
    with pytest.raises(InputError, match=r"sgd\.py exists already"):
        write_new("update", "sgd", folder=tmp_path, checkout=True)
    assert {path.read_text() for path in tmp_path.rglob("*.py")} == {"mine"}
    (tmp_path / "src/eyehand/policies/heads").mkdir(parents=True)
    with pytest.raises(InputError, match="heads exists already"):
        write_new("policy", "heads", folder=tmp_path, checkout=True)
    with pytest.raises(FileExistsError):
        write_new("head", "sgd", folder=tmp_path / "tests/envs/test_arm.py", checkout=False)
