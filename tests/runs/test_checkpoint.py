import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eyehand.models.vision.classifier import Classifier
from eyehand.policies.contract import PolicyModule
from eyehand.policies.registry import RELEASED
from eyehand.runs.checkpoint import load_checkpoint
from eyehand.runs.picture_run import NetworkConfig
from eyehand.types import InputError


def test_the_released_policy_is_a_policy() -> None:
    found = load_checkpoint(RELEASED / "mt50")
    assert found.kind == "policy"
    assert isinstance(found.network, PolicyModule)
    assert found.config["policy"]["name"] == found.network.config.name


def test_a_run_of_classify_or_segment_is_a_classifier(tmp_path: Path) -> None:
    config = NetworkConfig(name="lenet5", classes=2, channels=1, image_size=32)
    # As every version so far wrote it.
    description = {"network": asdict(config), "pictures": {"name": "digits"}, "training": {}}
    (tmp_path / "config.json").write_text(json.dumps(description))
    made = config.build()
    weights = {name: value.contiguous() for name, value in made.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    found = load_checkpoint(tmp_path)
    assert found.kind == "network"
    assert isinstance(found.network, Classifier)
    image = torch.zeros(1, 28, 28, 1, dtype=torch.uint8)
    assert torch.equal(found.network(image), made.eval()(image))


def test_a_config_of_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"training": {}}')
    with pytest.raises(InputError, match=r"must describe one of \['policy', 'network'\]"):
        load_checkpoint(tmp_path)
