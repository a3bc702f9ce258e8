"""Helpers for tests of the gate: a suite, LoRA files and a producer without a model.

Everything here is deterministic and takes milliseconds; nothing imports torch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_wanlora.jobs.job import Applied, Job, Produced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.suite import Suite

__all__ = ["FakeProducer", "fake_video", "write_lora", "write_suite"]

DIM, FFN_DIM, BLOCKS = 16, 32, 2
FEATURES = 8
_LAYERS = ("self_attn.q", "self_attn.v", "ffn.0")


class FakeProducer:
    """Makes videos and scores from the job's prompt and seed, of a chosen quality.

    Frame metrics are measured on the frames; CLIP and video features are drawn around the quality.

    Args:
        suite: For frame counts and sizes.
        quality: Candidate name to quality, or to scenario id to quality: 1 is as good as the base model,
            0.5 visibly worse. Everything that is not named has 1.
        seconds: Duration of each job.
        before: Called with each job before it is made; may raise, sleep or kill.
        batch: Seeds that are made together.
        score_in_background: Whether to score them on another thread.
    """

    identity = "fake-1"
    uses_model_files = False

    def __init__(
        self,
        suite: Suite,
        quality: Mapping[str, float | Mapping[str, float]] | None = None,
        *,
        seconds: float = 0.0,
        before: Callable[[Job], None] | None = None,
        batch: int = 1,
        score_in_background: bool = False,
    ) -> None:
        self.suite = suite
        self.quality = dict(quality or {})
        self.seconds = seconds
        self.before = before
        self.batch = batch
        self.score_in_background = score_in_background

    def begin(self, jobs: Sequence[Job], checkpoint: Checkpoint | None) -> list[Callable[[], Produced]]:
        """Begin a batch; see `jobs.BatchProducer`."""
        return [partial(self.produce, job, checkpoint) for job in jobs]

    def produce(self, job: Job, checkpoint: Checkpoint | None) -> Produced:
        """Make one job; see `jobs.Producer`."""
        from pytest_wanlora import metrics
        from pytest_wanlora.scoring import frames as frame_scores

        if self.before is not None:
            self.before(job)
        if self.seconds:
            time.sleep(self.seconds)
        quality = self._quality(job)
        sampling = self.suite.sampling
        video = fake_video(
            f"{job.prompt}|{job.seed}",
            (sampling.frames, sampling.height, sampling.width),
            quality=quality,
            tint=0 if checkpoint is None else 1,
        )
        rng = _rng(f"{job.prompt}|{job.seed}")
        noise = rng.normal(size=4) * 0.002
        scores = {
            "clip": 0.6 * quality**0.3 + float(noise[0]),
            "clip_cosine": 0.24 * quality**0.3 + float(noise[0]) / 2.5,
            "temporal": 99.0 * quality**0.1 + float(noise[1]),
            **frame_scores.scores(video, self.suite.scoring.sharpness_reference),
        }
        scores["overall"] = metrics.overall(scores["temporal"], scores["sharpness_pct"], scores["color"])
        scores |= metrics.added_scores(video)
        drift = (1.0 - quality) * 3.0
        return Produced(
            scores=scores,
            degenerate=None,
            features={
                # a LoRA changes what is in the frames, so that it is not taken for one without effect
                "clip_frames": (rng.normal(size=(sampling.frames, 4)) + (checkpoint is not None)).astype(
                    np.float32
                ),
                "video": (rng.normal(size=FEATURES) + drift).astype(np.float32),
                **frame_scores.in_small(video, job.scenario),
            },
            frames_sha256=hashlib.sha256(video.tobytes()).hexdigest(),
            seconds=self.seconds,
            applied=None if checkpoint is None else _applied(checkpoint),
        )

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures by their mean colours; see `jobs.Producer`."""
        colours = np.column_stack([np.ones(len(frames)), frames.mean(axis=(1, 2)) / 255.0])
        return np.asarray(colours / np.linalg.norm(colours, axis=1, keepdims=True), np.float32)

    def _quality(self, job: Job) -> float:
        named = self.quality.get(job.candidate, 1.0)
        return named.get(job.scenario, 1.0) if isinstance(named, Mapping) else named


def _applied(checkpoint: Checkpoint) -> Applied:
    count = len(checkpoint.targets)
    return Applied(count, count, count, 1.0, 1.0, 0.01, "fused")


def fake_video(
    name: str, shape: tuple[int, int, int], *, quality: float = 1.0, tint: int = 0
) -> NDArray[np.uint8]:
    """Draw coloured blocks that move sideways, one step a frame.

    Args:
        name: What the picture depends on.
        shape: Frames, height, width.
        quality: Contrast; less makes the picture greyer and so less sharp.
        tint: Added to every pixel, so that another candidate has other frames.

    Returns:
        uint8, (frames, height, width, 3).
    """
    frames, height, width = shape
    blocks = _rng(name).integers(20, 235, size=(height // 8 + 1, width // 8 + 1, 3))
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].astype(np.float64)
    picture = 128.0 + (picture - 128.0) * quality + tint
    video = np.stack([np.roll(picture, step, axis=1) for step in range(frames)])
    return np.clip(video, 0, 255).astype(np.uint8)


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def write_lora(path: Path, *, seed: int = 0, blocks: int = BLOCKS, dim: int = DIM, size: float = 0.1) -> Path:
    """Write a LoRA in DiffSynth's format that fits the suite of `write_suite`.

    Args:
        path: The file.
        seed: Of its weights.
        blocks: Number of blocks it has targets in.
        dim: Width of the model it is for.
        size: Standard deviation of its weights; 0 for an untrained one.
    """
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    state = {}
    for block in range(blocks):
        for layer in _LAYERS:
            rows = dim * FFN_DIM // DIM if layer == "ffn.0" else dim
            name = f"blocks.{block}.{layer}"
            state[f"{name}.lora_A.default.weight"] = (rng.normal(size=(2, dim)) * size).astype(np.float32)
            state[f"{name}.lora_B.default.weight"] = (rng.normal(size=(rows, 2)) * size).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path


def write_suite(
    folder: Path,
    *,
    name: str = "fake",
    seeds: tuple[int, int] = (2, 2),
    scenarios: Sequence[str] = ("test1_city", "test2_nature"),
    limits: Sequence[Mapping[str, Any]] = ({"metric": "clip", "min": 0.3},),
) -> Path:
    """Write a suite for `FakeProducer`, with the files it names.

    Args:
        folder: Gets `NAME.yaml` and a folder of placeholders for model files.
        name: Of the suite.
        seeds: Videos a scenario at the first and the last look.
        scenarios: Ids; the category is what follows the underscore.
        limits: As in a suite file.

    Returns:
        The suite file.
    """
    import yaml
    from safetensors.numpy import save

    from pytest_wanlora.scoring.frechet import write_reference

    files = folder / f"{name}-files"
    (files / "tokenizer").mkdir(parents=True, exist_ok=True)
    for part in ("dit", "text_encoder", "vae", "clip", "features"):
        (files / f"{part}.safetensors").write_bytes(save({part: np.zeros(1, np.float32)}))
    extractor = hashlib.sha256((files / "features.safetensors").read_bytes()).hexdigest()
    reference = np.random.default_rng(0).normal(size=(64, FEATURES))
    write_reference(files / "reference.safetensors", {"all": reference}, frames=5, extractor_sha256=extractor)
    suite = {
        "name": name,
        "model": {
            "name": "fake Wan",
            "dit": f"{files.name}/dit.safetensors",
            "text_encoder": f"{files.name}/text_encoder.safetensors",
            "vae": f"{files.name}/vae.safetensors",
            "tokenizer": f"{files.name}/tokenizer",
            "architecture": {"dim": DIM, "ffn_dim": FFN_DIM, "blocks": BLOCKS},
        },
        "sampling": {
            "height": 32,
            "width": 64,
            "frames": 5,
            "steps": 2,
            "cfg_scale": 3.0,
            "shift": 5.0,
            "dtype": "float32",
        },
        "scoring": {
            "clip": {"model": "ViT-B-32", "weights": f"{files.name}/clip.safetensors"},
            "video_features": {
                "kind": "module",
                "module": "fake:Network",
                "weights": f"{files.name}/features.safetensors",
            },
            "reference": f"{files.name}/reference.safetensors",
            "sharpness_reference": 500.0,
        },
        "limits": [dict(limit) for limit in limits],
        "seeds": {"first": seeds[0], "most": seeds[1]},
        "scenarios": [
            {"id": scenario, "category": scenario.partition("_")[2] or scenario, "prompt": f"a {scenario}"}
            for scenario in scenarios
        ],
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    return path
