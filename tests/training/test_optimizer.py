import pytest
from torch import nn

from eyehand.training.optimizer import build_optimizer
from eyehand.types import InputError


def decays(module: nn.Module, **options: float | str) -> dict[str, float]:
    settings = {"learning_rate": 1e-3, "weight_decay": 0.1, **options}
    optimizer = build_optimizer(module, **settings)
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {
        names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }


@pytest.fixture
def module() -> nn.Module:
    module = nn.ModuleDict(
        {"frozen": nn.Linear(2, 2), "cross": nn.Linear(2, 2), "norm": nn.LayerNorm(2)}
    )
    module["frozen"].requires_grad_(False)
    module["filters"] = nn.Conv2d(1, 1, 3)
    return module


def test_only_matrices_and_filters_decay(module: nn.Module) -> None:
    assert decays(module) == {
        "cross.weight": 0.1, "cross.bias": 0.0, "norm.weight": 0.0, "norm.bias": 0.0,
        "filters.weight": 0.1, "filters.bias": 0.0,
    }  # fmt: skip


def test_decay_of_one_part_only(module: nn.Module) -> None:
    found = decays(module, weight_decay_only="cross")
    assert {name for name, decay in found.items() if decay} == {"cross.weight"}
    assert set(found) == set(decays(module))


def test_refuses_a_name_that_is_not_there(module: nn.Module) -> None:
    with pytest.raises(InputError, match=r"'gate'.*cross.weight, filters.weight"):
        decays(module, weight_decay_only="gate")


def test_refuses_a_network_without_weights_that_train() -> None:
    with pytest.raises(InputError, match="Linear has no parameter that trains"):
        decays(nn.Linear(2, 2).requires_grad_(False))
