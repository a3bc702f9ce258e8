"""The studio on a real, randomly initialised Wan pipeline of 2 blocks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite
from pytest_wanlora.environment import Environment, detect
from pytest_wanlora.errors import StudioError, SuiteError
from pytest_wanlora.jobs.job import Job
from pytest_wanlora.jobs.planning import plan
from pytest_wanlora.studio import apply_lora
from pytest_wanlora.studio.pipeline import Studio, frames_sha256
from tests import loras

DIM, FFN, BLOCKS = 48, 96, 2
LAYERS = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q", "ffn.0", "ffn.2")
SUITE = """
name: random
model:
  name: random Wan
  dit: dit.safetensors
  text_encoder: text_encoder.safetensors
  vae: vae.safetensors
  tokenizer: tokenizer
  architecture: {dim: 48, ffn_dim: 96, blocks: 2}
sampling: {height: 32, width: 64, frames: 5, steps: 2, cfg_scale: 3.0, shift: 5.0, dtype: DTYPE, MODE}
scoring:
  clip: {model: ViT-B-32, weights: dit.safetensors}
  video_features: {kind: module, module: "a:B", weights: dit.safetensors}
  reference: dit.safetensors
  sharpness_reference: 100.0
scenarios:
  - {id: cat, category: animal, prompt: a cat}
  - {id: dog, category: animal, prompt: a dog}
"""


def _register(folder: Path) -> None:
    from diffsynth.configs import MODEL_CONFIGS
    from diffsynth.core.loader import hash_model_file

    known = {config["model_hash"] for config in MODEL_CONFIGS}
    for name, model_class, arguments in (
        ("wan_video_dit", "diffsynth.models.wan_video_dit.WanModel", _dit_arguments()),
        ("wan_video_text_encoder", "diffsynth.models.wan_video_text_encoder.WanTextEncoder", _TEXT),
        ("wan_video_vae", "pytest_wanlora.tiny.vae.TinyWanVideoVAE38", _VAE),
    ):
        model_hash = hash_model_file(str(folder / f"{name.removeprefix('wan_video_')}.safetensors"))
        if model_hash not in known:
            MODEL_CONFIGS.append(
                {
                    "model_hash": model_hash,
                    "model_name": name,
                    "model_class": model_class,
                    "extra_kwargs": arguments,
                }
            )


_PADDING, _UNKNOWN = "<pad>", "<unk>"
_TEXT: dict[str, Any] = {
    "vocab": 300,
    "dim": 32,
    "dim_attn": 32,
    "dim_ffn": 64,
    "num_heads": 2,
    "num_layers": 1,
    "num_buckets": 8,
}
_VAE: dict[str, Any] = {"z_dim": 4, "dim": 8, "dec_dim": 8, "mean": [0.0] * 4, "std": [1.0] * 4}


def _dit_arguments() -> dict[str, Any]:
    return {
        "has_image_input": False,
        "patch_size": [1, 2, 2],
        "in_dim": 4,
        "dim": DIM,
        "ffn_dim": FFN,
        "freq_dim": 32,
        "text_dim": 32,
        "out_dim": 4,
        "num_heads": 2,
        "num_layers": BLOCKS,
        "eps": 1e-6,
        "seperated_timestep": True,
        "require_clip_embedding": False,
        "require_vae_embedding": False,
        "fuse_vae_embedding_in_latents": True,
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffsynth.models.wan_video_dit import WanModel
    from diffsynth.models.wan_video_text_encoder import WanTextEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from pytest_wanlora.tiny.vae import TinyWanVideoVAE38

    folder = tmp_path_factory.mktemp("random-wan")
    torch.manual_seed(0)
    for name, model in (
        ("dit", WanModel(**_dit_arguments())),
        ("text_encoder", WanTextEncoder(**_TEXT)),
        ("vae", TinyWanVideoVAE38(**_VAE)),
    ):
        state = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    vocabulary = {_PADDING: 0, _UNKNOWN: 1, "a": 2, "cat": 3, "dog": 4}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers types it not
        tokenizer_object=words,
        pad_token=_PADDING,
        unk_token=_UNKNOWN,
    )
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    _register(folder)
    return folder


def _suite(folder: Path, *, dtype: str = "float32", mode: str = "lora_mode: fused") -> suite.Suite:
    path = folder / f"{dtype}-{mode.split()[-1]}.yaml"
    path.write_text(SUITE.replace("DTYPE", dtype).replace("MODE", mode), encoding="utf-8")
    return suite.load(path)


@pytest.fixture(scope="session")
def environment() -> Environment:
    return detect("float32", "cpu")


@pytest.fixture(scope="session")
def studio(folder: Path, environment: Environment) -> Studio:
    return Studio(_suite(folder), environment, threads=1)


def _jobs(studio: Studio, checkpoint: checkpoints.Checkpoint | None, scale: float = 1.0) -> tuple[Job, ...]:
    return plan(
        studio.suite,
        checkpoint,
        scale=scale,
        seeds=(0, 1),
        environment=studio.environment,
        producer="test",
    )


def _lora(path: Path, *, seed: int = 0, size: float = 0.2, blocks: int = BLOCKS, dim: int = DIM) -> Path:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for block in range(blocks):
        for layer in LAYERS:
            columns, rows = {"ffn.0": (dim, 2 * dim), "ffn.2": (2 * dim, dim)}.get(layer, (dim, dim))
            name = f"blocks.{block}.{layer}"
            state[f"{name}.lora_A.default.weight"] = torch.randn(4, columns, generator=generator) * size
            state[f"{name}.lora_B.default.weight"] = torch.randn(rows, 4, generator=generator) * size
    save_file(state, path)
    return path


@pytest.fixture
def lora(tmp_path: Path) -> checkpoints.Checkpoint:
    return checkpoints.read(_lora(tmp_path / "x.safetensors"))


@pytest.fixture(autouse=True)
def _lora_off(studio: Studio) -> Iterator[None]:
    yield
    studio.close()


def _stock(studio: Studio, job: Job) -> np.ndarray[Any, np.dtype[np.uint8]]:
    sampling = studio.suite.sampling
    images = studio.pipe(
        prompt=job.prompt,
        negative_prompt=sampling.negative_prompt,
        seed=job.seed,
        rand_device="cpu",
        height=sampling.height,
        width=sampling.width,
        num_frames=sampling.frames,
        num_inference_steps=sampling.steps,
        cfg_scale=sampling.cfg_scale,
        cfg_merge=sampling.cfg_merge,
        sigma_shift=sampling.shift,
        tiled=sampling.tiled,
        progress_bar_cmd=lambda steps: steps,
    )
    return np.stack([np.asarray(image) for image in images])


def test_frames_are_those_of_the_stock_pipeline_bit_for_bit(studio: Studio) -> None:
    job = _jobs(studio, None)[0]
    rendered = studio.render(job, None)
    assert rendered.frames.shape == (5, 32, 64, 3)
    assert rendered.frames.dtype == np.uint8
    assert rendered.applied is None
    assert rendered.degenerate is None
    np.testing.assert_array_equal(rendered.frames, _stock(studio, job))
    assert rendered.frames.std() > 1, "a flat picture would be equal to anything"


def test_seed_and_prompt_change_the_video(studio: Studio) -> None:
    digests = {frames_sha256(studio.render(job, None).frames) for job in _jobs(studio, None)}
    assert len(digests) == 4


def test_a_lora_is_fused_as_load_lora_does(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    job = _jobs(studio, lora)[0]
    ours = studio.render(job, lora).frames
    studio.close()
    state = {name: value.clone() for name, value in studio.pipe.dit.state_dict().items()}
    studio.pipe.load_lora(studio.pipe.dit, str(lora.path))
    theirs = _stock(studio, job)
    studio.pipe.dit.load_state_dict(state)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("variant", loras.FORMATS)
def test_every_format_gives_the_same_video(studio: Studio, tmp_path: Path, variant: str) -> None:
    state = loras.random_lora(dim=DIM, ffn_dim=FFN, blocks=BLOCKS, seed=3)
    first = checkpoints.read(loras.write_as(tmp_path / "first", state, "diffsynth"))
    other = checkpoints.read(loras.write_as(tmp_path / "other", state, variant))
    expected = studio.render(_jobs(studio, first)[0], first)
    found = studio.render(_jobs(studio, other)[0], other)
    np.testing.assert_array_equal(found.frames, expected.frames)
    assert found.applied == expected.applied
    assert (found.frames != studio.render(_jobs(studio, None)[0], None).frames).any()


def test_base_weights_come_back_bit_for_bit(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    before = apply_lora.checksum(studio.pipe.dit)
    base = studio.render(_jobs(studio, None)[0], None).frames
    with_lora = studio.render(_jobs(studio, lora)[0], lora).frames
    assert apply_lora.checksum(studio.pipe.dit) != before
    assert (with_lora != base).any()
    again = studio.render(_jobs(studio, None)[0], None).frames
    assert apply_lora.checksum(studio.pipe.dit) == before
    np.testing.assert_array_equal(again, base)


def test_two_checkpoints_in_one_process(studio: Studio, tmp_path: Path) -> None:
    one = checkpoints.read(_lora(tmp_path / "one.safetensors", seed=1))
    two = checkpoints.read(_lora(tmp_path / "two.safetensors", seed=2))
    first = studio.render(_jobs(studio, one)[0], one)
    second = studio.render(_jobs(studio, two)[0], two)
    again = studio.render(_jobs(studio, one)[0], one)
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


def test_bfloat16_fusing_loses_part_of_a_small_lora(folder: Path, tmp_path: Path) -> None:
    studio = Studio(_suite(folder, dtype="bfloat16"), detect("bfloat16", "cpu"), threads=1)
    small = checkpoints.read(_lora(tmp_path / "small.safetensors", size=0.003))
    with studio.lora(small) as applied:
        pass
    assert applied.patched == applied.targets
    assert applied.cosine < 0.98, "most entries of so small a delta are rounded away"


def test_unfused_stays_beside_the_weights(folder: Path, studio: Studio, lora: checkpoints.Checkpoint) -> None:
    other = Studio(_suite(folder, mode="lora_mode: unfused"), studio.environment, threads=1)
    base = other.render(_jobs(other, None)[0], None)
    rendered = other.render(_jobs(other, lora)[0], lora)
    assert rendered.applied is not None
    assert rendered.applied.mode == "unfused"
    assert rendered.applied.patched == BLOCKS * len(LAYERS)
    assert rendered.applied.strength == pytest.approx(1.0, abs=1e-5)
    fused = studio.render(_jobs(studio, lora)[0], lora).frames
    assert np.abs(rendered.frames.astype(int) - fused.astype(int)).max() <= 1
    np.testing.assert_array_equal(other.render(_jobs(other, None)[0], None).frames, base.frames)
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
    lie = checkpoints.read(_lora(tmp_path / "lie.safetensors", blocks=blocks, dim=dim))
    before = apply_lora.checksum(studio.pipe.dit)
    with pytest.raises(StudioError) as caught:
        studio.render(_jobs(studio, lie)[0], lie)
    for word in words:
        assert word in str(caught.value)
    assert apply_lora.checksum(studio.pipe.dit) == before


def test_a_loader_that_passes_layers_over_is_caught(
    studio: Studio, lora: checkpoints.Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = studio.pipe.load_lora

    def half(module: torch.nn.Module, *, state_dict: dict[str, Any], alpha: float, hotload: bool) -> None:
        kept = {name: matrix for name, matrix in state_dict.items() if "blocks.0" in name}
        real(module, state_dict=kept, alpha=alpha, hotload=hotload)

    monkeypatch.setattr(studio.pipe, "load_lora", half)
    with pytest.raises(StudioError, match=r"patched 7 of its 14 targets; not blocks\.1"):
        studio.render(_jobs(studio, lora)[0], lora)


def test_loras_are_never_stacked(studio: Studio, lora: checkpoints.Checkpoint) -> None:
    with studio.lora(lora):
        with pytest.raises(RuntimeError, match="without LoRA was asked for"):
            studio.render(_jobs(studio, None)[0], None)
        with pytest.raises(RuntimeError, match="already on"), studio.lora(lora):
            pass


def test_a_video_that_is_not_finite_is_degenerate(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    real = studio.pipe.vae.decode
    monkeypatch.setattr(studio.pipe.vae, "decode", lambda *a, **k: real(*a, **k) * float("nan"))
    rendered = studio.render(_jobs(studio, None)[0], None)
    assert rendered.degenerate == "the decoded video holds NaN or infinite values"
    assert not rendered.frames.any()


def test_prompts_are_encoded_once(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    job = dataclasses.replace(_jobs(studio, None)[0], prompt="a cat a dog")
    calls: list[int] = []
    real = studio.pipe.text_encoder.forward

    def counted(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        encoded: torch.Tensor = real(ids, mask)
        return encoded

    monkeypatch.setattr(studio.pipe.text_encoder, "forward", counted)
    first = studio.render(job, None).frames
    seen = len(calls)
    again = studio.render(job, None).frames
    assert len(calls) == seen > 0
    np.testing.assert_array_equal(first, again)


def test_nothing_is_printed(
    studio: Studio, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pytest_wanlora.studio"):
        Studio(studio.suite, studio.environment, threads=1).render(_jobs(studio, None)[0], None)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert "Loaded model" in caplog.text


def test_another_attention_kernel_is_not_taken(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffsynth.models import wan_video_dit

    base = studio.render(_jobs(studio, None)[0], None).frames
    monkeypatch.setattr(wan_video_dit, "SAGE_ATTN_AVAILABLE", True)  # not installed: taking it would raise
    np.testing.assert_array_equal(studio.render(_jobs(studio, None)[0], None).frames, base)
    monkeypatch.delattr(wan_video_dit, "SAGE_ATTN_AVAILABLE")
    with pytest.raises(StudioError, match="cannot be pinned"):
        studio.render(_jobs(studio, None)[0], None)


def test_sizes_that_would_be_rounded_are_refused(folder: Path, environment: Environment) -> None:
    good = _suite(folder)
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
    good = _suite(folder)
    model = good.model.model_copy(update={"dit": (str(tmp_path / "odd.safetensors"),)})
    with pytest.raises(StudioError, match=r"DiffSynth cannot load the model.*Cannot detect the model type"):
        _ = Studio(good.model_copy(update={"model": model}), environment).pipe
