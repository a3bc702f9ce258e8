"""What candidates are measured against: the stored baseline and the suite's reference set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora import baseline as baselines
from pytest_wanlora import suite as suites
from pytest_wanlora.baseline import baseline_place, load_baseline, stored_seeds
from pytest_wanlora.baseline.stored import Baseline
from pytest_wanlora.errors import BaselineError, IncomparableError
from pytest_wanlora.jobs.job import BASE
from pytest_wanlora.metrics import METRICS, added_set_scores
from pytest_wanlora.run.inputs import prompts
from pytest_wanlora.scoring import frechet
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.verdict.fvd import ReferenceSet

if TYPE_CHECKING:
    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.suite import Scenario, Scoring

#: A base video rendered anew must give every score back to this relative difference for library versions to
#: count as equal: a fifth of the tightest default band, far above what rounding does.
SAME = 1e-3
#: The same for its feature vector, relative to its length.
SAME_FEATURES = 1e-2


def repeats(own: JobResult, other: JobResult) -> bool:
    """Whether one video differs from another by no more than rendering the same video again may.

    Args:
        own: Of one scenario and seed, and not degenerate.
        other: Of the same.
    """
    scores = all(
        abs(value - other.scores[name]) <= SAME * abs(other.scores[name])
        for name, value in own.scores.items()
        if name in other.scores
    )
    return scores and all(
        float(np.linalg.norm(array - other.features[name]))
        <= SAME_FEATURES * float(np.linalg.norm(other.features[name]))
        for name, array in own.features.items()
        if name in other.features
    )


class Standard:
    """The baseline and the reference set of one run, each loaded when it is first needed.

    Args:
        gate: The run.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._compared: set[str] = set()
        self._prepared: dict[tuple[str, ...], ReferenceSet] = {}
        self.notes: tuple[str, ...] = ()

    @property
    def update_command(self) -> str:
        """What to type to measure the baseline anew."""
        return baselines.with_files(
            baselines.update_command(self._suite_option, self.gate.settings.baseline), self.gate.files
        )

    @property
    def _suite_option(self) -> str:
        """What follows `--wanlora-suite`, and the device where one was typed: the suite may name another."""
        device, option = self.gate.device, suites.option_value(self.gate.suite)
        typed = device.source == "--wanlora-device"
        return f"{option} --wanlora-device {device.name}" if typed else option

    @cached_property
    def place(self) -> tuple[Path, str]:
        """Root folder of the baseline, and where that is in words."""
        settings = self.gate.settings
        return baseline_place(settings.baselines_dir, self.gate.suite.name, settings.baseline)

    @cached_property
    def folder(self) -> Path:
        """The folder of the baseline itself."""
        named = Path(self.gate.settings.baseline)
        if named.is_absolute():
            return named
        return baselines.folder(self.place[0], self.gate.suite.name, self.gate.settings.baseline)

    @cached_property
    def baseline(self) -> Baseline:
        """The stored baseline.

        Raises:
            BaselineError: There is none, or it cannot be read.
        """
        settings = self.gate.settings
        try:
            return load_baseline(self.gate.suite, settings.baselines_dir, settings.baseline)
        except BaselineError as error:
            command = error.next_command
            raise BaselineError(
                error.message, next_command=command and baselines.with_files(command, self.gate.files)
            ) from error

    @cached_property
    def reference(self) -> frechet.Reference:
        """The suite's reference set.

        Raises:
            ScoringError: It is missing, empty, or not the one that the suite states.
        """
        return load_reference(self.gate.suite.scoring)

    def reference_rows(self, scenarios: Iterable[str]) -> NDArray[Any]:
        """Reference features of some scenarios' categories, (m, D)."""
        return self.reference.pooled(self._set_names(scenarios))

    def reference_set(self, scenarios: Iterable[str]) -> ReferenceSet:
        """The same, prepared for many distances."""
        names = self._set_names(scenarios)
        if names not in self._prepared:
            self._prepared[names] = ReferenceSet.of(self.reference.pooled(names))
        return self._prepared[names]

    def set_scores(self, features: NDArray[Any], scenarios: Iterable[str]) -> Mapping[str, float]:
        """Scores of videos of some scenarios, (n, D); distances are to the reference of their categories.

        Nothing for a single video, which has no spread.
        """
        if len(features) < 2:
            return {}
        distances = frechet.set_scores(features, self.reference_rows(scenarios))
        return {**distances, **added_set_scores(features)}

    def _set_names(self, scenarios: Iterable[str]) -> tuple[str, ...]:
        names = (self.reference.name_for(self.gate.scenario(each).category) for each in scenarios)
        return tuple(dict.fromkeys(names))

    def stored_seeds(self, scenario: str) -> int:
        """How many of the suite's seeds, from the first on, the baseline has for a scenario."""
        return stored_seeds(self.baseline, self.gate.suite, scenario)

    def has_seeds(self, scenario: str) -> bool:
        """Whether the baseline has what the first look takes of a scenario."""
        return self.stored_seeds(scenario) >= self.gate.suite.seeds.first

    def require_seeds(self, scenario: str) -> None:
        """Check that the baseline has what the first look takes of a scenario.

        Raises:
            BaselineError: It has fewer seeds.
        """
        if not self.has_seeds(scenario):
            seeds = self.gate.suite.seeds
            raise BaselineError(
                f"the baseline has {self.stored_seeds(scenario)} seeds of {scenario} from {seeds.start} on; "
                f"a first look takes {seeds.first}",
                next_command=self.update_command,
            )

    def require(self, scenarios: Sequence[Scenario]) -> None:
        """Check that the baseline was measured as this run measures.

        Other library versions are let pass only when a video of the model without LoRA, rendered here, gives
        the scores back that the baseline has for it.

        Raises:
            IncomparableError: Suite, prompt or environment differ.
            BaselineError: There is no baseline.
        """
        fresh = [scenario for scenario in scenarios if scenario.id not in self._compared]
        if not fresh:
            return
        settings = self.gate.settings
        notes = baselines.require_comparable(
            self.baseline,
            fingerprint=fingerprint(self.gate.suite),
            prompts=prompts(self.gate.suite, fresh),
            environment=self.gate.environment,
            other_environment=settings.allow_environment,
            suite_option=self._suite_option,
        )
        if notes and not settings.allow_environment:
            notes = (*notes, self._prove_same(notes))
        self.notes = notes
        self._compared.update(scenario.id for scenario in fresh)

    def _prove_same(self, differences: Iterable[str]) -> str:
        """Render one base video and compare its scores with the stored ones."""
        stored = self._base_of_baseline(differences)
        (job,) = self.gate.jobs(self.gate.base, self.gate.scenarios[:1], self.gate.seeds(1))
        (here,) = self.gate.results([job])
        before = stored.scores.get(job.scenario, {}).get(job.seed)
        if before is None:
            raise self._versions(differences, f"it has no video of {job.scenario} with seed {job.seed}")
        worst = 0.0
        for name, value in here.scores.items():
            if name in self.gate.suite.tolerances and METRICS[name].level == "video":
                off = abs(value - before[name]) / max(abs(before[name]), 1e-12)
                worst = max(worst, off)
                if off > SAME:
                    was = METRICS[name].format(before[name])
                    now = METRICS[name].format(value)
                    raise self._versions(differences, f"{job.label} has {name} {was} there and {now} here")
        vector = stored.features[job.scenario, job.seed]
        off = float(np.linalg.norm(here.features["video"] - vector) / np.linalg.norm(vector))
        if off > SAME_FEATURES:
            raise self._versions(differences, f"the video features of {job.scenario} differ by {off:.1%}")
        return f"one base video, rendered here, gives its scores back to {worst:.1e}: versions count as equal"

    def _base_of_baseline(self, differences: Iterable[str]) -> Baseline:
        """The baseline of the model without LoRA that was measured where the baseline was."""
        if self.baseline.candidate is None:
            return self.baseline
        try:
            base = baselines.load(
                baseline_place(self.gate.settings.baselines_dir, self.gate.suite.name, BASE)[0],
                self.gate.suite.name,
                BASE,
            )
        except BaselineError as error:
            raise self._versions(differences, "there is no base baseline to prove them equal by") from error
        if base.environment != self.baseline.environment or base.fingerprint != self.baseline.fingerprint:
            raise self._versions(
                differences, "the base baseline was measured elsewhere, so it proves nothing"
            )
        return base

    def _versions(self, differences: Iterable[str], why: str) -> IncomparableError:
        listed = "\n".join(f"  {line}" for line in differences)
        return IncomparableError(
            f"the baseline {self.baseline.name!r} was measured with other versions, and {why}:\n{listed}",
            next_command=self.update_command,
        )


def load_reference(scoring: Scoring) -> frechet.Reference:
    """Load a suite's reference set.

    Raises:
        ScoringError: It is missing, unreadable, empty, another than the suite states, or made by another
            network than the suite's.
    """
    from pytest_wanlora.scoring.weights import fetch

    file = fetch(scoring.reference, scoring.reference_sha256, "scoring.reference")
    features = scoring.video_features
    network = fetch(features.weights, features.sha256, "scoring.video_features.weights")
    return frechet.read_reference(file.path, sha256=file.sha256, extractor_sha256=network.sha256)
