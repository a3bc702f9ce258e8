"""The studio on a real, randomly initialised Wan pipeline of 2 blocks."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite
from pytest_wanlora.checkpoint import Contents
from pytest_wanlora.environment import Environment, detect
from pytest_wanlora.errors import StudioError, SuiteError
from pytest_wanlora.studio.checksum import checksum
from pytest_wanlora.studio.pictures import frames_sha256
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.studio.uploads import Lora, uploaded
from tests import loras
from tests.unit.studio.random_wan import (
    BLOCKS,
    DIM,
    FFN,
    LAYERS,
    SUITE,
    Stock,
    jobs_of,
    write_lora,
    write_suite,
)


def test_frames_are_those_of_the_stock_pipeline_bit_for_bit(studio: Studio, stock: Stock) -> None:
    job = jobs_of(studio, None)[0]
    rendered = studio.render(job, None)
    assert rendered.frames.shape == (5, 32, 64, 3)
    assert rendered.frames.dtype == np.uint8
    assert rendered.applied is None
    assert rendered.degenerate is None
    np.testing.assert_array_equal(rendered.frames, stock.render(studio.suite, job))
    assert rendered.frames.std() > 1, "a flat picture would be equal to anything"


def test_seed_and_prompt_change_the_video(studio: Studio) -> None:
    digests = {frames_sha256(studio.render(job, None).frames) for job in jobs_of(studio, None)}
    assert len(digests) == 4


def test_a_lora_is_fused_as_load_lora_does(
    studio: Studio, stock: Stock, lora: checkpoints.Checkpoint
) -> None:
    job = jobs_of(studio, lora)[0]
    ours = studio.render(job, lora).frames
    state = {name: value.clone() for name, value in stock.pipe.dit.state_dict().items()}
    stock.pipe.load_lora(stock.pipe.dit, str(lora.path))
    theirs = stock.render(studio.suite, job)
    stock.pipe.dit.load_state_dict(state)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("variant", loras.FORMATS)
def test_every_format_gives_the_same_video(studio: Studio, tmp_path: Path, variant: str) -> None:
    state = loras.random_lora(dim=DIM, ffn_dim=FFN, blocks=BLOCKS, seed=3)
    first = checkpoints.read(loras.write_as(tmp_path / "first", state, "diffsynth"))
    other = checkpoints.read(loras.write_as(tmp_path / "other", state, variant))
    expected = studio.render(jobs_of(studio, first)[0], first)
    found = studio.render(jobs_of(studio, other)[0], other)
    np.testing.assert_array_equal(found.frames, expected.frames)
    assert found.applied == expected.applied
    assert (found.frames != studio.render(jobs_of(studio, None)[0], None).frames).any()


def test_base_weights_come_back_bit_for_bit(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    before = checksum(studio.pipe.dit)
    base = studio.render(jobs_of(studio, None)[0], None).frames
    with_lora = studio.render(jobs_of(studio, lora)[0], lora).frames
    assert checksum(studio.pipe.dit) != before
    assert (with_lora != base).any()
    again = studio.render(jobs_of(studio, None)[0], None).frames
    assert checksum(studio.pipe.dit) == before
    np.testing.assert_array_equal(again, base)


def test_two_checkpoints_in_one_process(studio: Studio, tmp_path: Path) -> None:
    one = checkpoints.read(write_lora(tmp_path / "one.safetensors", seed=1))
    two = checkpoints.read(write_lora(tmp_path / "two.safetensors", seed=2))
    first = studio.render(jobs_of(studio, one)[0], one)
    second = studio.render(jobs_of(studio, two)[0], two)
    again = studio.render(jobs_of(studio, one)[0], one)
    assert (first.frames != second.frames).any()
    np.testing.assert_array_equal(first.frames, again.frames)


def test_what_was_applied_is_measured(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    with studio.lora(lora) as applied:
        pass
    assert applied.targets == applied.patched == applied.changed == BLOCKS * len(LAYERS)
    assert applied.strength == pytest.approx(1.0, abs=1e-5)
    assert applied.cosine == pytest.approx(1.0, abs=1e-5)
    norm = float(np.hypot.reduce(list(lora.norms.values())))
    weights = {target.name: studio.pipe.dit.get_submodule(target.name).weight for target in lora.targets}
    base = float(np.hypot.reduce([float(weight.detach().norm()) for weight in weights.values()]))
    assert applied.relative_size == pytest.approx(norm / base, rel=1e-4)


def test_scale_is_applied(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    with studio.lora(lora, 0.5) as half:
        pass
    with studio.lora(lora, 1.0) as whole:
        pass
    assert half.relative_size == pytest.approx(whole.relative_size / 2, rel=1e-6)


@pytest.mark.parametrize("mode", ["fused", "unfused"])
def test_the_second_strength_of_a_file_is_not_uploaded_again_and_has_the_same_bits(
    folder: Path, studio: Studio, lora: checkpoints.Checkpoint, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    suite = write_suite(folder, mode=mode)
    keeping, plain = (Studio(suite, studio.environment, threads=1, keep_lora=keep) for keep in (True, False))
    uploads: list[str] = []
    upload = uploaded

    def counted(found: Contents, device: str) -> Lora:
        uploads.append(device)
        return upload(found, device)

    monkeypatch.setattr("pytest_wanlora.studio.uploads.uploaded", counted)
    shown = {
        each: [
            each.render(dataclasses.replace(jobs_of(each, lora)[0], scale=scale), lora).frames
            for scale in (0.5, 1.0, 0.5)
        ]
        for each in (keeping, plain)
    }
    assert len(uploads) == 1 + 3
    for kept, fresh in zip(shown[keeping], shown[plain], strict=True):
        np.testing.assert_array_equal(kept, fresh)
    np.testing.assert_array_equal(shown[keeping][0], shown[keeping][2])
    for each in (keeping, plain):
        each.close()


def test_bfloat16_fusing_loses_part_of_a_small_lora(folder: Path, tmp_path: Path) -> None:
    studio = Studio(write_suite(folder, dtype="bfloat16"), detect("bfloat16", "cpu"), threads=1)
    small = checkpoints.read(write_lora(tmp_path / "small.safetensors", size=0.003))
    with studio.lora(small) as applied:
        pass
    assert applied.patched == applied.targets
    assert applied.cosine < 0.98, "most entries of so small a delta are rounded away"


def test_unfused_stays_beside_the_weights(folder: Path, studio: Studio, lora: checkpoints.Checkpoint) -> None:
    other = Studio(write_suite(folder, mode="unfused"), studio.environment, threads=1)
    base = other.render(jobs_of(other, None)[0], None)
    rendered = other.render(jobs_of(other, lora)[0], lora)
    assert rendered.applied is not None
    assert rendered.applied.mode == "unfused"
    assert rendered.applied.patched == BLOCKS * len(LAYERS)
    assert rendered.applied.strength == pytest.approx(1.0, abs=1e-5)
    fused = studio.render(jobs_of(studio, lora)[0], lora).frames
    assert np.abs(rendered.frames.astype(int) - fused.astype(int)).max() <= 1
    np.testing.assert_array_equal(other.render(jobs_of(other, None)[0], None).frames, base.frames)
    other.close()


@pytest.mark.parametrize(
    ("blocks", "dim", "words"),
    [
        (BLOCKS + 1, DIM, ["7 of its 21 targets do not fit", "blocks.2"]),
        (BLOCKS, 2 * DIM, ["14 of its 14 targets do not fit", "96x96", "48x48"]),
    ],
    ids=["blocks-beyond-the-model", "another-width"],
)
def test_a_lora_that_fits_in_part_is_refused_before_anything_changes(
    studio: Studio, tmp_path: Path, blocks: int, dim: int, words: list[str]
) -> None:
    lie = checkpoints.read(write_lora(tmp_path / "lie.safetensors", blocks=blocks, dim=dim))
    before = checksum(studio.pipe.dit)
    with pytest.raises(StudioError) as caught:
        studio.render(jobs_of(studio, lie)[0], lie)
    for word in words:
        assert word in str(caught.value)
    assert checksum(studio.pipe.dit) == before


def test_a_loader_that_passes_layers_over_is_caught(
    studio: Studio, lora: checkpoints.Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = studio.pipe.load_lora

    def half(module: torch.nn.Module, *, state_dict: dict[str, Any], alpha: float, hotload: bool) -> None:
        kept = {name: matrix for name, matrix in state_dict.items() if "blocks.0" in name}
        real(module, state_dict=kept, alpha=alpha, hotload=hotload)

    monkeypatch.setattr(studio.pipe, "load_lora", half)
    with pytest.raises(StudioError, match=r"patched 7 of its 14 targets; not blocks\.1"):
        studio.render(jobs_of(studio, lora)[0], lora)


def test_loras_are_never_stacked(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    with studio.lora(lora):
        with pytest.raises(RuntimeError, match="without LoRA was asked for"):
            studio.render(jobs_of(studio, None)[0], None)
        with pytest.raises(RuntimeError, match="already on"), studio.lora(lora):
            pass


def test_a_video_that_is_not_finite_is_degenerate(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    real = studio.pipe.vae.decode
    monkeypatch.setattr(studio.pipe.vae, "decode", lambda *a, **k: real(*a, **k) * float("nan"))
    rendered = studio.render(jobs_of(studio, None)[0], None)
    assert rendered.degenerate == "the decoded video holds NaN or infinite values"
    assert not rendered.frames.any()


def test_nothing_is_printed(
    studio: Studio, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pytest_wanlora.studio"):
        Studio(studio.suite, studio.environment, threads=1).render(jobs_of(studio, None)[0], None)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert "Loaded model" in caplog.text


def test_another_attention_kernel_is_not_taken(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffsynth.models import wan_video_dit

    base = studio.render(jobs_of(studio, None)[0], None).frames
    monkeypatch.setattr(wan_video_dit, "SAGE_ATTN_AVAILABLE", True)  # not installed: taking it would raise
    np.testing.assert_array_equal(studio.render(jobs_of(studio, None)[0], None).frames, base)
    monkeypatch.delattr(wan_video_dit, "SAGE_ATTN_AVAILABLE")
    with pytest.raises(StudioError, match="cannot be pinned"):
        studio.render(jobs_of(studio, None)[0], None)


def test_sizes_that_would_be_rounded_are_refused(folder: Path, environment: Environment) -> None:
    good = write_suite(folder)
    odd = good.model_copy(update={"sampling": good.sampling.model_copy(update={"width": 80})})
    with pytest.raises(StudioError, match=r"\(32, 80, 5\).*\(32, 96, 5\)"):
        _ = Studio(odd, environment).pipe


def test_a_model_file_with_another_digest_is_refused(folder: Path, environment: Environment) -> None:
    path = folder / "digest.yaml"
    stated = f"  sha256: {{vae.safetensors: '{'0' * 64}'}}\n  architecture"
    text = SUITE.replace("DTYPE", "float32").replace("MODE", "lora_mode: fused")
    path.write_text(text.replace("  architecture", stated), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"vae\.safetensors: SHA-256 is"):
        _ = Studio(suite.load(path), environment).pipe


def test_a_file_that_diffsynth_does_not_know_is_named(
    folder: Path, environment: Environment, tmp_path: Path
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "odd.safetensors")
    good = write_suite(folder)
    model = good.model.model_copy(update={"dit": (str(tmp_path / "odd.safetensors"),)})
    with pytest.raises(
        StudioError, match=r":\d+: model\.dit\[0\]: .*odd.*DiffSynth knows no model"
    ) as caught:
        _ = Studio(good.model_copy(update={"model": model}), environment).pipe
    assert caught.value.next_command == good.show("model.dit[0]")


def test_two_experts_are_not_loaded_over_each_other(
    folder: Path, environment: Environment, tmp_path: Path
) -> None:
    chosen = write_suite(folder)
    other = shutil.copy(chosen.model.dit[0], tmp_path / "low_noise.safetensors")
    model = chosen.model.model_copy(update={"dit": (*chosen.model.dit, str(other))})
    studio = Studio(chosen.model_copy(update={"model": model}), environment, threads=1)
    with pytest.raises(
        SuiteError, match=r"model\.dit: tensor .* is in both .*: two experts are not one model"
    ):
        studio.load()
