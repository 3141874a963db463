import torch

from eyehand.policies.heads.chunk import hold_last, row_noise


def test_a_chunk_beyond_the_end_holds_its_last_action() -> None:
    action = torch.arange(8.0).reshape(2, 2, 2, 1)
    mask = torch.tensor([[[True, True], [True, False]], [[False, False], [True, True]]])
    held = hold_last(action, mask)
    assert held[..., 0].tolist() == [[[0, 1], [2, 2]], [[0, 0], [6, 7]]]


def test_noise_is_a_rows_own() -> None:
    many = row_noise(torch.tensor([5, 7, 5]), horizon=4, action_dim=3)
    assert torch.equal(many[0], many[2])
    assert not torch.equal(many[0], many[1])
    assert torch.equal(row_noise(torch.tensor([7]), horizon=4, action_dim=3)[0], many[1])
    lots = row_noise(torch.arange(400), horizon=16, action_dim=4)
    assert abs(lots.mean()) < 0.02
    assert abs(lots.std() - 1) < 0.02
