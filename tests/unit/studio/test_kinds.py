"""Every kind of model, on real, randomly initialised pipelines of 2 blocks, against DiffSynth's own call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline
from numpy.typing import NDArray
from PIL import Image

from benchmarks.gpu.kinds import stock_arguments
from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Job
from pytest_wanlora.studio.checksum import checksum
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.suite import Suite
from tests.unit.studio.kinds import KINDS, write_kind
from tests.unit.studio.random_wan import BLOCKS, LAYERS, jobs_of, write_lora

HIGH_STEPS = 2  # of 4 at shift 5: 1000, 937.5, 833.3, 625 around the boundary of 900


class Kind:
    """A kind's studio, and DiffSynth's own pipeline over the same files."""

    def __init__(self, folder: Path, kind: str, environment: Environment) -> None:
        self.folder, self.kind = folder, kind
        self.suite = write_kind(folder, kind)
        self.studio = Studio(self.suite, environment, threads=1)
        names = ["high", "low"] if self.suite.model.experts else ["dit21"]
        files = [*names, "vae21", "text_encoder", *(["image"] if self.suite.model.image_encoder else [])]
        self.stock = WanVideoPipeline.from_pretrained(
            torch_dtype=torch.float32,
            device="cpu",
            model_configs=[ModelConfig(path=str(folder / f"{name}.safetensors")) for name in files],
            tokenizer_config=ModelConfig(path=str(folder / "tokenizer")),
        )

    def render_stock(self, job: Job, **others: Any) -> NDArray[np.uint8]:  # noqa: ANN401
        """The frames of a job by DiffSynth's own call."""
        images = self.stock(**stock_arguments(self.suite, job) | others)
        return np.stack([np.asarray(image) for image in images])


@pytest.fixture(scope="module", params=KINDS)
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, environment: Environment
) -> Kind:
    return Kind(tmp_path_factory.mktemp("kind"), request.param, environment)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, environment: Environment) -> Kind:
    return Kind(tmp_path_factory.mktemp("pair"), "wan2.2-t2v-a14b", environment)


@pytest.fixture(autouse=True)
def _off(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in ("kind", "pair"):
        if name in request.fixturenames:
            request.getfixturevalue(name).studio.close()


def at_guidance(kind: Kind, guidance: float) -> Suite:
    """The suite with one guidance for all, as DiffSynth's call has."""
    model = kind.suite.model
    if model.experts is not None:
        both = {
            name: model.experts.of(name).model_copy(update={"cfg_scale": guidance})
            for name in ("high", "low")
        }
        model = model.model_copy(update={"experts": model.experts.model_copy(update=both)})
    return kind.suite.model_copy(
        update={"model": model, "sampling": kind.suite.sampling.model_copy(update={"cfg_scale": guidance})}
    )


def test_frames_are_those_of_diffsynth_with_equal_guidance(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind.studio, "suite", at_guidance(kind, 3.0))
    job = jobs_of(kind.studio, None)[0]
    found = kind.studio.render(job, None).frames
    np.testing.assert_array_equal(found, kind.render_stock(job, cfg_scale=3.0))
    assert found.std() > 1, "a flat picture would be equal to anything"
    # of two experts each really denoises
    if kind.suite.model.experts:
        assert (found != kind.render_stock(job, cfg_scale=3.0, switch_DiT_boundary=0.01)).any()
        assert (found != kind.render_stock(job, cfg_scale=3.0, switch_DiT_boundary=0.99999)).any()


def test_an_image_is_read(kind: Kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    job = jobs_of(kind.studio, None)[0]
    if "i2v" not in kind.kind:
        assert job.input_image is None
        return
    found = kind.studio.render(job, None).frames
    Image.new("RGB", (48, 32), (250, 10, 10)).save(tmp_path / "red.png")
    other = dataclasses.replace(job, input_image=tmp_path / "red.png")
    assert (kind.studio.render(other, None).frames != found).any()


def test_the_model_itself_is_asked_where_the_suite_does_not_state_what_it_reads(
    kind: Kind, environment: Environment
) -> None:
    reads, picture = "i2v" in kind.kind, str(kind.folder / "first.png")
    Image.new("RGB", (48, 32)).save(kind.folder / "other.png" if reads else picture)
    scenarios = tuple(
        each.model_copy(update={"input_image": None if reads else picture}) for each in kind.suite.scenarios
    )
    wrong = kind.suite.model_copy(update={"scenarios": scenarios})
    words = "missing, and the denoiser reads a first frame" if reads else "the denoiser reads no first frame"
    with pytest.raises(StudioError, match=rf"\.yaml:\d+: scenarios\[0\]\.input_image: .*{words}"):
        Studio(wrong, environment, threads=1).load()
    if kind.suite.model.image_encoder is not None:
        model = kind.suite.model.model_copy(update={"image_encoder": None})
        with pytest.raises(StudioError, match=r"model\.image_encoder: missing; the denoiser reads CLIP"):
            Studio(kind.suite.model_copy(update={"model": model}), environment, threads=1).load()


def halves(tmp_path: Path) -> tuple[Path, Path]:
    return write_lora(tmp_path / "x_high_noise.safetensors", seed=5), write_lora(
        tmp_path / "x_low_noise.safetensors", seed=6
    )


def read_pair(tmp_path: Path, text: str) -> checkpoints.Checkpoint:
    (asked,) = checkpoints.asked([text], by_name=True)
    return asked.read("x")


def test_a_lora_is_fused_as_load_lora_does(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind.studio, "suite", at_guidance(kind, 3.0))
    high, low = halves(tmp_path)
    experts = kind.suite.model.experts is not None
    lora = read_pair(tmp_path, f"high={high},low={low}@0.5") if experts else checkpoints.read(high)
    job = jobs_of(kind.studio, lora)[0]
    found = kind.studio.render(job, lora)
    before = [{name: each.clone() for name, each in dit.state_dict().items()} for dit in dits(kind.stock)]
    kind.stock.load_lora(kind.stock.dit, str(high))
    if experts:
        kind.stock.load_lora(kind.stock.dit2, str(low), alpha=0.5)
    theirs = kind.render_stock(job, cfg_scale=3.0)
    for dit, state in zip(dits(kind.stock), before, strict=True):
        dit.load_state_dict(state)
    np.testing.assert_array_equal(found.frames, theirs)
    assert found.applied is not None
    count = BLOCKS * len(LAYERS)
    assert found.applied.patched == found.applied.targets == count * (2 if experts else 1)
    assert {name: each.patched for name, each in found.applied.experts.items()} == (
        {"high": count, "low": count} if experts else {}
    )


def dits(pipe: Any) -> list[Any]:  # noqa: ANN401 - DiffSynth publishes no types
    return [dit for dit in (pipe.dit, pipe.dit2) if dit is not None]


def test_base_weights_come_back_bit_for_bit(kind: Kind, tmp_path: Path) -> None:
    high, low = halves(tmp_path)
    experts = kind.suite.model.experts is not None
    lora = read_pair(tmp_path, f"high={high},low={low}") if experts else checkpoints.read(high)
    sums = [checksum(dit) for dit in dits(kind.studio.pipe)]
    base = kind.studio.render(jobs_of(kind.studio, None)[0], None).frames
    kind.studio.render(jobs_of(kind.studio, lora)[0], lora)
    assert all(checksum(dit) != old for dit, old in zip(dits(kind.studio.pipe), sums, strict=True))
    again = kind.studio.render(jobs_of(kind.studio, None)[0], None).frames
    assert [checksum(dit) for dit in dits(kind.studio.pipe)] == sums
    np.testing.assert_array_equal(again, base)


def test_a_batch_has_the_videos_of_single_seeds(kind: Kind, environment: Environment) -> None:
    sampling = kind.suite.sampling.model_copy(update={"batch": 2})
    studio = Studio(kind.suite.model_copy(update={"sampling": sampling}), environment, threads=1)
    jobs = jobs_of(studio, None)[:2]
    together = studio.render_many(jobs, None)
    for job, rendered in zip(jobs, together, strict=True):
        alone = kind.studio.render(job, None).frames.astype(int)
        # another batch size may round another way
        assert np.abs(rendered.frames.astype(int) - alone).max() <= 2


def test_all_high_noise_steps_come_first_and_change_no_frame(
    pair: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(pair.studio, None)
    alone = [pair.studio.render(job, None).frames for job in jobs]
    brought: list[str] = []
    placement = pair.studio._placed
    monkeypatch.setattr(placement, "bring", lambda name: brought.append(name))
    together = pair.studio.render_many(jobs, None)
    assert brought == ["high", "low"]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other.frames)


def test_each_expert_has_its_own_guidance(pair: Kind) -> None:
    """Against DiffSynth's steps, with the guidance changed at the boundary."""
    job = jobs_of(pair.studio, None)[0]
    found = pair.studio.render(job, None).frames
    pipe, model_fn = pair.stock, pair.stock.model_fn
    stated = dict(zip(("high", "low"), (4.0, 3.0), strict=True))

    def guided(dit: Any, **inputs: Any) -> torch.Tensor:  # noqa: ANN401 - passed on
        positive, negative = model_fn(dit=dit, **inputs).chunk(2)
        scale = stated["high" if dit is pipe.dit else "low"]
        merged = negative + scale * (positive - negative)
        # the pipeline adds 1 * (first - second) to the second
        return torch.cat([merged, torch.zeros_like(merged)])

    pipe.model_fn = guided
    try:
        theirs = pair.render_stock(job, cfg_scale=1.0000001)
    finally:
        pipe.model_fn = model_fn
    assert np.abs(found.astype(int) - theirs.astype(int)).max() <= 1
    assert (found != pair.render_stock(job, cfg_scale=3.0)).any()


@pytest.mark.parametrize("swap", [False, True])
def test_experts_are_what_the_suite_says_whatever_the_order_in_the_file(
    pair: Kind, environment: Environment, tmp_path: Path, swap: bool
) -> None:
    text = pair.suite.path.read_text(encoding="utf-8")
    low = "low: {dit: low.safetensors, cfg_scale: 3.0}"
    high = "high: {dit: high.safetensors, cfg_scale: 4.0}"
    assert f"{{{low}, {high}}}" in text
    ordered = text.replace(f"{{{low}, {high}}}", f"{{{high}, {low}}}")
    if swap:
        ordered = (
            ordered.replace("dit: low.", "dit: X.").replace("dit: high.", "dit: low.").replace("X.", "high.")
        )
    path = pair.folder / f"ordered-{swap}.yaml"
    path.write_text(ordered.replace("name: wan2.2-t2v-a14b", "name: ordered"), encoding="utf-8")
    other = Studio(suites.load(path), environment, threads=1)
    job, own = jobs_of(other, None)[0], jobs_of(pair.studio, None)[0]
    assert (job.key == own.key) is not swap
    same = np.array_equal(other.render(job, None).frames, pair.studio.render(own, None).frames)
    assert same is not swap


def test_a_load_that_swaps_experts_is_refused(
    pair: Kind, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = WanVideoPipeline.from_pretrained

    def swapped(**arguments: Any) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        pipe = load(**arguments)
        pipe.dit, pipe.dit2 = pipe.dit2, pipe.dit
        return pipe

    studio = Studio(pair.suite, environment, threads=1)
    studio.prepare()
    monkeypatch.setattr(WanVideoPipeline, "from_pretrained", swapped)
    with pytest.raises(StudioError, match="the high-noise expert does not have the weights of"):
        studio.load()


def stacked(kind: Kind, tmp_path: Path) -> tuple[Suite, Sequence[Path]]:
    paths = [
        write_lora(tmp_path / f"stack-{name}.safetensors", seed=number) for number, name in enumerate("ab", 7)
    ]
    entry = f"high: {paths[0]}, low: {paths[1]}" if kind.suite.model.experts else f"lora: {paths[0]}"
    path = kind.folder / f"{tmp_path.name}.yaml"
    text = kind.suite.path.read_text(encoding="utf-8")
    path.write_text(f"{text}stack:\n  - {{{entry}, scale: 0.7}}\n", encoding="utf-8")
    return suites.load(path), paths


def test_a_stack_lies_below_baseline_and_candidate(
    kind: Kind, environment: Environment, tmp_path: Path
) -> None:
    suite, paths = stacked(kind, tmp_path)
    held = SimpleNamespace(suite=suite)
    studio = Studio(at_guidance(held, 3.0), environment, threads=1)  # type: ignore[arg-type]  # has a suite
    job = jobs_of(studio, None)[0]
    assert job.key != jobs_of(kind.studio, None)[0].key
    before = [{name: each.clone() for name, each in dit.state_dict().items()} for dit in dits(kind.stock)]
    for dit, path in zip(dits(kind.stock), paths, strict=False):
        kind.stock.load_lora(dit, str(path), alpha=0.7)
    theirs = kind.render_stock(job, cfg_scale=3.0)
    np.testing.assert_array_equal(studio.render(job, None).frames, theirs)
    high, low = halves(tmp_path)
    lora = read_pair(tmp_path, f"high={high},low={low}") if suite.model.experts else checkpoints.read(high)
    with_lora = studio.render(jobs_of(studio, lora)[0], lora).frames
    for dit, path in zip(dits(kind.stock), (high, low), strict=False):
        kind.stock.load_lora(dit, str(path))
    np.testing.assert_array_equal(with_lora, kind.render_stock(job, cfg_scale=3.0))
    for dit, state in zip(dits(kind.stock), before, strict=True):
        dit.load_state_dict(state)
    np.testing.assert_array_equal(studio.render(job, None).frames, theirs)
