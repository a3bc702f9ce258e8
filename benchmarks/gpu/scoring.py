"""What scoring one video of the suite's size costs, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.context import Context
from benchmarks.gpu.profile import seconds_of
from pytest_wanlora.scoring import frames
from pytest_wanlora.scoring.clip import ClipScorer
from pytest_wanlora.scoring.scorer import Scorer
from pytest_wanlora.scoring.video_features import load_extractor
from pytest_wanlora.studio.pictures import frames_sha256
from pytest_wanlora.studio.previews import write_preview

__all__ = ["measure"]

_REPEATS = 5


def measure(context: Context) -> None:
    """Time loading the scorers, scoring, hashing and writing a preview."""
    suite = context.suite
    began = time.perf_counter()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    scorer = Scorer(suite.scoring, device=device)
    context.record.note("scoring", loading_seconds=round(time.perf_counter() - began, 3))
    sampling, caption = suite.sampling, suite.scenarios[0].clip_caption
    shape = (sampling.frames, sampling.height, sampling.width, 3)
    coarse = np.random.default_rng(0).integers(0, 256, (shape[0], shape[1] // 8, shape[2] // 8, 3), np.uint8)
    video = coarse.repeat(8, axis=1).repeat(8, axis=2)
    preview = Path(context.work) / "preview.mp4"
    clip = ClipScorer(suite.scoring.clip, device=device)
    extractor = load_extractor(suite.scoring.video_features, device=device)
    sharpness = suite.scoring.sharpness_reference
    parts: dict[str, Callable[[], object]] = {
        "score": lambda: scorer.score(video, caption),
        "score: degenerate": lambda: frames.degenerate(video),
        "score: CLIP of the frames": lambda: clip.embed_frames(video),
        "score: CLIP of the caption": lambda: clip.embed_text(caption),
        "score: raw frames": lambda: frames.scores(video, sharpness),
        "score: video features": lambda: extractor(video),
        "digest": lambda: frames_sha256(video),
        "preview": lambda: write_preview(video, preview),
    }
    for name, part in parts.items():
        context.record.note("scoring", **{f"{name}_seconds": _best(part)})


def _best(part: Callable[[], object]) -> list[float]:
    """Seconds of the first call, and of the fastest one."""
    seconds = [round(seconds_of(part), 4) for _ in range(_REPEATS)]
    return [seconds[0], min(seconds)]
