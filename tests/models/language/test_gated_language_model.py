"""Against the plain language model, and against gates hung before its blocks as hooks."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.models.language.gated_language_model import GatedLanguageModel, find_blocks
from eyehand.models.language.pretrained import Tokenize, load_language_model
from eyehand.types import InputError

SENTENCES = ["open the red drawer", "push", "close the green box please", "push"]


@pytest.fixture(scope="module", params=["tiny_bert", "tiny_llama"])
def plain(request: pytest.FixtureRequest) -> tuple[nn.Module, Tokenize]:
    folder: Path = request.getfixturevalue(request.param)
    model, tokenize = load_language_model(f"transformers:{folder}")
    return model.double().eval(), tokenize


def gated(
    plain: tuple[nn.Module, Tokenize], *, every: int = 2, **settings: Any
) -> GatedLanguageModel:
    model, tokenize = plain
    torch.manual_seed(0)
    return GatedLanguageModel(
        copy.deepcopy(model), tokenize, every=every, context_dim=6, heads=2, head_dim=4, **settings
    ).double()


def open_gates(model: GatedLanguageModel) -> None:
    for value in model.gates.parameters():
        nn.init.normal_(value, std=0.5)


def run_plain(plain: tuple[nn.Module, Tokenize], sentence: str) -> Tensor:
    model, tokenize = plain
    return model(input_ids=torch.tensor([tokenize(sentence)])).last_hidden_state[0].detach()


def test_closed_gates_give_the_plain_model_exactly(plain: tuple[nn.Module, Tokenize]) -> None:
    context = torch.randn(1, 5, 6).double()
    feature, mask = gated(plain)(SENTENCES[:1], context)
    assert mask.all()
    assert torch.equal(feature[0], run_plain(plain, SENTENCES[0]))


def test_the_last_gated_layer_reads_what_the_model_says(
    plain: tuple[nn.Module, Tokenize],
) -> None:
    model = gated(plain, every=4, last=True)
    open_gates(model)
    without = gated(plain, every=4)
    without.gates.load_state_dict(model.gates[:1].state_dict())
    context = torch.randn(2, 5, 6).double()
    feature, _ = model(SENTENCES[:2], context)
    said, _ = without(SENTENCES[:2], context)
    torch.testing.assert_close(feature, model.gates[-1](said, context), rtol=0, atol=1e-12)
    assert not torch.allclose(feature, said)
    assert not any("_last" in name for name in model.state_dict())  # it is kept once


@pytest.mark.parametrize("frozen", [True, False])
def test_blocks_behind_the_first_gate_may_learn(
    plain: tuple[nn.Module, Tokenize], frozen: bool
) -> None:
    model = gated(plain, every=3, frozen=frozen)
    learn = [
        any(value.requires_grad for value in wrapped.block.parameters())
        for wrapped in find_blocks(model.model)
    ]
    assert learn == [False, False, not frozen, not frozen]


def test_padding_changes_nothing(plain: tuple[nn.Module, Tokenize]) -> None:
    model = gated(plain)
    feature, mask = model(SENTENCES, torch.randn(4, 5, 6).double(), length=9)
    assert feature.shape == (4, 9, 16)
    for row, sentence in enumerate(SENTENCES):
        want = run_plain(plain, sentence)
        assert mask[row].sum() == len(want)
        torch.testing.assert_close(feature[row, mask[row]], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("every", [1, 3])
def test_open_gates_stand_before_every_nth_block(
    plain: tuple[nn.Module, Tokenize], every: int
) -> None:
    model = gated(plain, every=every)
    open_gates(model)
    context = torch.randn(4, 5, 6).double()
    feature, mask = model(SENTENCES, context)
    blocks = find_blocks(plain[0])
    for row, sentence in enumerate(SENTENCES):

        def gate(index: int, hidden: Tensor, row: int = row) -> Tensor:
            return model.gates[index](hidden, context[row : row + 1])

        hooks = [
            blocks[(index + 1) * every - 1].register_forward_pre_hook(
                lambda _block, inputs, index=index: (gate(index, inputs[0]), *inputs[1:])
            )
            for index in range(len(model.gates))
        ]
        want = run_plain(plain, sentence)
        for hook in hooks:
            hook.remove()
        assert not torch.allclose(want, run_plain(plain, sentence))
        torch.testing.assert_close(feature[row, mask[row]], want, rtol=0, atol=1e-10)


def test_text_before_the_first_gate_is_computed_once(plain: tuple[nn.Module, Tokenize]) -> None:
    model = gated(plain)
    calls: list[int] = []
    model._wrapped[0].block.register_forward_hook(lambda *_: calls.append(1))
    context = torch.randn(4, 5, 6).double()
    model(SENTENCES, context)
    model(SENTENCES, context)
    assert len(calls) == 3  # as many as there are distinct sentences


def test_only_the_gates_are_trained(plain: tuple[nn.Module, Tokenize]) -> None:
    model = gated(plain)
    open_gates(model)
    model.train()
    assert not any(module.training for module in model.model.modules())
    assert all(module.training for module in model.gates.modules())
    feature, _ = model(SENTENCES, torch.randn(4, 5, 6).double())
    feature.square().sum().backward()
    for name, value in model.named_parameters():
        assert (value.grad is not None) == name.startswith("gates."), name


def test_what_the_pictures_say_comes_in_at_the_first_gate(tiny_llama: Path) -> None:
    model = gated(load_language_model(f"transformers:{tiny_llama}"), every=2).float()
    open_gates(model)
    context = torch.randn(1, 5, 6)
    short, _ = model(["open the red drawer"], context)
    long, _ = model(["open the red drawer please"], context)
    torch.testing.assert_close(short[0], long[0, :4])  # causal: later words change nothing


def test_a_sentence_that_is_too_long_is_refused(
    plain: tuple[nn.Module, Tokenize],
) -> None:
    model = gated(plain)
    assert model.count_tokens("open " * 64) == 64
    with pytest.raises(InputError, match=r"'open open .* has 129 tokens.*may have 128"):
        model.count_tokens("open " * 129)


@pytest.mark.parametrize("every", [0, 5])
def test_more_gates_than_blocks_are_refused(plain: tuple[nn.Module, Tokenize], every: int) -> None:
    with pytest.raises(
        InputError, match=f"between 1 and the language model's 4 blocks; got {every}"
    ):
        gated(plain, every=every)


def test_a_model_without_a_list_of_blocks_is_refused(plain: tuple[nn.Module, Tokenize]) -> None:
    model = copy.deepcopy(plain[0])
    model.config.num_hidden_layers = 3
    with pytest.raises(InputError, match="has 0 lists of 3 equal blocks"):
        find_blocks(model)


def test_blocks_that_return_tuples_are_skipped_too(tiny_bert: Path) -> None:
    from transformers import MptConfig, MptModel

    torch.manual_seed(0)
    model = MptModel(MptConfig(d_model=16, n_heads=2, n_layers=4, vocab_size=20)).double().eval()
    plain = (model, load_language_model(f"transformers:{tiny_bert}")[1])
    feature, mask = gated(plain)(SENTENCES, torch.randn(4, 5, 6).double())
    for row, sentence in enumerate(SENTENCES):
        want = run_plain(plain, sentence)
        # MPT computes its softmax in float32, whatever the weights are.
        torch.testing.assert_close(feature[row, mask[row]], want, rtol=0, atol=1e-7)
