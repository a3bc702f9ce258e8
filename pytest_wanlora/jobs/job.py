"""Jobs, the videos to render: their keys, what producers return for them and their results.

A job's key is a digest of everything that can change its pixels or their scores. Results are kept
under that key (`cache.Cache`), so a job is rendered once, whichever test, worker or run needs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pytest_wanlora.errors import JobError
from pytest_wanlora.files import canonical, file_sha256, json_sha256
from pytest_wanlora.metrics import added_code
from pytest_wanlora.suite import resolve
from pytest_wanlora.suite.fingerprint import fingerprint, key_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Scenario, Suite


#: Name of the candidate that is no LoRA at all.
BASE = "base"


@dataclass(frozen=True)
class Job:
    """One video to render.

    Attributes:
        candidate: Name of the checkpoint, `"base"` for the model without LoRA.
        candidate_sha256: Digest of the checkpoint's file; provenance, not part of the key.
        identity: Digest of all that the checkpoint does to the model (`Checkpoint.identity`); None without.
        scale: Strength of the LoRA; 0 without one.
        scenario: Id of the scenario.
        category: Its category.
        prompt: For the model.
        caption: For the CLIP score.
        seed: Of the initial noise.
        input_image: First frame for image-to-video, or None.
        shared: Canonical JSON of what all jobs of a run share: model, sampling, scoring, environment.
        parts: Canonical JSON of what a scenario of an installed type depends on; empty for the others.
    """

    candidate: str
    candidate_sha256: str | None
    identity: str | None
    scale: float
    scenario: str
    category: str
    prompt: str
    caption: str
    seed: int
    input_image: Path | None
    shared: str = field(repr=False)
    parts: str = field(default="", repr=False)

    @cached_property
    def key(self) -> str:
        """SHA-256 over the canonical JSON of all that can change the pixels or their scores."""
        image = None if self.input_image is None else image_sha256(self.input_image)
        return json_sha256(
            {
                "candidate": self.identity,
                "scale": self.scale,
                "prompt": self.prompt,
                "caption": self.caption,
                "seed": self.seed,
                "image": image,
                "shared": self.shared,
                **({"parts": self.parts} if self.parts else {}),
            }
        )

    def block(self, batch: int) -> str:
        """Key that the jobs rendered in one batch have in common.

        Seed s is in the batch that begins with seed `s // batch * batch`: it depends on the job alone, so all
        processes agree on it.
        """
        return dataclasses.replace(self, seed=self.seed // batch * batch).key if batch > 1 else self.key

    @property
    def label(self) -> str:
        """Name of the job in messages and progress."""
        return f"{self.candidate}, {self.scenario}, seed {self.seed}"


@dataclass(frozen=True)
class Applied:
    """How a LoRA was applied to the model, measured on the weights.

    Attributes:
        targets: Layers that the file names.
        patched: Layers whose weight is the base weight plus the LoRA's delta.
        changed: Layers of which at least one weight differs from the base model's.
        strength: Norm of the change that the weights really made, divided by the intended one. Below 1
            where the pipeline's precision rounds part of the LoRA away; NaN-free, 0 for a LoRA of zeros.
        cosine: Cosine between the real and the intended change.
        relative_size: Norm of the intended change divided by the norm of the patched weights.
        mode: `"fused"` or `"unfused"`.
        experts: Of a pair, the same of each expert's LoRA; `strength`, `cosine` and `relative_size` are then
            those of the LoRA that was applied less faithfully, of equals the weaker one.
    """

    targets: int
    patched: int
    changed: int
    strength: float
    cosine: float
    relative_size: float
    mode: str
    experts: Mapping[str, Applied] = field(default_factory=dict)

    @property
    def faithfulness(self) -> float:
        """1 where the weights really changed as intended, less the more they differ from that."""
        return self.cosine - abs(self.strength - 1.0)

    @property
    def told(self) -> str:
        """The expert of whose LoRA the figures of a pair are; empty of one LoRA."""
        return "" if len(self.experts) < 2 else least(self.experts)

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON; `experts` is there for pairs alone."""
        found = dataclasses.asdict(self)
        return {name: value for name, value in found.items() if name != "experts" or value}


def least(experts: Mapping[str, Applied]) -> str:
    """The expert whose LoRA was applied least faithfully, of equals the weakest one."""
    return min(experts, key=lambda name: (round(experts[name].faithfulness, 3), experts[name].relative_size))


@dataclass(frozen=True)
class Produced:
    """What a producer returns for one job.

    Attributes:
        scores: Metric id to value; empty for a degenerate video.
        degenerate: Why the video cannot be scored, or None.
        features: Arrays by name: `clip_frames` (frames, dim) and `video` (dim,), float32.
        frames_sha256: Digest of the raw frames.
        seconds: Rendering and scoring.
        applied: How the LoRA was applied; None for the model without LoRA.
        notes: Facts for the record, such as the thread count.
        write_preview: Writes an mp4 for people to the given path, or None.
    """

    scores: Mapping[str, float]
    degenerate: str | None
    features: Mapping[str, NDArray[np.float32]]
    frames_sha256: str
    seconds: float
    applied: Applied | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    write_preview: Callable[[Path], None] | None = None


@dataclass(frozen=True, kw_only=True)
class JobResult(Produced):
    """The stored result of a job, and where it is kept.

    Attributes:
        folder: Its folder in the cache.
        reused: Whether it was stored before this run.
        preview: The mp4 for people, or None.
        finished: Seconds since the epoch.
    """

    job: Job
    folder: Path
    preview: Path | None
    reused: bool
    finished: float

    @property
    def key(self) -> str:
        """The job's key."""
        return self.job.key

    @property
    def scenario(self) -> str:
        """The job's scenario."""
        return self.job.scenario

    @property
    def seed(self) -> int:
        """The job's seed."""
        return self.job.seed


class Producer(Protocol):
    """Renders and scores one job; what `pytest_wanlora_producer` may replace.

    A producer that loads neither the suite's model nor its scorers sets the attribute
    `uses_model_files = False`: then the run does not look for those files. For suites with a subject it has a
    method `embed(frames)`, which embeds frames, uint8 (T, H, W, 3), as those of its videos: float32 (T, D);
    and its videos with the trigger have the features of `scoring.frames.in_small`, by which copies are found.

    Attributes:
        identity: Name and version; part of every job's key.
    """

    identity: str

    def produce(self, job: Job, checkpoint: Checkpoint | None, /) -> Produced:
        """Render and score.

        Args:
            job: What to render.
            checkpoint: The candidate that it names; None for the model without LoRA.

        Raises:
            WanloraError: The job cannot be rendered; recorded, not tried again in this run.
        """


@runtime_checkable
class BatchProducer(Protocol):
    """A producer that renders several jobs together, or scores them while it renders the next.

    Attributes:
        batch: Seeds of a scenario that are rendered together; see `Job.block`.
        score_in_background: Whether what `begin` returns may be called on another thread while `begin` runs
            again.
    """

    identity: str
    batch: int
    score_in_background: bool

    def produce(self, job: Job, checkpoint: Checkpoint | None, /) -> Produced:
        """See `Producer`."""

    def begin(
        self, jobs: Sequence[Job], checkpoint: Checkpoint | None, /
    ) -> Sequence[Callable[[], Produced]]:
        """Render jobs of one batch; a producer with an attribute `together` is given up to so many batches.

        Args:
            jobs: Of one block, one to `batch` of them; of one candidate where there are several blocks.
            checkpoint: The candidate that they name; None for the model without LoRA.

        Returns:
            For each job a function that scores it, to be called once.

        Raises:
            WanloraError: They cannot be rendered; recorded for each, not tried again in this run.
        """


def image_sha256(path: Path) -> str:
    """Digest of an input image."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise JobError(f"{path}: the scenario's input image cannot be read: {error.strerror}") from error


def plan(
    suite: Suite,
    checkpoint: Checkpoint | None,
    *,
    scale: float,
    seeds: Iterable[int],
    environment: Environment,
    name: str | None = None,
    producer: str,
    scenarios: Iterable[Scenario] | None = None,
) -> tuple[Job, ...]:
    """List the videos of one candidate, scenario by scenario.

    Args:
        suite: What to render.
        checkpoint: The candidate; None for the model without LoRA.
        scale: Strength of the LoRA.
        seeds: One video of each scenario for each.
        environment: On what they are rendered.
        name: Of the candidate, where it is not the checkpoint's own.
        producer: Name and version of what renders and scores them (`Producer.identity`).
        scenarios: Some of the suite's, in its order; all by default.
    """
    shared = canonical(
        {"suite": _rendering(suite), "environment": environment.identity(), "producer": producer}
    )
    chosen = suite.scenarios if scenarios is None else tuple(scenarios)
    listed = tuple(seeds)
    return tuple(
        Job(
            candidate=name or (BASE if checkpoint is None else checkpoint.name),
            candidate_sha256=None if checkpoint is None else checkpoint.sha256,
            identity=None if checkpoint is None else checkpoint.identity,
            scale=0.0 if checkpoint is None else scale,
            scenario=scenario.id,
            category=scenario.category,
            prompt=scenario.prompt,
            caption=scenario.clip_caption,
            seed=seed,
            input_image=input_image(suite, scenario),
            shared=shared,
            parts=canonical(parts) if (parts := key_parts(scenario)) else "",
        )
        for scenario in chosen
        for seed in listed
    )


def _rendering(suite: Suite) -> dict[str, Any]:
    """The suite's fingerprint without the reference set: no video depends on it, and it may be missing."""
    scoring = suite.scoring.model_copy(update={"reference": suite.scoring.clip.weights})
    whole = fingerprint(suite.model_copy(update={"scoring": scoring}))
    kept = {name: value for name, value in whole["scoring"].items() if name != "reference"}
    own = {name: value for name, value in whole.items() if name != "scenarios"}  # each job has its own
    code = added_code()
    return {**own, "scoring": {**kept, **({"code": code} if code else {})}}


def input_image(suite: Suite, scenario: Scenario) -> Path | None:
    """The file of a scenario's first frame; None for a scenario without one."""
    if scenario.input_image is None:
        return None
    number = [each.input_image for each in suite.scenarios].index(scenario.input_image)
    key = f"scenarios[{number}].input_image"
    return resolve(scenario.input_image, key=key, where=suite.where(key)).paths[0]
