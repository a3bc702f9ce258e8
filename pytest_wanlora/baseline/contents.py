"""What a baseline holds: scores, features, and what they were measured with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pytest_wanlora.schemas import Finite, Sha256, StrictModel
from pytest_wanlora.verdict.noise import NoiseFloor


class Prompt(StrictModel):
    """What a scenario's videos were rendered from; another prompt is another baseline.

    Attributes:
        input_image_sha256: Of the first frame, for image-to-video.
    """

    category: str
    prompt: str
    caption: str
    input_image_sha256: Sha256 | None = None


class Insistence(StrictModel):
    """That somebody stored a baseline although something spoke against it.

    Attributes:
        by: Who: the user and machine, or the actor of a CI run.
        against: What spoke against it, a line each.
    """

    by: str
    against: tuple[str, ...]


class Baseline(StrictModel, arbitrary_types_allowed=True):
    """Stored scores and features of one reference: the model without LoRA, or an accepted checkpoint.

    Attributes:
        schema_version: Of the file.
        name: `"base"` or the name it was accepted under.
        created: When, in ISO 8601, UTC.
        candidate: Card of the accepted checkpoint (`Checkpoint.describe`); None for the model without LoRA.
        scale: Strength of the LoRA; None without.
        fingerprint: `suite.fingerprint` of when it was measured.
        environment: `Environment.record()`.
        versions: Package name to version, for the record.
        prompts: By scenario.
        scores: Scenario, seed, metric id to score; every video has the same metrics.
        sets: Scenario or `"all"`, then `fvd`, `kvd`, `n` and `reference_n`.
        noise: Changes of each metric that chance alone explains.
        insisted: Who stored it with `--wanlora-force`, and against what; None where nobody had to.
        seal: SHA-256 over all else in `baseline.json`; empty in version 1, which has none.
        features: Scenario and seed to one video's features, float32 (D,); kept in that file.
        frames: Scenario and seed to the embeddings of a video's frames, float32 (frames, D), of a suite with
            a subject; kept in that file in half precision.
        digest: SHA-256 of `baseline.json` as read or written; empty before that.
    """

    schema_version: Literal[1, 2] = 2
    suite: str
    name: str
    created: str
    candidate: dict[str, Any] | None = None
    scale: Finite | None = None
    fingerprint: dict[str, Any]
    environment: dict[str, Any]
    versions: dict[str, str] = Field(default_factory=dict)
    prompts: dict[str, Prompt]
    scores: Annotated[dict[str, dict[int, dict[str, Finite]]], Field(min_length=1)]
    sets: dict[str, dict[str, Finite]] = Field(default_factory=dict)
    noise: tuple[NoiseFloor, ...] = ()
    insisted: Insistence | None = None
    features_sha256: str = ""
    seal: str = ""
    features: dict[tuple[str, int], NDArray[np.float32]] = Field(default_factory=dict, exclude=True)
    frames: dict[tuple[str, int], NDArray[np.float32]] = Field(default_factory=dict, exclude=True)
    digest: str = Field(default="", exclude=True)

    def seeds(self, scenario: str) -> tuple[int, ...]:
        """Seeds of a scenario, ascending; none for one that was not measured."""
        return tuple(sorted(self.scores.get(scenario, {})))

    def metric(self, metric: str, scenarios: Iterable[str] | None = None) -> dict[str, dict[int, float]]:
        """One metric's scores by scenario and seed, as `verdict.regressions` takes them."""
        chosen = self.scores if scenarios is None else [name for name in scenarios if name in self.scores]
        return {
            name: {seed: of[metric] for seed, of in self.scores[name].items() if metric in of}
            for name in chosen
        }
