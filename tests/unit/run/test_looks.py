"""Which videos are rendered for a comparison, look by look, and what reaches what assesses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_wanlora import baseline as baselines
from pytest_wanlora.errors import JobError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run import looks as module
from pytest_wanlora.run.session import Gate
from pytest_wanlora.verdict.judgement import ALL, Evidence, ItemId, Verdict
from pytest_wanlora.verdict.pairs import PairedScores
from pytest_wanlora.verdict.sequential import Assessment
from tests.unit.conftest import OpenGate
from tests.unit.reports.gated import EVIDENCE
from tests.unusual import CITY, NATURE, SEEDS, judged, made, own, scored


class Looks:
    """In the place of `assess`: says call by call which scenarios need more, and notes what it is given."""

    def __init__(
        self,
        unsettled: Sequence[tuple[str, ...]] = (),
        evidence: Mapping[tuple[str, str], Evidence] | None = None,
    ) -> None:
        self.unsettled = list(unsettled)
        self.evidence = evidence or {}
        self.given: list[PairedScores] = []
        self.plans: list[tuple[int, ...]] = []
        self.stops: list[bool] = []
        self.others: list[Any] = []

    def __call__(self, scores: PairedScores, tolerances: object, plan: Any, **others: object) -> Assessment:  # noqa: ANN401
        self.given.append(scores)
        self.plans.append(plan.looks)
        self.stops.append(plan.stop_at_failure)
        self.others.append((tolerances, others))
        more = self.unsettled.pop(0) if self.unsettled else ()
        return Assessment(self.evidence, more)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    found = Looks()
    monkeypatch.setattr(module, "assess", found)
    return found


class TestLooks:
    def test_only_what_is_unsettled_gets_the_next_look_and_no_more(
        self, open_gate: OpenGate, looks: Looks
    ) -> None:
        looks.unsettled = [(CITY,)]
        gate = open_gate()
        assert judged(gate, "regression", CITY, "sharpness").n == 4
        assert judged(gate, "regression", NATURE, "sharpness").n == 3
        assert [scores.pairs() for scores in looks.given] == [{CITY: 3, NATURE: 3}, {CITY: 4, NATURE: 3}]
        assert looks.plans == [(3, 4, 6, 8, 12)] * 2
        assert looks.stops == [True] * 2
        assert made(gate) == [
            *(("good", CITY, seed) for seed in range(5, 9)),
            *(("good", NATURE, seed) for seed in SEEDS),
        ]

    def test_a_limit_is_judged_on_all_videos_that_were_rendered(
        self, open_gate: OpenGate, looks: Looks
    ) -> None:
        # seed 8, of the second look, spoils the mean of four that three would have kept
        gate = open_gate(lambda job, made: scored(made, clip=0.01 if own(job) and job.seed == 8 else 0.9))
        looks.unsettled = [(CITY, NATURE)]
        found = judged(gate, "limit", NATURE, "clip")
        assert (found.verdict, found.n) == (Verdict.FAIL, 4)
        # without a comparison there are the videos of the first look alone
        alone = open_gate()
        alone.select([ItemId("limit", "good", NATURE, "clip")])
        assert judged(alone, "limit", NATURE, "clip").n == 3

    def test_looks_go_on_to_the_last(self, open_gate: OpenGate, looks: Looks) -> None:
        looks.unsettled = [(NATURE,)] * 4
        gate = open_gate()
        assert judged(gate, "regression", NATURE, "sharpness").n == 12
        assert [scores.pairs()[NATURE] for scores in looks.given] == [3, 4, 6, 8, 12]

    def test_each_side_is_of_the_same_scenarios_and_seeds(self, open_gate: OpenGate, looks: Looks) -> None:
        gate = open_gate(lambda job, made: scored(made, clip=0.9) if own(job) else made)
        judged(gate, "regression", ALL, "clip")
        (given,) = looks.given
        stored = gate.judge.standard.baseline.scores
        place = [metric.id for metric in given.metrics].index("clip")
        for name in (CITY, NATURE):
            base = [stored[name][seed]["clip"] for seed in SEEDS]
            np.testing.assert_array_equal(given.baseline[name][place], base)
            np.testing.assert_allclose(given.candidate[name][place], np.multiply(base, 0.9))
        tolerances, others = looks.others[0]
        assert (tolerances, others) == (gate.suite.tolerances, {})
        assert given.stored is not None
        whole = [of["clip"] for of in stored[CITY].values()]
        np.testing.assert_array_equal(given.stored[CITY][place], whole)

    def test_all_seeds_of_the_baseline_make_its_distance(self, open_gate: OpenGate, looks: Looks) -> None:
        looks.unsettled = [(CITY,)]
        gate = open_gate()
        judged(gate, "regression", CITY, "sharpness")
        standard = gate.judge.standard
        reference = standard.reference_set([CITY]).mean
        for scores, n in zip(looks.given, (3, 4), strict=True):
            assert scores.sets is not None
            assert scores.sets.stored is not None
            rows = scores.sets.stored[CITY]
            np.testing.assert_array_equal(rows[:n], scores.sets.baseline[CITY])
            # the baseline's seeds are 5 to 16, and the pairs are the first of them
            kept = np.stack([standard.baseline.features[CITY, seed] for seed in range(5, 17)]) - reference
            products = scores.sets.videos[CITY].linear[np.ix_(rows, rows)]
            np.testing.assert_allclose(products, kept @ kept.T, rtol=1e-6)

    def test_a_pooled_distance_is_of_equally_many_videos_of_each(
        self, open_gate: OpenGate, looks: Looks
    ) -> None:
        looks.unsettled = [(CITY,)]
        gate = open_gate()
        found = judged(gate, "regression", ALL, "fvd")
        results = gate.results(gate.jobs(gate.candidates[0], gate.scenarios, SEEDS))
        vectors = np.stack([result.features["video"] for result in results])
        standard = gate.judge.standard
        assert found.n == 6
        assert found.value == standard.set_scores(vectors, [CITY, NATURE])["fvd"]
        kept = np.stack([standard.baseline.features[name, seed] for name in (CITY, NATURE) for seed in SEEDS])
        assert found.baseline == standard.set_scores(kept, [CITY, NATURE])["fvd"]
        assert judged(gate, "regression", CITY, "kvd").n == 4
        # a limit too: a scenario that stops early must not be outweighed by those that go on
        limited = judged(gate, "limit", ALL, "fvd")
        assert (limited.n, limited.details["raw"]) == (6, found.value)
        assert judged(gate, "limit", CITY, "fvd").n == 4

    @pytest.mark.parametrize("fewer", [CITY, NATURE])
    def test_base_videos_that_the_baseline_lacks_are_rendered_when_a_look_needs_them(
        self, open_gate: OpenGate, looks: Looks, fewer: str
    ) -> None:
        looks.unsettled = [(CITY, NATURE)] * 3
        gate = open_gate()
        whole, standard = gate.judge.standard.baseline, gate.judge.standard
        short = _shorten(gate, {fewer: 6})
        assert [job.seed for job in standard.lacking] == [11, 12, 13, 14, 15, 16]
        found = judged(gate, "regression", fewer, "sharpness")
        assert looks.plans == [(3, 4, 6, 8, 12)] * 4
        # the first shows that the stored videos are made here as well, the others are of the fourth look
        assert [each for each in made(gate) if each[0] == "base"] == [
            ("base", seed_of, seed) for seed_of, seed in [(CITY, 5), (fewer, 11), (fewer, 12)]
        ]
        place = [metric.id for metric in looks.given[-1].metrics].index("clip")
        base = [whole.scores[fewer][seed]["clip"] for seed in range(5, 13)]
        for given, most in zip(looks.given, (6, 6, 6, 8), strict=True):
            assert given.stored is not None
            np.testing.assert_array_equal(given.stored[fewer][place], base[:most])
        np.testing.assert_array_equal(looks.given[-1].baseline[fewer][place], base)
        assert found.n == 8
        assert found.baseline == np.mean([whole.scores[fewer][seed]["sharpness"] for seed in range(5, 13)])
        assert sorted(short.scores[fewer]) == [5, 6, 7, 8, 9, 10]

    @pytest.mark.parametrize("reason", ["accepted", "unlike", "degenerate", "lost"])
    def test_looks_end_where_a_baseline_ends_that_cannot_be_extended(
        self, open_gate: OpenGate, looks: Looks, reason: str
    ) -> None:
        def change(job: Job, made: Produced) -> Produced:
            if own(job) or reason == "accepted":
                return made
            if reason == "lost":
                raise JobError("no room")
            if reason == "degenerate":
                return dataclasses.replace(made, degenerate="black", scores={})
            return scored(made, sharpness=1.01)

        gate = open_gate(change)
        short = _shorten(gate, {CITY: 6})
        if reason == "accepted":
            of = short.model_copy(
                update={"name": "accepted", "candidate": {"file": "old.safetensors"}, "scale": 0.5}
            )
            gate.judge.standard.baseline = of
            gate.settings = dataclasses.replace(gate.settings, baseline="accepted")
        judged(gate, "regression", CITY, "sharpness")
        assert looks.plans == [(3, 4, 6)]
        cap = gate.judge.standard.capped
        assert cap is not None
        assert (cap.stored, cap.wanted) == (6, 12)
        why = {"accepted": "", "unlike": "has sharpness", "degenerate": "black", "lost": "no room"}[reason]
        assert why in cap.why
        assert bool(cap.why) is (reason != "accepted")
        assert "--update-baselines" in cap.next_command
        # the command that decides takes what the items need; what is stored needs none
        assert "--wanlora-seeds 3:20" in gate.judge.standard.command_for(20)
        assert "--wanlora-seeds 3:12" in gate.judge.standard.command_for(7)
        assert gate.judge.standard.command_for(6) == ""
        if reason == "accepted":
            assert "--lora old.safetensors" in cap.next_command
            assert cap.next_command.index("--wanlora-scale 0.5")
            assert gate.judge.standard.lacking == ()
            # also before the suite asks for more than is stored
            del gate.judge.standard.capped
            gate.suite = gate.suite.model_copy(
                update={"seeds": gate.suite.seeds.model_copy(update={"most": 6})}
            )
            assert gate.judge.standard.capped is None
            assert "--lora old.safetensors" in gate.judge.standard.command_for(7)

    def test_a_base_video_that_cannot_be_rendered_passes_nothing(
        self, open_gate: OpenGate, looks: Looks
    ) -> None:
        def change(job: Job, made: Produced) -> Produced:
            if not own(job) and job.seed == 8:
                raise JobError("no room")
            return made if own(job) or job.seed < 8 else dataclasses.replace(made, degenerate="black")

        looks.unsettled = [(CITY, NATURE)]
        gate = open_gate(change)
        _shorten(gate, {CITY: 3, NATURE: 4})
        found = judged(gate, "regression", CITY, "sharpness")
        assert found.verdict is Verdict.ERROR
        assert "no room" in found.reason
        assert judged(gate, "regression", NATURE, "sharpness").verdict is Verdict.PASS
        assert judged(gate, "videos", CITY, "").verdict is Verdict.ERROR
        black = open_gate(change, cache_dir=gate.settings.cache_dir / "other")
        _shorten(black, {NATURE: 4})
        looks.unsettled = [(NATURE,), (NATURE,)]
        lost = judged(black, "regression", NATURE, "sharpness")
        assert lost.verdict is Verdict.MISSING_BASELINE
        assert "cannot be scored: black" in lost.reason

    def test_a_gap_in_the_baselines_seeds_ends_them(self, open_gate: OpenGate) -> None:
        gate = open_gate()
        stored = _shorten(gate, {CITY: 2})
        assert gate.judge.standard.stored_seeds(CITY) == 2
        stored.scores[CITY][9] = stored.scores[CITY][5]
        assert gate.judge.standard.stored_seeds(CITY) == 2
        found = judged(gate, "regression", CITY, "sharpness")
        assert found.verdict is Verdict.MISSING_BASELINE
        assert "the baseline has 2 seeds of test1_city from 5 on; a first look takes 3" in found.reason
        assert judged(gate, "regression", NATURE, "sharpness").verdict is Verdict.PASS

    @pytest.mark.parametrize(("undecided", "verdict"), [("block", Verdict.UNDECIDED), ("warn", Verdict.WARN)])
    # without evidence the band alone decides, which proves nothing either
    @pytest.mark.parametrize(("metric", "known"), [("sharpness", True), ("fvd", True), ("sharpness", False)])
    def test_the_suite_says_what_an_unproven_loss_does(
        self, open_gate: OpenGate, looks: Looks, metric: str, known: bool, undecided: str, verdict: Verdict
    ) -> None:
        beyond = dataclasses.replace(EVIDENCE, change=0.5, decisive=False, weak=True)
        looks.evidence = {(CITY, metric): beyond} if known else {}
        gate = open_gate(lambda job, made: scored(made, sharpness=0.5) if own(job) else made)
        gate.suite = gate.suite.model_copy(update={"undecided": undecided})
        assert judged(gate, "regression", CITY, metric).verdict is verdict

    def test_only_what_is_chosen_is_compared(self, open_gate: OpenGate, looks: Looks) -> None:
        gate = open_gate()
        gate.select([ItemId("regression", "good", NATURE, "motion")])
        judged(gate, "regression", NATURE, "motion")
        (given,) = looks.given
        # an item alone goes on whatever becomes of others
        assert looks.stops == [False]
        assert (list(given.candidate), [metric.id for metric in given.metrics]) == ([NATURE], ["motion"])
        assert given.sets is None
        assert made(gate) == [("good", NATURE, seed) for seed in SEEDS]


def _shorten(gate: Gate, seeds: Mapping[str, int]) -> baselines.Baseline:
    """Leave only the first seeds of some scenarios in the gate's baseline."""
    whole = gate.judge.standard.baseline
    scores = {
        name: {seed: dict(of[seed]) for seed in sorted(of)[: seeds.get(name, len(of))]}
        for name, of in whole.scores.items()
    }
    short = whole.model_copy(update={"scores": scores})
    gate.judge.standard.baseline = short
    return short
