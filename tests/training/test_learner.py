"""State by name: whole, of this network, and with everything an optimizer keeps."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from eyehand.training.learner import Learner
from eyehand.types import InputError


def learner(network: nn.Module, average_decay: float | None = 0.5) -> Learner:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
    made = Learner(network, optimizer, average_decay=average_decay)
    made.prepare(Accelerator(cpu=True))
    return made


def test_tied_and_transposed_weights_are_saved(tmp_path: Path) -> None:
    """safetensors alone refuses both."""
    module = nn.Module()
    module.a = nn.Linear(3, 3)
    module.b = nn.Linear(3, 3)
    module.b.weight = module.a.weight
    module.a.weight.data = torch.randn(3, 3).T
    one = learner(module)
    save_file(one.state_dict(), tmp_path / "state.safetensors")
    state = load_file(tmp_path / "state.safetensors")
    for part in ("weights/a", "weights/b", "averages/a", "averages/b"):
        assert torch.equal(state[f"{part}.weight"], module.a.weight)
    expected = module.a.weight.detach().clone()
    module.a.weight.data.zero_()
    one.load_state_dict(state)
    assert torch.equal(module.a.weight, expected)


def test_saving_before_the_first_step_changes_nothing() -> None:
    """torch would fill in the state of an optimizer, and count a step that never was."""
    found = []
    for saved in (False, True):
        torch.manual_seed(0)
        network = nn.Linear(2, 1)
        one = learner(network)
        if saved:
            state = one.state_dict()
            one.load_state_dict(state)
        for _ in range(2):
            one.zero_grad()
            one.backward(one(torch.ones(1, 2)).square().mean())
            one.step()
        found.append(one.state_dict())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_the_gradient_is_shortened_and_its_norm_told() -> None:
    network = nn.Linear(1, 1, bias=False)
    one = Learner(network, torch.optim.SGD(network.parameters(), lr=1.0), gradient_clip=0.5)
    one.prepare(Accelerator(cpu=True))
    before = network.weight.item()
    one.backward(one(torch.full((1, 1), 3.0)).sum())
    assert one.step() == 3.0
    assert before - network.weight.item() == pytest.approx(0.5, rel=1e-5)
    assert not any(name.startswith("averages/") for name in one.state_dict())


def test_refuses_a_state_of_another_network() -> None:
    """The config may be the same while the code has changed."""
    state = learner(nn.Linear(8, 2)).state_dict()
    with pytest.raises(InputError, match=r"another network: weight is \(2, 8\) .* \(3, 8\); name"):
        learner(nn.Linear(8, 3)).load_state_dict(state)
    with pytest.raises(InputError, match=r"another network: 0\.weight is not there"):
        learner(nn.Sequential(nn.Linear(8, 2))).load_state_dict(state)
