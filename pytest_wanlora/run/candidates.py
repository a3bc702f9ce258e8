"""The candidates of a run, checkpoints at each strength, and what is demanded of each."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.errors import JobError, SuiteError
from pytest_wanlora.files import from_here
from pytest_wanlora.jobs.job import BASE
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run import questions
from pytest_wanlora.verdict.judgement import ALL, ItemId

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Scenario, Suite


#: Problems of a checkpoint with which rendering it would be a waste: nothing it shows could be published.
_HOPELESS = frozenset({"nan", "inf", "zero_b"})


@dataclass(frozen=True)
class Candidate:
    """What is gated.

    Attributes:
        name: Unique within the run; `"base"` for the model without LoRA.
        checkpoint: The LoRA; None for the model without.
        scale: Its strength; 0 without one.
    """

    name: str
    checkpoint: Checkpoint | None
    scale: float = 0.0

    @property
    def argument(self) -> str:
        """What to give `--lora` to get the checkpoint again; empty for the model without."""
        checkpoint = self.checkpoint
        if checkpoint is None or not checkpoint.experts:
            return "" if checkpoint is None else from_here(checkpoint.path)
        strengths = checkpoint.strengths
        return ",".join(
            f"{name}={from_here(each.path)}" + ("" if strengths[name] == 1.0 else f"@{strengths[name]:g}")
            for name, each in checkpoint.experts.items()
        )

    def renderable(self) -> Checkpoint | None:
        """The checkpoint to render with.

        Raises:
            JobError: Rendering it would be a waste.
        """
        problems = () if self.checkpoint is None else self.checkpoint.problems
        hopeless = [problem.words for problem in problems if problem.code in _HOPELESS]
        if self.checkpoint is not None and hopeless:
            raise JobError(
                f"not rendered: {'; '.join(hopeless)}",
                next_command=f"python -m pytest_wanlora inspect {shlex.quote(str(self.checkpoint.path))}",
            )
        return self.checkpoint


def read_candidates(settings: Settings) -> tuple[Candidate, ...]:
    """Read the checkpoints of `--lora`, each at each strength; the model without LoRA if there is none.

    Candidates of one file follow each other, so that a process loads it once. Names tell the strength where
    there are several: `epoch-6@0.8`.

    Raises:
        CheckpointError: One of them cannot be read or is refused.
    """
    if not settings.lora:
        return (Candidate(BASE, None),)
    asked = checkpoints.asked(settings.lora, by_name=_pairs_by_name(settings))
    # a file called base.safetensors must not be taken for the model without LoRA
    names = [f"{name}-lora" if name == BASE else name for name in checkpoints.names_of(asked)]
    read = {name: each.read(name) for name, each in zip(names, asked, strict=True)}
    several = len(settings.scales) > 1
    return tuple(
        Candidate(f"{name}@{scale:g}" if several else name, found, scale)
        for name, found in read.items()
        for scale in settings.scales
    )


def _pairs_by_name(settings: Settings) -> bool:
    """Whether files are paired by their names: on a suite with two experts, or where all point to one."""
    if settings.suite is not None:
        try:
            named = suites.load(settings.suite, baselines=settings.baselines_dir, seeds=settings.seeds)
        except SuiteError:
            return False  # `load_suite` says what is wrong
        return named.model.experts is not None
    if not checkpoints.pairs_by_name(settings.lora):
        return False
    (first, *_) = checkpoints.asked(settings.lora, by_name=True)
    return suites.fits_experts(first.read("pair"))


def distinct(candidates: Iterable[Candidate], scenarios: Iterable[str]) -> tuple[Candidate, ...]:
    """Rename candidates until no two items of a run have the same id: `x` in `y-z` and `x-y` in `z`.

    Args:
        candidates: In their order; the first of two keeps its name.
        scenarios: Ids of what is rendered.
    """
    places = (*scenarios, ALL)
    taken: set[str] = set()
    found = []
    for each in candidates:
        names = chain([each.name], (f"{each.name}-{number}" for number in count(2)))
        # a place is empty for the item on the file itself, which has no scenario in its id
        ids = ((name, {f"{name}-{place}" for place in ("", *places)}) for name in names)
        name, own = next((name, own) for name, own in ids if taken.isdisjoint(own))
        taken |= own
        found.append(replace(each, name=name))
    return tuple(found)


def demanded(
    settings: Settings, suite: Suite, scenarios: Sequence[Scenario], candidate: Candidate
) -> tuple[ItemId, ...]:
    """Everything that the suite demands of one candidate, of the scenarios that are rendered.

    The model without LoRA is only measured; a run that stores baselines compares nothing.
    """
    if candidate.checkpoint is None:
        return ()
    ids = tuple(scenario.id for scenario in scenarios)
    found = [ItemId("checkpoint", candidate.name, "", "")]
    for limit in suite.limits:
        places = {"all": (ALL,), "each": ids}.get(limit.scenario, (limit.scenario,))
        found += [
            ItemId("limit", candidate.name, place, limit.metric)
            for place in places
            if place == ALL or place in ids
        ]
    if not settings.update_baselines:
        if any(METRICS[metric].level == "video" for metric in suite.tolerances):
            found += [ItemId("videos", candidate.name, place, "") for place in ids]
        found += [
            ItemId("regression", candidate.name, place, metric)
            for place in (*ids, ALL)
            for metric in METRICS
            if metric in suite.tolerances
        ]
        asked = questions.asked(suite, scenarios)
        found += [ItemId("question", candidate.name, place, metric) for place, metric in asked]
    # two limits may bound the same metric in the same place, from either side
    return tuple(dict.fromkeys(found))
