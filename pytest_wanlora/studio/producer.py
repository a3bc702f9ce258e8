"""The producer that renders with the studio and scores, loaded when the first job is produced."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.studio.imports import import_for_good
from pytest_wanlora.studio.pictures import frames_sha256
from pytest_wanlora.studio.pipeline import STUDIO_VERSION, Rendered, Studio
from pytest_wanlora.studio.previews import require_ffmpeg, write_preview
from pytest_wanlora.studio.silence import quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.scoring.scorer import Scorer
    from pytest_wanlora.suite import Suite


_TOGETHER: Final = 8


class StudioProducer:
    """DiffSynth renders, the suite's scorers score.

    On a GPU videos are scored and stored on another thread while the next batch is rendered. On a CPU they
    are not: the cores are busy anyway, and how many threads torch takes belongs to the process.

    Args:
        suite: What to render and how to score it.
        device: `"cpu"` or `"cuda:N"`; the environment's when left out.
        threads: CPU threads of torch; None leaves torch's choice.
        previews: Whether to write mp4 files.
        cache_dir: Where prompt embeddings and compiled code are kept; None keeps neither.
        keep_lora: Whether a LoRA's matrices stay on the device, for its other strengths.

    Attributes:
        on_stage: Is told what is done, in words, whenever that changes.
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
        cache_dir: Path | None = None,
        keep_lora: bool = False,
    ) -> None:
        self.studio = Studio(
            suite,
            environment,
            device=device,
            threads=threads,
            cache_dir=cache_dir,
            keep_lora=keep_lora,
            say=self._say,
        )
        self.on_stage: Callable[[str], None] | None = None
        self.previews = previews
        self.batch = suite.sampling.batch
        # one switch of experts for so many batches; latents of all of them wait meanwhile, a few MB each
        self.together = _TOGETHER if suite.model.experts and suite.model.resident_experts == 1 else 1
        self.score_in_background = self.studio.device != "cpu"
        self._scorer: Scorer | None = None
        self._stream: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        self._told = False

    @property
    def scorer(self) -> Scorer:
        """The suite's scorers, loaded if they are not yet.

        Raises:
            ScoringError: A scorer's file is missing or wrong, or a caption or the videos do not suit it.
        """
        if self._scorer is None:
            suite, device = self.studio.suite, self.studio.device
            self._say("loading what scores the videos")
            started = time.perf_counter()
            with quiet():
                import_for_good("pytest_wanlora.scoring.scorer")
                from pytest_wanlora.scoring.scorer import Scorer

                scorer = Scorer(suite.scoring, device=device)
            captions = [scenario.clip_caption for scenario in suite.scenarios]
            scorer.check(captions, frame_count=suite.sampling.frames)
            if self.score_in_background:
                self._stream = _stream(device)
            self._scorer = scorer
            self.studio.seconds["scorers"] = time.perf_counter() - started
        return self._scorer

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures as the frames of videos are, (frames, D); see `jobs.Producer`."""
        return self.scorer.embed(frames)

    def _say(self, words: str) -> None:
        if self.on_stage is not None:
            self.on_stage(words)

    def produce(self, job: Job, checkpoint: Checkpoint | None) -> Produced:
        """Render and score one job; see `begin`."""
        (score,) = self.begin([job], checkpoint)
        return score()

    def begin(self, jobs: Sequence[Job], checkpoint: Checkpoint | None) -> list[Callable[[], Produced]]:
        """Render jobs of one batch, or of up to `together` batches of one candidate.

        Raises:
            StudioError: The model or the LoRA cannot be loaded or applied, or previews cannot be written.
            ScoringError: The scorers cannot be loaded; or, when a score is asked for, return nonsense.
        """
        if self.studio.device == "cpu":
            # read when OpenMP is loaded, with torch: threads that spin while they wait for one that another
            # process has pushed aside make a video ten times slower on a busy machine
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self.previews:
            require_ffmpeg()
        # the model's weights are read while the scorers are imported and loaded
        self.studio.prepare()
        scorer = self.scorer
        self.studio.load()
        rendered = self.studio.render_many(jobs, checkpoint)
        notes = self._notes()
        return [
            partial(self._score, scorer, job, each, notes) for job, each in zip(jobs, rendered, strict=True)
        ]

    def _score(self, scorer: Scorer, job: Job, rendered: Rendered, notes: Mapping[str, Any]) -> Produced:
        from pytest_wanlora.scoring.frames import in_small

        started = time.perf_counter()
        with self._stream:
            scored = scorer.score(rendered.frames, job.caption)
        scoring = time.perf_counter() - started
        degenerate = rendered.degenerate or scored.degenerate
        return Produced(
            scores={} if degenerate else scored.scores,
            degenerate=degenerate,
            features={
                "clip_frames": scored.clip_frames,
                "video": scored.video_features,
                **({} if scored.dino_frames is None else {"dino_frames": scored.dino_frames}),
                **in_small(rendered.frames, job.scenario),
            },
            frames_sha256=frames_sha256(rendered.frames),
            seconds=rendered.seconds + scoring,
            applied=rendered.applied,
            notes={
                **notes,
                "rendering_seconds": round(rendered.seconds, 3),
                "scoring_seconds": round(scoring, 3),
                "peak_memory": rendered.peak_memory,
            },
            write_preview=partial(write_preview, rendered.frames) if self.previews else None,
        )

    def close(self) -> None:
        """Remove the LoRA that is still applied."""
        self.studio.close()

    def _notes(self) -> dict[str, Any]:
        import torch

        notes: dict[str, Any] = {
            "package": metadata.version("pytest-wanlora"),
            "threads": torch.get_num_threads(),
        }
        if not self._told:
            # what the first video of a process had to wait for
            self._told = True
            notes["ready_seconds"] = {name: round(value, 3) for name, value in self.studio.seconds.items()}
        if self.studio.troubles:
            # by a video's notes they come from wherever it is rendered: see `Board.note_prompts`
            notes["prompts"] = [*self.studio.troubles]
            self.studio.troubles.clear()
        return notes


def _stream(device: str) -> contextlib.AbstractContextManager[Any]:
    """A CUDA stream other than the one that renders."""
    import torch

    # the scorers' weights went up on the other queue, which this one does not wait for
    torch.cuda.synchronize(device)
    queue = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch types it not
    return torch.cuda.stream(queue)
