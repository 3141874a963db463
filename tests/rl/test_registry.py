"""Every algorithm is found by its name."""

import pytest

from eyehand.rl.registry import ALGORITHMS, find_algorithm
from eyehand.types import InputError


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_and_its_config_are_found(name: str) -> None:
    algorithm, config = find_algorithm(name)
    assert config.__name__ == f"{algorithm.__name__}Config"
    config()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no algorithm 'pp'\. Did you mean 'ppo'"):
        find_algorithm("pp")
