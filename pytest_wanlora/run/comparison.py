"""What candidates are measured against: the stored baseline and the suite's reference set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora import baseline as baselines
from pytest_wanlora import suite as suites
from pytest_wanlora.baseline import baseline_place, load_baseline, stored_seeds
from pytest_wanlora.baseline.contents import Baseline
from pytest_wanlora.errors import BaselineError, IncomparableError, WanloraError
from pytest_wanlora.jobs.job import BASE
from pytest_wanlora.metrics import METRICS, added_set_scores
from pytest_wanlora.phrases import number_of
from pytest_wanlora.results.parts import Cap
from pytest_wanlora.run.inputs import prompts
from pytest_wanlora.run.pictures import Pictures
from pytest_wanlora.run.preflight import folder_option
from pytest_wanlora.scoring import frechet
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.suite.subject import frames_feature
from pytest_wanlora.verdict.fvd import ReferenceSet

if TYPE_CHECKING:
    from pytest_wanlora.jobs.job import Job, JobResult
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.suite import Scenario

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
            command = baselines.compared_with(settings.baseline, error, self.gate.with_baseline)
            raise BaselineError(error.message, next_command=command) from error

    @cached_property
    def reference(self) -> frechet.Reference:
        """The suite's reference set.

        Raises:
            ScoringError: It is missing, empty, or not the one that the suite states.
        """
        from pytest_wanlora.scoring.weights import load_reference

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

    def stored_features(self, scenario: str, least: int) -> NDArray[np.float32]:
        """Video features of the suite's seeds that the baseline has, from the first on, (N, D).

        Where it has fewer than `least`, those of `extended` are among them.
        """
        known = self.extended({scenario: least}).features
        seeds = self.gate.seeds(max(least, self.stored_seeds(scenario)))
        return np.stack([known[scenario, seed] for seed in seeds])

    def stored_frames(self, scenario: str, least: int = 0) -> list[NDArray[np.float32]]:
        """Embeddings of the frames of the same videos, (frames, D) each.

        Raises:
            BaselineError: The baseline has none.
        """
        known = self.extended({scenario: least}).frames
        seeds = self.gate.seeds(max(least, self.stored_seeds(scenario)))
        if any((scenario, seed) not in known for seed in seeds):
            raise BaselineError(
                f"the baseline {self.baseline.name!r} has no embeddings of frames: it was measured before "
                "its suite had a subject",
                next_command=self.update_command,
            )
        return [known[scenario, seed] for seed in seeds]

    @cached_property
    def pictures(self) -> Pictures:
        """The subject's references and the clips it was trained on."""
        gate = self.gate
        return Pictures(gate.suite, gate.producer, gate.settings.cache_dir, gate.run_folder)

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
                f"the baseline has {number_of(self.stored_seeds(scenario), 'seed')} of {scenario} from "
                f"{seeds.start} on; "
                f"a first look takes {seeds.first}",
                next_command=self.update_command,
            )

    @cached_property
    def capped(self) -> Cap | None:
        """Why no candidate gets more videos than the baseline has; None where nothing limits it.

        One base video is rendered to find out, where the suite asks for more seeds than are stored.
        """
        return self.cap(self.gate.results)

    def cap(self, find: Callable[[Sequence[Job]], Sequence[JobResult]]) -> Cap | None:
        """The same, of the base video that `find` gives."""
        stored = self.baseline
        enough = [each.id for each in self.gate.scenarios if self.has_seeds(each.id)]
        most, wanted = min(map(self.stored_seeds, enough), default=0), self.gate.suite.seeds.most
        if not enough or most >= wanted:
            return None
        why = ""
        if stored.candidate is None:
            try:
                why = self._unlike(stored, find)[1]
            except WanloraError as error:
                why = error.message
            if not why:
                return None
        return Cap(stored=most, wanted=wanted, why=why, next_command=self.update_command)

    def command_for(self, seeds: int) -> str:
        """What measures the baseline with so many seeds, where it caps a run that takes them; else empty.

        What a baseline of the model without LoRA lacks is rendered, unless the run found that it cannot be.
        """
        fewest = min((self.stored_seeds(each.id) for each in self.gate.scenarios), default=0)
        held = seeds > fewest and (self.baseline.candidate is not None or self.capped is not None)
        # all that the gate may take: then no other item of it is held back either
        most = max(seeds, self.gate.suite.seeds.most)
        return self._measured_with((self.gate.suite.seeds.first, most)) if held else ""

    @property
    def update_command(self) -> str:
        """What to type to measure the baseline anew, with as many seeds as this run takes."""
        return self._measured_with(None)

    def _measured_with(self, seeds: tuple[int, int] | None) -> str:
        settings, stored = self.gate.settings, self.baseline
        typed = self.gate.typed_for_baselines(seeds)
        option = " ".join([suites.option_value(self.gate.suite), *typed])
        command = baselines.measure_again(stored, option)
        return command + folder_option(settings.baselines_dir, "--wanlora-baselines-dir")

    def missing(self, pairs: Mapping[str, int]) -> dict[str, tuple[Job, ...]]:
        """The base videos that the first seeds of scenarios take and the baseline lacks."""
        return {
            name: self.gate.jobs(
                self.gate.base,
                [self.gate.scenario(name)],
                [seed for seed in self.gate.seeds(count) if seed not in self.baseline.scores[name]],
            )
            for name, count in pairs.items()
        }

    @property
    def lacking(self) -> tuple[Job, ...]:
        """All base videos that the last look may take and the baseline lacks."""
        try:
            if self.gate.settings.update_baselines or self.baseline.candidate is not None:
                return ()
            enough = [each.id for each in self.gate.scenarios if self.has_seeds(each.id)]
            of = self.missing(dict.fromkeys(enough, self.gate.suite.seeds.most))
        except WanloraError:
            # what is missing is a finding of the preflight
            return ()
        return tuple(job for jobs in of.values() for job in jobs)

    def extended(self, pairs: Mapping[str, int]) -> Baseline:
        """The baseline with the first seeds of scenarios: those that it lacks are rendered, none is stored.

        What a look is assessed by depends on that look alone, not on how far other candidates went.

        Raises:
            BaselineError: A base video cannot be scored.
            JobError: One cannot be rendered.
        """
        added = [each for jobs in self.missing(pairs).values() if jobs for each in self.gate.results(jobs)]
        for each in added:
            if each.degenerate is not None:
                raise BaselineError(
                    f"{each.job.label}: the baseline lacks it, and it cannot be scored: {each.degenerate}",
                    next_command=self.update_command,
                )
        return self._with(added)

    @property
    def known(self) -> Baseline:
        """The baseline with all base videos that are in the cache; nothing is rendered."""
        return self._with([each for each in self.gate.known(self.lacking) if each.degenerate is None])

    def _with(self, added: Sequence[JobResult]) -> Baseline:
        if not added:
            return self.baseline
        scores = {name: dict(of) for name, of in self.baseline.scores.items()}
        features, frames = dict(self.baseline.features), dict(self.baseline.frames)
        for each in added:
            scores[each.scenario][each.seed] = dict(each.scores)
            features[each.scenario, each.seed] = each.features["video"]
            if self.gate.suite.subject is not None:
                # as a baseline keeps them
                half = each.features[frames_feature(self.gate.suite.scoring.frames)].astype(np.float16)
                frames[each.scenario, each.seed] = half.astype(np.float32)
        in_order = {name: dict(sorted(of.items())) for name, of in scores.items()}
        return self.baseline.model_copy(update={"scores": in_order, "features": features, "frames": frames})

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
            again=self.update_command,
        )
        if notes and not settings.allow_environment:
            notes = (*notes, self._prove_same(notes))
        self.notes = notes
        self._compared.update(scenario.id for scenario in fresh)

    def _prove_same(self, differences: Iterable[str]) -> str:
        """Render one base video and compare its scores with the stored ones."""
        worst, why = self._unlike(self._base_of_baseline(differences), self.gate.results)
        if why:
            raise self._versions(differences, why)
        return f"one base video, rendered here, gives its scores back to {worst:.1e}: versions count as equal"

    def _unlike(
        self, stored: Baseline, find: Callable[[Sequence[Job]], Sequence[JobResult]]
    ) -> tuple[float, str]:
        """How far a base video's scores are from the stored ones, relative, and what is too far, if any."""
        (job,) = self.gate.jobs(self.gate.base, self.gate.scenarios[:1], self.gate.seeds(1))
        (here,) = find([job])
        before = stored.scores.get(job.scenario, {}).get(job.seed)
        worst = 0.0
        if before is None:
            return worst, f"it has no video of {job.scenario} with seed {job.seed}"
        if here.degenerate is not None:
            return worst, f"{job.label} cannot be scored here: {here.degenerate}"
        for name, value in here.scores.items():
            if name in self.gate.suite.tolerances and METRICS[name].level == "video":
                off = abs(value - before[name]) / max(abs(before[name]), 1e-12)
                worst = max(worst, off)
                if off > SAME:
                    was = METRICS[name].format(before[name])
                    now = METRICS[name].format(value)
                    return worst, f"{job.label} has {name} {was} there and {now} here"
        vector = stored.features[job.scenario, job.seed]
        off = float(np.linalg.norm(here.features["video"] - vector) / np.linalg.norm(vector))
        if off > SAME_FEATURES:
            return worst, f"the video features of {job.scenario} differ by {off:.1%}"
        return worst, ""

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
