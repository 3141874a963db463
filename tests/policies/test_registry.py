import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from eyehand.checksums import read_json, write_json
from eyehand.models.checkpoint import stored_weights
from eyehand.policies.contract import PolicyConfig, PolicyModule
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.registry import (
    POLICIES,
    RELEASED,
    describe_policy,
    find_checkpoint,
    load_policy,
    policy_class,
    restore_config,
    save_policy,
)
from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.types import Batch, InputError, Observation


@pytest.fixture
def checkpoint(tmp_path: Path, small_policy: Callable[..., PolicyModule]) -> Path:
    save_policy(small_policy("bcz"), tmp_path)
    return tmp_path


def change_policy(folder: Path, **changes: Any) -> None:
    description = read_json(folder / "config.json")
    description["policy"] |= changes
    write_json(folder / "config.json", description)


@pytest.mark.parametrize("name", POLICIES)
def test_names_and_configs_agree(name: str) -> None:
    assert policy_class(name).Config.name == name


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("bcz", {}),
        ("roboflamingo", {}),
        ("bcz", {"landmarks": 2, "landmark_weight": 0.5, "octaves": 2}),
        ("roboflamingo", {"head": MLPHeadConfig(dims=(5,)), "cameras": ("left", "right")}),
    ],
)
def test_configs_come_back_from_json(
    name: str, changes: dict[str, Any], small_config: Callable[..., PolicyConfig]
) -> None:
    config = small_config(name, **changes)
    assert restore_config(json.loads(json.dumps(describe_policy(config)))) == config


def test_frozen_weights_are_not_stored(
    name: str, small_policy: Callable[..., PolicyModule]
) -> None:
    policy = small_policy(name)
    stored = stored_weights(policy)
    trained = {name for name, value in policy.named_parameters() if value.requires_grad}
    frozen = {name for name, value in policy.named_parameters() if not value.requires_grad}
    assert frozen
    assert trained <= stored.keys()
    assert not frozen & stored.keys()
    assert "units.action_maximum" in stored


def test_an_unknown_policy_gets_the_nearest(checkpoint: Path) -> None:
    change_policy(checkpoint, name="robo-flamingo")
    sentence = r"config\.json: no policy 'robo-flamingo'. Did you mean 'roboflamingo'"
    with pytest.raises(InputError, match=sentence):
        load_policy(checkpoint)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"colour": 3}, r"config\.json: policy config: .*colour"),
        ({"horizon": "many"}, r"config\.json: policy config: .*horizon.*many"),
        ({"image_size": 90}, r"config\.json: .*multiple of 16 .*; got 90"),
    ],
)
def test_an_altered_config_is_refused(
    checkpoint: Path, changes: dict[str, Any], sentence: str
) -> None:
    change_policy(checkpoint, **changes)
    with pytest.raises(InputError, match=sentence):
        load_policy(checkpoint)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"policy": 3}', '{"policy": {"name": 3}}'])
def test_a_config_that_is_none_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        load_policy(checkpoint)


def test_weights_of_another_size_are_refused(checkpoint: Path) -> None:
    change_policy(checkpoint, keypoints=4)
    with pytest.raises(InputError, match=r"model\.safetensors: weight '.*' has shape .*asks for"):
        load_policy(checkpoint)


ABSURD: list[dict[str, Any]] = [
    {"horizon": 10**9},
    {"dims": [-1, 2, 3]},
    {"state_dim": 10**10},
    {"head": 3},
    {"language": 3},
]
MORE_ABSURD: list[dict[str, Any]] = [
    {"dims": [10**9, 8, 8]},
    {"context_dim": 10**9},
    {"context_dim": 0},
    {"keypoints": 10**9},
    {"octaves": 10**9},
    {"octaves": -1},
    {"map_dim": 10**9},
    {"blocks": 10**9},
    {"blocks": 10**9, "dims": [2, 2, 2]},
    {"action_dim": 10**10},
    {"image_size": 16 * 10**8},
    {"vision": "resnet18", "image_size": 10**8},
    {"head": {"name": "mlp", "dims": [10**9]}},
    {"head": {"name": "mlp", "dims": [1] * 10**4}},
    {"head": {"name": "mlp", "dims": "many"}},
    {"cameras": 7},
    {"language": "transformers:/nowhere"},
    {"name": ["bcz"]},
]


@pytest.mark.parametrize(
    "changes", [*ABSURD, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_ABSURD)]
)
def test_absurd_configs_are_one_sentence_before_they_take_memory(
    checkpoint: Path, changes: dict[str, Any]
) -> None:
    change_policy(checkpoint, **changes)
    before = psutil.Process().memory_info().rss
    begun = time.perf_counter()
    with pytest.raises(InputError) as refused:
        load_policy(checkpoint)
    assert "\n" not in str(refused.value)
    assert str(checkpoint) in str(refused.value)
    assert time.perf_counter() - begun < 10
    assert psutil.Process().memory_info().rss - before < 300e6


@pytest.mark.parametrize("length", [0, 4, 200, -1])
def test_truncated_weights_are_refused(checkpoint: Path, length: int) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"model\.safetensors is truncated or altered"):
        load_policy(checkpoint)


@pytest.mark.parametrize(("kind", "word"), [("missing", "lacks"), ("unknown", "has")])
def test_other_weights_are_refused(checkpoint: Path, kind: str, word: str) -> None:
    from safetensors.torch import load_file, save_file

    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    if kind == "missing":
        del weights["encoder.stem.bias"]
    else:
        weights["encoder.stem.bios"] = torch.zeros(3)
    save_file(weights, path)
    with pytest.raises(InputError, match=rf"model\.safetensors {word} the weight 'encoder\.stem"):
        load_policy(checkpoint)


def test_observations_of_another_robot_are_refused(
    name: str,
    small_policy: Callable[..., PolicyModule],
    batch_for: Callable[..., Batch],
    observe: Callable[..., Observation],
) -> None:
    policy = small_policy(name)
    batch = batch_for(policy.config)
    observation = observe(batch)
    sentence = "state has 7 numbers per step, the checkpoint was trained on 4"
    with pytest.raises(InputError, match=sentence):
        policy.act(replace(observation, state=torch.zeros(4, 7)))
    with pytest.raises(InputError, match=sentence):
        policy.loss(replace(batch, state=torch.zeros(*batch.state.shape[:2], 7)))
    with pytest.raises(InputError, match=r"camera 'corner4', the observation has \['front'\]"):
        policy.act(replace(observation, image={"front": observation.image["corner4"]}))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_file_is_no_checkpoint(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(InputError, match=f"is no checkpoint: it has no {name}"):
        load_policy(checkpoint)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "released"
    for name in ("big", "small"):
        (folder / name).mkdir(parents=True)
    (folder / "README.md").write_text("Not a policy.")
    monkeypatch.setattr("eyehand.policies.registry.RELEASED", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_released_policy_is_found_by_its_name(released: Path) -> None:
    assert find_checkpoint(Path("small")) == released / "small"


def test_a_folder_is_itself_even_where_a_released_policy_has_its_name(released: Path) -> None:
    Path("small").mkdir()
    assert find_checkpoint(Path("small")) == Path("small")
    assert find_checkpoint(released) == released


@pytest.mark.parametrize("name", ["smal", "released/big/model.safetensors", "README.md"])
def test_what_is_neither_is_refused_with_the_names(released: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"is no folder .* those are \['big', 'small'\]\.$"):
        find_checkpoint(Path(name))


def test_the_files_of_every_released_policy_have_checksums(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for folder in RELEASED.iterdir():
        load_policy(folder)
        assert caplog.messages == [], "nothing is said of a file without a checksum"
        copy = shutil.copytree(folder, tmp_path / folder.name)
        for name in ("config.json", "model.safetensors"):
            content = bytearray((folder / name).read_bytes())
            content[len(content) // 2] ^= 1
            (copy / name).write_bytes(content)
            with pytest.raises(InputError, match=rf"{name} is .*checksum differs"):
                load_policy(copy)
            shutil.copyfile(folder / name, copy / name)


def test_an_installation_without_released_policies_still_finds_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyehand.policies.registry.RELEASED", tmp_path / "none")
    assert find_checkpoint(tmp_path) == tmp_path
    with pytest.raises(InputError, match=r"those are \[\]"):
        find_checkpoint(Path("mt50"))


def test_a_roboflamingo_of_the_network_before_is_refused_in_one_sentence() -> None:
    before = describe_policy(RoboFlamingoConfig())
    del before["octaves"]
    with pytest.raises(InputError, match="whose network was another one"):
        restore_config(before)
