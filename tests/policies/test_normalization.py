from dataclasses import replace

import numpy as np
import pytest
import torch

from eyehand.policies.normalization import Normalization, blank_statistics
from eyehand.types import InputError, Statistics


@pytest.fixture
def units(statistics: dict[str, Statistics]) -> Normalization:
    return Normalization(statistics, state_dim=4, action_dim=4)


def test_states_become_standard_scores(units: Normalization) -> None:
    state = torch.tensor([0.1, 0.7, 0.15, 0.5])
    torch.testing.assert_close(units.normalize_state(state), torch.tensor([0.0, 1.0, -1.0, 0.0]))


def test_the_limits_of_actions_become_minus_one_and_one(units: Normalization) -> None:
    ends = torch.stack([units.action_minimum, units.action_maximum])
    torch.testing.assert_close(units.normalize_action(ends), torch.tensor([[-1.0] * 4, [1.0] * 4]))


def test_restoring_undoes_normalizing(units: Normalization) -> None:
    unit = torch.rand(50, 4)
    action = units.action_minimum + unit * (units.action_maximum - units.action_minimum)
    got = units.restore_action(units.normalize_action(action))
    torch.testing.assert_close(got, action, rtol=0, atol=1e-6)


def test_restored_actions_stay_within_what_was_seen(units: Normalization) -> None:
    wild = units.restore_action(torch.tensor([[-9.0] * 4, [9.0] * 4]))
    assert torch.equal(wild[0], units.action_minimum)
    assert torch.equal(wild[1], units.action_maximum)


def test_what_never_moved_is_not_divided(statistics: dict[str, Statistics]) -> None:
    still = np.array([0.3] * 4, np.float32)
    statistics["state"] = replace(statistics["state"], mean=still, std=0 * still)
    statistics["action"] = replace(statistics["action"], minimum=still, maximum=still)
    units = Normalization(statistics, state_dim=4, action_dim=4)
    here = torch.tensor(still)
    assert torch.equal(units.normalize_state(here), torch.zeros(4))
    assert torch.equal(units.normalize_action(here), torch.zeros(4))
    assert torch.equal(units.restore_action(torch.ones(4)), here)


def test_statistics_travel_with_the_weights(units: Normalization) -> None:
    blank = Normalization(blank_statistics(state_dim=4, action_dim=4), state_dim=4, action_dim=4)
    blank.load_state_dict(units.state_dict())
    state = torch.rand(3, 4)
    assert torch.equal(blank.normalize_state(state), units.normalize_state(state))


def test_statistics_of_another_robot_are_refused(statistics: dict[str, Statistics]) -> None:
    with pytest.raises(InputError, match=r"statistics of state have 4 numbers.*state_dim=7"):
        Normalization(statistics, state_dim=7, action_dim=4)
    del statistics["action"]
    with pytest.raises(InputError, match=r"lack 'action'; they have \['state'\]"):
        Normalization(statistics, state_dim=4, action_dim=4)
