"""Each bad file is refused with one message that names file, key, value and what is allowed."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora import checkpoint
from pytest_wanlora.errors import CheckpointError
from tests import loras
from tests.unit.checkpoint.bad_files import BAD, lora


@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_file_is_refused_by_name(tmp_path: Path, what: str) -> None:
    build, words = BAD[what]
    path = build(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(path)
    text = str(caught.value)
    assert [word for word in (*words, path.parent.name) if word not in text] == []
    assert "\n" not in caught.value.message
    assert len(text) < 900


def test_the_table_is_about_different_things() -> None:
    assert len(BAD) > 80


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"])
def test_a_good_file_under_a_pickles_name_is_refused_too(tmp_path: Path, suffix: str) -> None:
    path = lora()(tmp_path).rename(tmp_path / f"lora{suffix}")
    with pytest.raises(CheckpointError, match="is a pickle"):
        checkpoint.read(path)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    for name in ("a.safetensors", "a.pt", "a.bin"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(CheckpointError, match="is a pickle"):
            checkpoint.read(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_a_file_without_permission_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lora()(tmp_path)

    def denied(self: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # chmod would not stop root
    with pytest.raises(CheckpointError, match=r"cannot be read: Permission denied\nnext: ls -l "):
        checkpoint.read(path)


def test_an_alpha_against_the_config_is_refused(tmp_path: Path) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(), "peft-alpha", alpha=4)
    (path.parent / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 4}))
    assert checkpoint.read(path).targets[0].alpha == 4
    (path.parent / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    with pytest.raises(CheckpointError, match=r"alpha' is 4, the LoraConfig of the file says 8"):
        checkpoint.read(path)


def outcome(path: Path) -> tuple[checkpoint.Checkpoint, dict[str, checkpoint.Tensor]] | None:
    try:
        read = checkpoint.read(path)
    except CheckpointError:
        return None
    return read, checkpoint.weights(read)


GOOD = loras.random_lora(dim=4, ffn_dim=4, rank=1, blocks=1, layers=("self_attn.q", "ffn.0"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loras.write(tmp_path_factory.mktemp("good") / "lora.safetensors", GOOD, {"format": "pt"})


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(good: Path, data: st.DataObject) -> None:
    content = good.read_bytes()
    path = good.with_name("cut.safetensors")
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert outcome(path) is None


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_a_changed_header_is_refused_or_harmless(good: Path, data: st.DataObject) -> None:
    content = bytearray(good.read_bytes())
    size = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
    path = good.with_name("changed.safetensors")
    path.write_bytes(bytes(content))
    found = outcome(path)
    if found is None:
        return
    read, tensors = found
    # what is still accepted is made of whole tensors of the file, and every number was looked at
    assert set(read.norms) == {target.name for target in read.targets}
    assert all(tensor.bits.shape == tensor.shape for tensor in tensors.values())
    original = bytes(content[size:])
    assert all(tensor.data in original for tensor in tensors.values())


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("noise", numbered=True) / "lora.safetensors"
    for content in (noise, struct.pack("<Q", len(noise)) + noise, struct.pack("<Q", 2) + b"{}" + noise):
        path.write_bytes(content)
        assert outcome(path) is None
