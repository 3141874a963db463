import torch

from eyehand.policies.memory import FeatureMemory


def test_windows_are_a_robots_own_and_slide() -> None:
    memory = FeatureMemory(history=2)
    for number in range(3):
        window, mask = memory.remember(torch.tensor([[number + 0.0], [10.0 + number]]), [4, 9])
    assert window[..., 0].tolist() == [[1, 2], [11, 12]]
    assert mask.all()
    window, mask = memory.remember(torch.tensor([[5.0]]), [9])
    assert window[..., 0].tolist() == [[12, 5]]


def test_a_forgotten_robot_begins_anew_and_the_others_do_not() -> None:
    memory = FeatureMemory(history=3)
    memory.remember(torch.zeros(2, 1), [1, 2])
    memory.forget([1, 7])
    window, mask = memory.remember(torch.ones(2, 1), [1, 2])
    assert window[..., 0].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert mask.tolist() == [[False, False, True], [False, True, True]]


def test_padding_rows_leave_nothing_behind() -> None:
    memory = FeatureMemory(history=2)
    for _ in range(2):
        _, mask = memory.remember(torch.zeros(1, 1), [-1])
        assert mask.tolist() == [[False, True]]
