"""What all tests share: seeded property tests, a policy that keeps still, tiny random models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

settings.register_profile("seeded", derandomize=True)
settings.load_profile("seeded")

WORDS = "[UNK] [PAD] open close push the red green drawer box puck window please now do not"


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A post-norm, bidirectional encoder of four blocks."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS.split()),
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-norm, causal decoder of four blocks with rotary positions and an output layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS.split()),
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer for pictures of 32 pixels: 16 patches and a class token."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    folder = tmp_path_factory.mktemp("tiny-vit")
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(
        folder
    )
    return folder


class StillPolicy:
    """Keeps still, whatever it sees or is told."""

    action_dim = 4

    def act(self, observation: Any, *, generator: Any = None) -> torch.Tensor:
        return torch.zeros(len(observation.instruction), 16, self.action_dim)

    def loss(self, batch: Any) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def reset(self, env_ids: Sequence[int]) -> None:
        pass


@pytest.fixture
def still_policy() -> StillPolicy:
    """A policy for where its actions do not matter."""
    return StillPolicy()


@pytest.fixture
def lamps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a suite of six tasks in one scene, which workers can import by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("stand_ins")))
    return __import__("lamps")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A simulator that starts at once, which workers can import by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("stand_ins")))
    return __import__("arm").StandIn


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the ten files that took longest, so that whoever made one slow sees it."""
    seconds: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                file = report.nodeid.split("::")[0]
                seconds[file] = seconds.get(file, 0.0) + report.duration
    if sum(seconds.values()) > 60:
        terminalreporter.write_sep("=", "slowest files, seconds of one process")
        for file in sorted(seconds, key=lambda name: -seconds[name])[:10]:
            terminalreporter.write_line(f"{seconds[file]:7.1f}  {file}")
