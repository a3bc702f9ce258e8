"""From every format that is read to each that is written, and back: the same updates, or the reason."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint, cli
from pytest_wanlora.checkpoint.converting import FORMATS, convert
from pytest_wanlora.checkpoint.reads_in import readings
from pytest_wanlora.errors import CheckpointError
from tests import loras
from tests.many_loras import FILES

# where a file in a format works, by what `inspect --for` says
WORKS = {
    "comfyui": {"comfyui"},
    "diffusers": {"diffusers"},
    "diffsynth": {"diffsynth", "wan2gp"},
    "kohya": {"comfyui", "musubi"},
    "peft": set(),
}


# one of each way to write layers, halves and alphas, and of each kind
CHOSEN = [what for what in FILES if "," not in what]
CHOSEN += ["comfyui, some alphas", "comfyui, outside the blocks", "comfyui, norms", "comfyui, diff_m"]
CHOSEN += ["comfyui, LoKr decomposed", "comfyui, LoHa", "kohya, dots", "diffusers, metadata"]
CHOSEN += ["diffusers, lora_alpha", "diffusers, old halves", "diffusers, Wan's names"]


def updates(found: checkpoint.Checkpoint) -> dict[str, tuple[str, bytes]]:
    return {key: (raw.dtype, bytes(raw.data)) for key, raw in checkpoint.weights(found).items()}


def scales(found: checkpoint.Checkpoint) -> dict[str, float]:
    return {target.name: target.scale for target in found.targets if target.kind != "lora"}


def place(folder: Path, to: str) -> Path:
    return folder / to / ("adapter_model.safetensors" if to == "peft" else "out.safetensors")


@pytest.mark.parametrize("to", list(FORMATS))
@pytest.mark.parametrize("what", CHOSEN)
def test_there_and_back(tmp_path: Path, what: str, to: str) -> None:
    first = checkpoint.read(FILES[what].write(tmp_path / "x"))
    kinds = {target.kind for target in first.targets}
    lost = kinds - {"lora"} - set(FORMATS[to].kinds)
    modulated = any(target.name.endswith("modulation") for target in first.targets)
    if lost or (modulated and not FORMATS[to].modulations):
        with pytest.raises(CheckpointError, match=f"have no place in {to} files; the first is"):
            convert(first, to, place(tmp_path, to))
        assert not place(tmp_path, to).exists()
        return
    made = convert(first, to, place(tmp_path, to))
    second = checkpoint.read(made.path)
    assert (updates(second), scales(second)) == (updates(first), scales(first))
    assert made.difference < 1e-7
    assert {each.program for each in readings(second) if each.state == "works"} >= (
        WORKS[to] if kinds == {"lora"} else set()
    )
    back = convert(second, "comfyui", tmp_path / "back.safetensors")
    assert updates(checkpoint.read(back.path)) == updates(first)


@pytest.mark.parametrize("alpha", [0.1, 3.0, 7.3])
@pytest.mark.parametrize("to", list(FORMATS))
def test_what_folding_costs_is_told(tmp_path: Path, to: str, alpha: float) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(dtype="F32", rank=4), "kohya", alpha=alpha)
    found = checkpoint.read(path)
    made = convert(found, to, place(tmp_path, to))
    folds = FORMATS[to].alpha == "folded"
    assert len(made.folded) == (20 if folds else 0)
    assert made.difference < 1e-7
    if folds and alpha != 3.0:
        assert made.difference > 0.0
    assert updates(checkpoint.read(made.path)) == updates(found)


def test_ranks_and_alphas_of_each_target_survive_in_a_config(tmp_path: Path) -> None:
    state = loras.rewrite(loras.random_lora(rank=4, layers=("ffn.0",), blocks=12), "comfyui-alpha", alpha=2.0)
    state |= loras.rewrite(
        loras.random_lora(rank=8, layers=("self_attn.q",), blocks=2), "comfyui-alpha", alpha=0.1
    )
    found = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    made = checkpoint.read(convert(found, "peft", place(tmp_path, "peft")).path)
    assert {each.name: (each.rank, each.alpha) for each in made.targets} == {
        each.name: (each.rank, each.alpha) for each in found.targets
    }
    assert updates(made) == updates(found)


class TestCommand:
    def test_writes_beside_and_says_where_it_works(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = FILES["diffusers, metadata"].write(tmp_path / "x")
        assert cli.main(["convert", str(path), "--to", "comfyui"]) == 0
        printed = capsys.readouterr().out
        assert f"{path.with_name('lora-comfyui.safetensors')}: 20 targets, read again" in printed
        assert "read by: comfyui, diffusers, diffsynth, wan2gp; not read by: musubi" in printed

    @pytest.mark.parametrize(
        "marks", [("transformer_1.", "transformer_2."), ("transformer.", "transformer_2.")]
    )
    @pytest.mark.parametrize("to", ["comfyui", "peft"])
    def test_a_file_with_two_experts_becomes_two(
        self, marks: tuple[str, str], to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state = {
            f"{mark}{key}": value
            for seed, mark in enumerate(marks)
            for key, value in loras.random_lora(seed=seed).items()
        }
        path = loras.write(tmp_path / "x.safetensors", state)
        assert cli.main(["convert", str(path), "--to", to]) == 0
        assert capsys.readouterr().out.count("20 targets, read again") == 2
        for expert in ("high", "low"):
            place = tmp_path / f"x-{to}_{expert}_noise"
            made = (
                place.with_suffix(".safetensors") if to == "comfyui" else place / "adapter_model.safetensors"
            )
            half = checkpoint.read(path, expert=expert)
            assert updates(checkpoint.read(made)) == updates(half)
        # both or none
        before = {each for each in tmp_path.rglob("*") if each.is_file() and "high" not in str(each)}
        for each in [each for each in tmp_path.rglob("*") if each.is_file() and each not in before]:
            each.unlink()
        assert cli.main(["convert", str(path), "--to", to]) == 4
        assert "is not replaced" in capsys.readouterr().err
        assert {each for each in tmp_path.rglob("*") if each.is_file()} == before

    def test_the_halves_of_a_pair_are_converted_one_by_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for seed, name in enumerate(("a_high", "a low")):
            loras.write(Path(f"{name}.safetensors"), loras.random_lora(seed=seed))
        given = "high=a_high.safetensors,low=a low.safetensors@0.5"
        assert cli.main(["convert", given, "--to", "kohya"]) == 4
        said, following = capsys.readouterr().err.splitlines()
        assert "allowed: one file, so each half by itself" in said
        for command in following.removeprefix("next: ").split(" && "):
            assert cli.main(shlex.split(command)[3:]) == 0
        assert {each.name for each in tmp_path.glob("*-kohya*")} == {
            "a_high-kohya.safetensors",
            "a low-kohya.safetensors",
        }

    def test_metadata_is_kept_but_for_what_would_count_twice(self, tmp_path: Path) -> None:
        path = loras.write_as(tmp_path, loras.random_lora(), "diffusers-metadata", alpha=8)
        state, header = loras.read_state(path), dict(checkpoint.read(path).metadata)
        path = loras.write(tmp_path / "b.safetensors", state, {**header, "trigger": "벚꽃"})
        assert cli.main(["convert", str(path), "--to", "diffusers"]) == 0
        made = checkpoint.read(tmp_path / "b-diffusers.safetensors")
        assert dict(made.metadata) == {"format": "pt", "trigger": "벚꽃"}
        assert updates(made) == updates(checkpoint.read(path))

    def test_no_file_is_replaced(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = FILES["comfyui"].write(tmp_path / "x")
        out = tmp_path / "there.safetensors"
        out.write_bytes(b"mine")
        assert cli.main(["convert", str(path), "--to", "kohya", "--out", str(out)]) == 4
        assert "exists, and is not replaced" in capsys.readouterr().err
        assert out.read_bytes() == b"mine"

    def test_a_config_that_is_there_is_not_replaced_and_nothing_stays(self, tmp_path: Path) -> None:
        path = FILES["comfyui"].write(tmp_path / "x")
        config = tmp_path / "folder" / "adapter_config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"mine": True}))
        assert cli.main(["convert", str(path), "--to", "peft", "--out", str(config.parent)]) == 4
        assert [each.name for each in config.parent.iterdir()] == ["adapter_config.json"]

    def test_a_file_that_reads_otherwise_is_deleted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = FILES["comfyui, alpha"].write(tmp_path / "x")
        monkeypatch.setattr(
            "pytest_wanlora.checkpoint.converting._number", lambda value: loras.encode(value + 1.0)
        )
        assert cli.main(["convert", str(path), "--to", "kohya"]) == 4
        assert [each.name for each in path.parent.iterdir()] == ["lora.safetensors"]
