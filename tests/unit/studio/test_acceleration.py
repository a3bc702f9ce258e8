"""Levers of speed: which leave every bit as it was, and how far off the others are."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
import torch._inductor.config
import torch.compiler.config
from diffsynth.models import wan_video_dit
from diffsynth.models.wan_video_dit import WanModel
from diffsynth.pipelines import wan_video
from numpy.typing import NDArray
from PIL import Image
from torch._dynamo.testing import CompileCounter

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.environment import Environment, detect
from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Job
from pytest_wanlora.studio import acceleration
from pytest_wanlora.studio.checksum import checksum
from pytest_wanlora.studio.denoiser import Denoiser, FeedForward, Timestep, uploaded
from pytest_wanlora.studio.loading import Loader
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.suite import LEVERS
from tests.unit.studio.random_wan import Stock, jobs_of, write_suite

Frames = NDArray[np.uint8]


def distance(one: Frames, other: Frames) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "first.png")
    return tmp_path / "first.png"


@pytest.mark.parametrize("text_once", [False, True])
@pytest.mark.parametrize("cfg_merge", [False, True])
def test_text_once_changes_no_bit(
    folder: Path, environment: Environment, stock: Stock, text_once: bool, cfg_merge: bool
) -> None:
    studio = Studio(write_suite(folder, text_once=text_once, cfg_merge=cfg_merge), environment, threads=1)
    for job in jobs_of(studio, None)[1:3]:
        np.testing.assert_array_equal(studio.render(job, None).frames, stock.render(studio.suite, job))


def test_without_guidance_nothing_is_merged(folder: Path, environment: Environment, stock: Stock) -> None:
    studio = Studio(write_suite(folder, cfg_scale=1.0, batch=2), environment, threads=1)
    job = jobs_of(studio, None)[0]
    expected = stock.render(write_suite(folder, cfg_scale=1.0, cfg_merge=False), job)
    assert distance(studio.render(job, None).frames, expected) <= 1


def test_a_batch_is_the_same_videos(folder: Path, environment: Environment, stock: Stock) -> None:
    studio = Studio(write_suite(folder, batch=2), environment, threads=1)
    jobs = jobs_of(studio, None)[:2]
    for job, rendered in zip(jobs, studio.render_many(jobs, None), strict=True):
        assert distance(rendered.frames, stock.render(studio.suite, job)) <= 1


def test_a_video_does_not_depend_on_what_else_of_its_batch_is_wanted(
    folder: Path, environment: Environment, lora: checkpoints.Checkpoint
) -> None:
    studio = Studio(write_suite(folder, batch=3, dtype="bfloat16"), environment, threads=1)
    first = jobs_of(studio, lora)[0]
    jobs = [dataclasses.replace(first, seed=seed) for seed in (3, 4, 5)]
    together = studio.render_many(jobs, lora)
    for job, expected in zip(jobs, together, strict=True):
        np.testing.assert_array_equal(studio.render(job, lora).frames, expected.frames)
    last, middle = studio.render_many([jobs[2], jobs[1]], lora)
    np.testing.assert_array_equal(last.frames, together[2].frames)
    np.testing.assert_array_equal(middle.frames, together[1].frames)
    studio.close()


def test_jobs_of_different_batches_are_refused(folder: Path, environment: Environment) -> None:
    studio = Studio(write_suite(folder, batch=2), environment, threads=1)
    cat, _, dog, _ = jobs_of(studio, None)
    with pytest.raises(ValueError, match="different batches: base, cat, seed 0, base, dog, seed 0"):
        studio.render_many([cat, dog], None)


@pytest.mark.parametrize("lever", ["real_rope", "torch_norm"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_arithmetic_rounds_otherwise_at_most(
    folder: Path, environment: Environment, stock: Stock, lever: str, dtype: str
) -> None:
    levers: dict[str, Any] = {lever: True}
    studio = Studio(write_suite(folder, dtype=dtype, **levers), environment, threads=1)
    job = jobs_of(studio, None)[0]
    expected = stock if dtype == "float32" else Stock(folder, torch.bfloat16)
    frames = studio.render(job, None).frames
    difference = np.abs(frames.astype(int) - expected.render(studio.suite, job).astype(int))
    # two steps of a random model: a bfloat16 that is rounded the other way is seen in a few pixels
    assert difference.mean() < (0.01 if dtype == "float32" else 1.0)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_first_frame_may_be_given(
    folder: Path, environment: Environment, stock: Stock, picture: Path, batch: int
) -> None:
    studio = Studio(write_suite(folder, batch=batch), environment, threads=1)
    job = dataclasses.replace(jobs_of(studio, None)[1], input_image=picture)
    with Image.open(picture) as image:
        expected = stock.render(studio.suite, job, input_image=image.convert("RGB"))
    without = studio.render(dataclasses.replace(job, input_image=None), None).frames
    found = studio.render(job, None).frames
    assert distance(found, expected) <= batch - 1
    assert distance(found, without) > 1


def test_a_feed_forward_leaves_wrapped_layers_to_themselves() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(8, 32), torch.nn.GELU(approximate="tanh"), torch.nn.Linear(32, 8)
    )
    own = copy.deepcopy(layers)
    own.__class__ = FeedForward
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(own(x), layers(x), rtol=0.0, atol=0.0)

    class Wrapped(torch.nn.Linear):
        """A layer with a LoRA beside it."""

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return super().forward(value) + 1.0

    without = own(x)
    own[0].__class__ = layers[0].__class__ = Wrapped
    torch.testing.assert_close(own(x), layers(x), rtol=0.0, atol=0.0)
    assert not torch.allclose(own(x), without)


def test_the_pipeline_is_stock_outside_of_rendering(studio: Studio) -> None:
    studio.render(jobs_of(studio, None)[0], None)
    pipe = studio.pipe
    assert pipe.model_fn is wan_video.model_fn_wan_video
    assert {type(unit).__module__ for unit in [*pipe.units, *pipe.post_units]} == {wan_video.__name__}
    assert not hasattr(wan_video_dit, "mock")


class TestTimesteps:
    def test_they_are_what_the_loop_would_upload(self) -> None:
        numbers = torch.tensor([1000.0, 937.5, 3.14159])
        for number, step in zip(numbers, uploaded(numbers, torch.bfloat16, "cpu"), strict=True):
            assert step.item() == number.item()
            found = step.unsqueeze(0).to(dtype=torch.bfloat16, device="cpu")
            torch.testing.assert_close(found, number.unsqueeze(0).to(torch.bfloat16), rtol=0, atol=0)

    def test_a_loop_that_shapes_them_otherwise_is_noticed(self) -> None:
        (step,) = uploaded(torch.tensor([1000.0]), torch.float32, "cpu")
        with pytest.raises(ValueError, match="one dimension to add, 0"):
            step.unsqueeze(1)

    def test_the_schedule_is_uploaded_once(self, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []

        def counted(*given: Any) -> Iterator[Timestep]:  # noqa: ANN401
            seen.append(given)
            return uploaded(*given)

        monkeypatch.setattr("pytest_wanlora.studio.denoiser.uploaded", counted)
        studio.render(jobs_of(studio, None)[0], None)
        ((timesteps, dtype, device),) = seen
        assert timesteps.shape == (studio.suite.sampling.steps,)
        assert (dtype, device) == (studio.pipe.torch_dtype, studio.pipe.device)


class TestCompile:
    """With torch's tracer and an uncompiled backend: what is traced, and how often."""

    @pytest.fixture
    def graphs(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounter]:
        counter = CompileCounter()
        real = torch.nn.Module.compile

        def counted(module: torch.nn.Module, *, mode: str, dynamic: bool) -> None:
            assert (mode, dynamic) == ("default", False)
            real(module, backend=counter, dynamic=dynamic)

        monkeypatch.setattr(torch.nn.Module, "compile", counted)
        torch._dynamo.reset()
        yield counter
        torch._dynamo.reset()

    def test_all_blocks_share_one_graph_with_and_without_lora(
        self,
        folder: Path,
        environment: Environment,
        graphs: CompileCounter,
        lora: checkpoints.Checkpoint,
        studio: Studio,
    ) -> None:
        compiled = Studio(write_suite(folder, compile=True), environment, threads=1)
        compiled.load()
        assert graphs.frame_count == 1
        assert compiled.seconds["compiling"] > 0
        for checkpoint in (None, lora, None):
            job = jobs_of(studio, checkpoint)[0]
            expected = studio.render(job, checkpoint).frames
            found = compiled.render(jobs_of(compiled, checkpoint)[0], checkpoint)
            np.testing.assert_array_equal(found.frames, expected)
        assert graphs.frame_count == 1

    def test_every_lever_at_once(
        self, folder: Path, environment: Environment, graphs: CompileCounter, stock: Stock
    ) -> None:
        levers: dict[str, Any] = {"compile": True, "torch_norm": True, "real_rope": True, "batch": 2}
        assert {*levers, "text_once", "attention"} == set(LEVERS)  # attention has a file of its own
        studio = Studio(write_suite(folder, **levers), environment, threads=1)
        for job in jobs_of(studio, None)[:2]:
            assert distance(studio.render(job, None).frames, stock.render(studio.suite, job)) <= 1
        assert graphs.frame_count == 1

    def test_a_given_first_frame_is_compiled_once(
        self, folder: Path, environment: Environment, graphs: CompileCounter, stock: Stock, picture: Path
    ) -> None:
        suite = write_suite(folder, compile=True)
        given = [scenario.model_copy(update={"input_image": str(picture)}) for scenario in suite.scenarios]
        studio = Studio(suite.model_copy(update={"scenarios": tuple(given)}), environment, threads=1)
        with Image.open(picture) as image:
            first = image.convert("RGB")
        for job in jobs_of(studio, None)[:2]:
            expected = stock.render(studio.suite, job, input_image=first)
            assert distance(studio.render(job, None).frames, expected) <= 1
        assert graphs.frame_count == 1

    def test_the_compiler_times_nothing_that_changes_how_numbers_round_and_keeps_code_by_the_kernels(
        self, folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = []

        def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
            found.append((torch._inductor.config.deterministic, torch.compiler.config.cache_key_tag))
            return graph.forward

        real = torch.nn.Module.compile
        monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: real(self, backend=backend))
        torch._dynamo.reset()
        Studio(write_suite(folder, compile=True), environment, threads=1).load()
        torch._dynamo.reset()
        assert found == [(True, "attention: flash efficient math")]
        assert not torch._inductor.config.deterministic
        assert not torch.compiler.config.cache_key_tag

    def test_a_compiler_that_fails_is_named(
        self, folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("no compiler here")

        real = torch.nn.Module.compile
        monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: real(self, backend=broken))
        with pytest.raises(StudioError, match=r"torch.compile failed.*no compiler here") as caught:
            Studio(write_suite(folder, compile=True), environment, threads=1).load()
        assert "sampling.compile: false" in str(caught.value.next_command)


class TestOtherDiffSynth:
    def test_a_function_that_computes_something_else_is_noticed(
        self, folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = wan_video.model_fn_wan_video

        def changed(dit: Any, **given: Any) -> torch.Tensor:  # noqa: ANN401
            predicted: torch.Tensor = real(dit, **given)
            return predicted * 1.001

        changed.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]  # functions may have it
        monkeypatch.setattr(wan_video, "model_fn_wan_video", changed)
        with pytest.raises(StudioError, match="differs from this DiffSynth's"):
            Studio(write_suite(folder), environment, threads=1).load()

    def test_a_changed_name_is_named(
        self, folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def renamed(dit: Any, hidden: Any) -> None:  # noqa: ANN401
            """Another signature."""

        monkeypatch.setattr(wan_video, "model_fn_wan_video", renamed)
        with pytest.raises(StudioError, match="model_fn_wan_video without cfg_merge, clip_feature, context"):
            Studio(write_suite(folder), environment, threads=1).load()

    def test_what_the_denoiser_does_not_know_is_refused(self, studio: Studio) -> None:
        studio.load()
        denoise = Denoiser(studio.suite.sampling, {})
        image = torch.zeros(1)
        with pytest.raises(StudioError, match="rendered with vace_context, which the levers of speed do not"):
            denoise(studio.pipe.dit, image, image, image, vace_context=image, vace_scale=1.0, cfg_merge=True)

    def test_a_model_it_does_not_fit_is_rendered_by_diffsynth_or_refused(self, studio: Studio) -> None:
        sampling = studio.suite.sampling

        class OtherModel(WanModel):  # type: ignore[misc]  # DiffSynth publishes no types
            """As VACE's or Animate's would be."""

        dit = object.__new__(OtherModel)
        torch.nn.Module.__init__(dit)
        pipe = SimpleNamespace(dit=dit, dit2=None)
        assert not acceleration.Accelerator(pipe, sampling, studio.embedding)._own
        fast = sampling.model_copy(update={"batch": 2, "real_rope": True})
        with pytest.raises(
            StudioError, match="cannot be rendered with batch, real_rope: its denoiser is OtherModel"
        ):
            acceleration.Accelerator(pipe, fast, studio.embedding)


def test_weights_that_wait_outside_the_gpu_give_the_same_videos(
    folder: Path,
    environment: Environment,
    studio: Studio,
    lora: checkpoints.Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = ("offload", "onload", "preparing", "computation")
    placement = {f"{state}_device": "cpu" for state in states} | {
        f"{state}_dtype": torch.float32 for state in states
    }
    monkeypatch.setattr(Loader, "_placement", lambda self: placement)
    # DiffSynth empties the cache of a device that has none here
    monkeypatch.setattr(torch.cpu, "empty_cache", lambda: None, raising=False)
    other = Studio(write_suite(folder), environment, threads=1)
    assert other.pipe.vram_management_enabled
    before = checksum(other.pipe.dit)
    for checkpoint in (None, lora):
        expected = studio.render(jobs_of(studio, checkpoint)[0], checkpoint)
        found = other.render(jobs_of(other, checkpoint)[0], checkpoint)
        np.testing.assert_array_equal(found.frames, expected.frames)
        assert found.applied == expected.applied
    other.close()
    assert checksum(other.pipe.dit) == before


def test_only_what_changes_pixels_is_another_job(folder: Path) -> None:
    def key(**levers: Any) -> str:  # noqa: ANN401
        studio = Studio(write_suite(folder, **levers), detect("float32", "cpu"))
        job: Job = jobs_of(studio, None)[0]
        return job.key

    assert key() == key(text_once=False)
    changes: list[dict[str, Any]] = [
        {},
        {"batch": 2},
        {"compile": True},
        {"compile": True, "text_once": False},
        {"torch_norm": True},
        {"real_rope": True},
        {"attention": "flash-attn-4"},
    ]
    assert len({key(**change) for change in changes}) == len(changes)
