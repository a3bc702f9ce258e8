"""What is to be rendered: the jobs of one candidate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora.suite import resolve
from pytest_wanlora.suite.files import key_parts

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Scenario, Suite
from pytest_wanlora.jobs.job import BASE, Job, canonical


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

    Returns:
        The jobs, in the order in which a single process renders them.
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
    fingerprint = suite.model_copy(update={"scoring": scoring}).fingerprint()
    kept = {name: value for name, value in fingerprint["scoring"].items() if name != "reference"}
    own = {name: value for name, value in fingerprint.items() if name != "scenarios"}  # each job has its own
    return {**own, "scoring": kept}


def input_image(suite: Suite, scenario: Scenario) -> Path | None:
    """The file of a scenario's first frame; None for a scenario without one.

    Raises:
        SuiteError: There is no such file.
    """
    if scenario.input_image is None:
        return None
    key = f"scenarios[{suite.scenarios.index(scenario)}].input_image"
    return resolve(scenario.input_image, key=key, where=suite.where(key)).paths[0]
