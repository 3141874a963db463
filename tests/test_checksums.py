"""No change of a byte passes in silence, and files without a checksum are read with a word."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eyehand.checksums import load_tensors, read_json, save_tensors, write_json
from eyehand.types import InputError

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.tensor(1.5, dtype=torch.bfloat16),
    "none": torch.zeros(0, 4),
    "switch": torch.tensor([True, False]),
}


def changed(content: bytes, number: int) -> bytes:
    """Return ``content`` with one bit of one byte flipped, both chosen by ``number``."""
    random = np.random.default_rng(number)
    damaged = bytearray(content)
    damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
    return bytes(damaged)


def test_tensors_are_written_to_the_file_itself(tmp_path: Path) -> None:
    """A file with a random name, renamed at the end, would be left behind by a kill."""
    file = tmp_path / "x.safetensors"
    file.touch()
    before = file.stat().st_ino
    save_tensors(file, TENSORS)
    assert file.stat().st_ino == before


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"x": "中", "y": float("inf")}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json", expected=True) == value


def test_no_flipped_bit_of_json_changes_its_content(tmp_path: Path) -> None:
    file, value = tmp_path / "x.json", {"step": 12, "rate": 1e-4, "names": ["left", "right"]}
    write_json(file, value)
    whole = file.read_bytes()
    refused = 0
    for number in range(400):
        file.write_bytes(changed(whole, number))
        try:
            assert read_json(file) == value  # a space became a tab, for example
        except InputError:
            refused += 1
    assert refused > 300


def test_json_that_is_cut_or_nested_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text, message in (
        ('{"step": 1', "truncated or altered"),
        ("[" * 100_000, "truncated or altered"),
        ("[1]", "names and values"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_json(file)
    with pytest.raises(InputError, match="missing"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_json_without_a_checksum_is_read_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"step": 1}))
    with caplog.at_level(logging.WARNING):
        assert read_json(file) == {"step": 1}
    assert "x.json has no checksum" in caplog.text
    with pytest.raises(InputError, match="checksum differs"):
        read_json(file, expected=True)


def test_json_may_be_written_with_other_spaces(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"a": 1, "b": 2.0})
    file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True))
    assert read_json(file) == {"a": 1, "b": 2.0}


def test_tensors_come_back(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", TENSORS)
    loaded = load_tensors(tmp_path / "x.safetensors")
    assert set(loaded) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_equal_tensors_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tensors(tmp_path / name, {name: TENSORS[name] for name in sorted(TENSORS)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_flipped_bit_of_tensors_passes(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_tensors(file, TENSORS)
    whole = file.read_bytes()
    for number in range(400):
        file.write_bytes(changed(whole, number))
        with pytest.raises(InputError, match="truncated or altered"):
            load_tensors(file)
    for length in (0, 7, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="truncated or altered"):
            load_tensors(file)


def test_tensors_without_a_checksum_are_read_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"step": "3"})
    with caplog.at_level(logging.WARNING):
        assert set(load_tensors(tmp_path / "x.safetensors")) == set(TENSORS)
    assert "has no checksum" in caplog.text
    with pytest.raises(InputError, match="missing"):
        load_tensors(tmp_path / "none.safetensors")
