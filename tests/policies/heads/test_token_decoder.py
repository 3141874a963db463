import torch

from eyehand.policies.heads.token_decoder import TokenDecoder


def decoder() -> TokenDecoder:
    torch.manual_seed(0)
    return TokenDecoder(3, vocabulary=7, width=16, depth=2, heads=2, head_dim=8).eval()


@torch.no_grad()
def test_what_it_says_is_the_likeliest_by_its_own_logits() -> None:
    net, feature = decoder(), torch.randn(4, 3)
    tokens = net.generate(feature, length=6)
    assert torch.equal(net(feature, tokens).argmax(dim=-1), tokens)


@torch.no_grad()
def test_a_token_is_seen_only_by_those_after_it() -> None:
    net, feature = decoder(), torch.randn(1, 3)
    tokens = torch.zeros(1, 5, dtype=torch.long)
    other = tokens.clone()
    other[0, 2] = 3
    before, after = net(feature, tokens), net(feature, other)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])


@torch.no_grad()
def test_it_stops_when_every_row_has_said_the_end() -> None:
    net, feature = decoder(), torch.randn(3, 3)
    torch.nn.init.zeros_(net.to_logits.weight)
    net.to_logits.bias.copy_(torch.nn.functional.one_hot(torch.tensor(4), 7))
    assert net.generate(feature, length=6, end=4).tolist() == [[4]] * 3
    assert net.generate(feature, length=6, end=5).shape == (3, 6)
