"""Render and score: the studio and the scorers put together, loaded when the first job is produced."""

from __future__ import annotations

import os
import time
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.studio.pipeline import STUDIO_VERSION, Studio, frames_sha256, quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.scoring.scorer import Scorer
    from pytest_wanlora.suite import Suite

_PREVIEW_FPS = 8


class StudioProducer:
    """DiffSynth renders, the suite's scorers score.

    Args:
        suite: What to render and how to score it.
        environment: On what.
        device: `"cpu"` or `"cuda:N"`; the environment's when left out.
        threads: CPU threads of torch; None leaves torch's choice.
        previews: Whether to write mp4 files.
    """

    identity = f"studio-{STUDIO_VERSION}"

    def __init__(
        self,
        suite: Suite,
        environment: Environment,
        *,
        device: str | None = None,
        threads: int | None = None,
        previews: bool = True,
    ) -> None:
        self.studio = Studio(suite, environment, device=device, threads=threads)
        self.previews = previews
        self._scorer: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """The suite's scorers, loaded if they are not yet.

        Raises:
            ScoringError: A scorer's file is missing or wrong, or a caption or the videos do not suit it.
        """
        if self._scorer is None:
            suite = self.studio.suite
            with quiet():
                from pytest_wanlora.scoring.scorer import Scorer

                scorer = Scorer(suite.scoring, device=self.studio.device)
            captions = [scenario.clip_caption for scenario in suite.scenarios]
            scorer.check(captions, frame_count=suite.sampling.frames)
            self._scorer = scorer
        return self._scorer

    def produce(self, job: Job, checkpoint: Checkpoint | None) -> Produced:
        """Render and score one job.

        Args:
            job: What to render.
            checkpoint: The candidate that it names; None for the model without LoRA.

        Raises:
            StudioError: The model or the LoRA cannot be loaded or applied.
            ScoringError: The scorers cannot be loaded or return nonsense.
        """
        if self.studio.device == "cpu":
            # read when OpenMP is loaded, with torch: threads that spin while they wait for one that another
            # process has pushed aside make a video ten times slower on a busy machine
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        scorer = self.scorer
        rendered = self.studio.render(job, checkpoint)
        started = time.perf_counter()
        scored = scorer.score(rendered.frames, job.caption)
        degenerate = rendered.degenerate or scored.degenerate
        return Produced(
            scores={} if degenerate else scored.scores,
            degenerate=degenerate,
            features={"clip_frames": scored.clip_frames, "video": scored.video_features},
            frames_sha256=frames_sha256(rendered.frames),
            seconds=rendered.seconds + time.perf_counter() - started,
            applied=rendered.applied,
            notes={
                "package": metadata.version("pytest-wanlora"),
                "threads": self._threads(),
                "rendering_seconds": round(rendered.seconds, 3),
            },
            write_preview=partial(write_preview, rendered.frames) if self.previews else None,
        )

    def close(self) -> None:
        """Take off the LoRA that is still on the model."""
        self.studio.close()

    def _threads(self) -> int:
        import torch

        return torch.get_num_threads()


def write_preview(frames: NDArray[np.uint8], path: Path) -> None:
    """Write frames as an H.264 mp4 that browsers play.

    Args:
        frames: uint8 (T, H, W, 3).
        path: The file.
    """
    import imageio_ffmpeg

    height, width = frames.shape[1:3]
    writer: Any = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=_PREVIEW_FPS, codec="libx264", quality=8, macro_block_size=2
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(frame.tobytes())
    finally:
        writer.close()
