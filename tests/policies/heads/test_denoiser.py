import torch

from eyehand.policies.heads.denoiser import Denoiser


def test_chunk_time_and_feature_all_count() -> None:
    torch.manual_seed(0)
    net = Denoiser(3, width=16, depth=2, horizon=4, action_dim=2)
    chunk, time, feature = torch.zeros(1, 4, 2), torch.zeros(1), torch.zeros(1, 3)
    output = net(chunk, time, feature)
    assert output.shape == chunk.shape
    assert not torch.allclose(net(chunk + 1, time, feature), output)
    assert not torch.allclose(net(chunk, time + 0.1, feature), output)
    assert not torch.allclose(net(chunk, time, feature + 1), output)


def test_neighbouring_moments_are_told_apart() -> None:
    torch.manual_seed(0)
    net = Denoiser(3, width=64, depth=1, horizon=1, action_dim=1)
    time = torch.linspace(0, 1, 101)
    output = net(torch.zeros(101, 1, 1), time, torch.zeros(101, 3)).flatten()
    assert (output[1:] != output[:-1]).all()
