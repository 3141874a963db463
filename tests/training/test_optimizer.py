import pytest
from torch import nn

from eyehand.training.optimizer import build_optimizer, decayed_names
from eyehand.types import InputError, ParameterGroup


class Parts(nn.Module):
    def __init__(self, groups: dict[str, ParameterGroup] | None = None) -> None:
        super().__init__()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.cross = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)
        self.filters = nn.Conv2d(1, 1, 3)
        if groups is not None:
            self.parameter_groups = lambda: groups


def settings(module: nn.Module) -> dict[str, tuple[float, float]]:
    """Rate and weight decay of every parameter that trains."""
    optimizer = build_optimizer(module, learning_rate=1e-3, weight_decay=0.1)
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {
        names[p]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_only_matrices_and_filters_decay() -> None:
    assert settings(Parts()) == {
        "cross.weight": (1e-3, 0.1), "cross.bias": (1e-3, 0.0), "norm.weight": (1e-3, 0.0),
        "norm.bias": (1e-3, 0.0), "filters.weight": (1e-3, 0.1), "filters.bias": (1e-3, 0.0),
    }  # fmt: skip
    assert decayed_names(Parts()) == {"cross.weight", "filters.weight"}


def test_the_network_says_rates_and_decay_of_its_parts() -> None:
    module = Parts(
        {
            "eyes": ParameterGroup(["filters.weight", "filters.bias"], decay_scale=0.0),
            "slow": ParameterGroup(["cross.weight", "frozen.weight"], rate_scale=0.5),
        }
    )
    found = settings(module)
    assert found["filters.weight"] == (1e-3, 0.0)
    assert found["cross.weight"] == (5e-4, 0.1)
    assert found["cross.bias"] == (1e-3, 0.0)
    assert set(found) == set(settings(Parts()))
    assert decayed_names(module) == {"cross.weight"}


@pytest.mark.parametrize("names", [["cross.weigth"], ["cross.weight", "cross.weight"]])
def test_refuses_a_name_that_is_not_there_or_twice(names: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"group 'x' of Parts names {names[-1]}, which is no"):
        settings(Parts({"x": ParameterGroup(names)}))


def test_refuses_a_network_without_weights_that_train() -> None:
    module = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(InputError, match="Linear has no parameter that trains"):
        build_optimizer(module, learning_rate=1e-3, weight_decay=0.1)
