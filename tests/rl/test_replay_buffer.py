"""The newest steps are kept, drawn evenly, and restored."""

import pytest
import torch

from eyehand.rl.experience import Experience
from eyehand.rl.replay_buffer import ReplayBuffer


def steps(first: int, count: int) -> Experience:
    number = torch.arange(first, first + count, dtype=torch.float32)
    no = torch.zeros(count, dtype=torch.bool)
    both = number[:, None].expand(-1, 2).clone()
    return Experience(both, number.long(), number, both + 1, no, no)


def test_the_oldest_give_way() -> None:
    buffer = ReplayBuffer(5)
    buffer.add(steps(0, 3))
    assert len(buffer) == 3
    buffer.add(steps(3, 4))
    assert len(buffer) == 5
    assert sorted(buffer.held["reward"].tolist()) == [2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="6 steps do not fit into a buffer of 5"):
        buffer.add(steps(0, 6))


def test_a_draw_has_whole_steps_each_as_often() -> None:
    buffer = ReplayBuffer(4)
    buffer.add(steps(0, 4))
    torch.manual_seed(0)
    drawn = buffer.draw(8000)
    assert torch.equal(drawn.next_observation[:, 0], drawn.reward + 1)
    assert torch.equal(drawn.action, drawn.reward.long())
    counts = torch.bincount(drawn.action, minlength=4)
    assert (counts - 2000).abs().max() < 200


def test_a_restored_buffer_is_the_same() -> None:
    one, other = ReplayBuffer(5), ReplayBuffer(5)
    one.add(steps(0, 4))
    one.add(steps(4, 3))
    other.load_state_dict(one.state_dict())
    for buffer in (one, other):
        buffer.add(steps(7, 2))
    assert all(torch.equal(one.held[name], column) for name, column in other.held.items())
