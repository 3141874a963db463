from pathlib import Path

import pytest
import torch

from eyehand.models.language.pretrained import load_language_model
from eyehand.models.language.sentence_encoder import SentenceEncoder


@pytest.fixture
def encoder(tiny_bert: Path) -> SentenceEncoder:
    return SentenceEncoder(*load_language_model(f"transformers:{tiny_bert}"))


def test_is_the_mean_over_tokens_scaled_to_unit_length(encoder: SentenceEncoder) -> None:
    (got,) = encoder(["open the red drawer"])
    tokens = torch.tensor([encoder._tokenize("open the red drawer")])
    mean = encoder.model(input_ids=tokens).last_hidden_state.detach().mean(dim=1)[0]
    torch.testing.assert_close(got, mean / mean.norm() * 16**0.5)


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
    weight = torch.ones(16, requires_grad=True)
    (feature @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, feature[0])


def test_minilm_knows_what_means_the_same() -> None:
    encoder = SentenceEncoder(*load_language_model("minilm"))
    drawer, pull, puck = encoder(
        ["open the drawer", "pull the drawer open", "push the puck to the goal"]
    )
    assert drawer.shape == (384,)
    assert drawer @ pull > 0.8 * 384
    assert drawer @ puck < 0.5 * 384
