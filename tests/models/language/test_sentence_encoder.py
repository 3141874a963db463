from pathlib import Path

import pytest
import torch

from eyehand.models.language.pretrained import load_language_model
from eyehand.models.language.sentence_encoder import SentenceEncoder


@pytest.fixture
def encoder(tiny_bert: Path) -> SentenceEncoder:
    return SentenceEncoder(*load_language_model(f"transformers:{tiny_bert}"))


@pytest.mark.parametrize("name", ["tiny_bert", "tiny_llama"])
def test_is_the_mean_over_tokens_before_and_after_the_blocks(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Each half is scaled to one length; transformers says what the layers are."""
    model, tokenize = load_language_model(f"transformers:{request.getfixturevalue(name)}")
    encoder = SentenceEncoder(model, tokenize)
    (got,) = encoder(["open the red drawer"])
    tokens = torch.tensor([tokenize("open the red drawer")])
    with torch.no_grad():
        found = model(input_ids=tokens, output_hidden_states=True)
    assert len(found.hidden_states) == 1 + 4
    torch.testing.assert_close(found.hidden_states[-1], found.last_hidden_state)
    halves = [layer[0].mean(dim=0) for layer in (found.hidden_states[0], found.last_hidden_state)]
    want = torch.cat([half / half.norm() * 16**0.5 for half in halves])
    torch.testing.assert_close(got, want)
    assert got.shape == (encoder.dim,) == (32,)
    assert not torch.allclose(got[:16], got[16:], atol=0.1)


def test_the_first_half_is_the_embedding_layer(tiny_llama: Path) -> None:
    """Without positions in it, the embeddings do not know the order of words; the blocks do."""
    encoder = SentenceEncoder(*load_language_model(f"transformers:{tiny_llama}"))
    one, two = encoder(["push the red puck", "puck red the push"])
    torch.testing.assert_close(one[:16], two[:16])
    assert not torch.allclose(one[16:], two[16:], atol=0.1)


def test_sentences_do_not_depend_on_their_neighbours(encoder: SentenceEncoder) -> None:
    alone = encoder(["open the box"])[0]
    fresh = SentenceEncoder(encoder.model, encoder._tokenize)
    among = fresh(["push the green puck to the red box", "open the box"])[1]
    assert torch.equal(alone, among)


def test_each_sentence_is_encoded_once(encoder: SentenceEncoder) -> None:
    calls = []
    encoder.model.register_forward_hook(lambda *_: calls.append(1))
    encoder(["open", "close", "open"])
    encoder(["close"])
    assert len(calls) == 2


def test_the_cache_is_bounded(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyehand.models.language.sentence_encoder.CACHE_SIZE", 2)
    encoder(["open", "close", "push"])
    encoder(["puck"])
    assert set(encoder._encoded) == {"puck"}


def test_heard_while_acting_it_can_be_trained_on(encoder: SentenceEncoder) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        encoder(["open"])
    feature = encoder(["open"])
    assert feature.dtype == torch.float32
    weight = torch.ones(32, requires_grad=True)
    (feature @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, feature[0])


def test_minilm_knows_what_means_the_same() -> None:
    encoder = SentenceEncoder(*load_language_model("minilm"))
    drawer, pull, puck = encoder(
        ["open the drawer", "pull the drawer open", "push the puck to the goal"]
    )
    assert drawer.shape == (768,)
    drawer, pull, puck = drawer[384:], pull[384:], puck[384:]
    assert drawer @ pull > 0.8 * 384
    assert drawer @ puck < 0.5 * 384
