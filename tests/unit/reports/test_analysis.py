"""Rows, outcomes, averages, limits, targets, and the course over several checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.phrases import LANGUAGES
from pytest_wanlora.reports import i18n, limits, sentences, summary, trend
from pytest_wanlora.reports.trend import TrendPoint
from pytest_wanlora.results.parts import CandidateCard
from pytest_wanlora.suite import Limit
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, Verdict
from tests.unit.reports.records import SCENARIOS, compared, file_judged, limited, run_record, suite_card
from tests.unit.reports.sample_records import EPOCHS, epochs_record, mission_record

CITY, NATURE, ACTION = SCENARIOS
CLIP = Limit(metric="clip", min=1.5, scenario="each")


def failed(verdict: Verdict, metric: str = "clip", kind: Any = "regression") -> Judgement:  # noqa: ANN401 - kind
    return Judgement(kind, "epoch-0", NATURE, metric, verdict, "why")


class TestRows:
    def test_in_the_order_of_the_suite_and_of_the_metrics(self) -> None:
        judgements = [
            compared(ALL, "clip", 1.0, 0.9),
            compared(ACTION, "clip", 1.0, 0.9),
            compared(CITY, "motion", 1.0, 0.9),
            compared(CITY, "fvd", 100.0, 90.0),
            compared(CITY, "clip", 1.0, 0.9),
            compared(CITY, "clip", 1.0, 0.9, candidate="epoch-1"),
        ]
        found = summary.rows(run_record(judgements, names=("epoch-0", "epoch-1")), "epoch-0")
        assert [(row.scenario, row.metric) for row in found] == [
            (CITY, "clip"),
            (CITY, "fvd"),
            (CITY, "motion"),
            (ACTION, "clip"),
            (ALL, "clip"),
        ]

    @pytest.mark.parametrize(
        ("baseline", "value", "difference", "relative"),
        [
            (80.0, 100.0, 20.0, 0.25),
            (-2.0, -1.0, 1.0, 0.5),
            (0.0, 1.0, 1.0, None),
            (None, 1.0, None, None),
            (1.0, None, None, None),
        ],
    )
    def test_changes_are_those_of_the_numbers(
        self, baseline: float | None, value: float | None, difference: float | None, relative: float | None
    ) -> None:
        judged = replace(compared(CITY, "clip", 1.0, 1.0), baseline=baseline, value=value)
        row = summary.rows(run_record([judged]), "epoch-0")[0]
        assert (row.difference, row.relative) == (difference, relative)

    def test_a_scenario_or_metric_that_the_suite_lacks_comes_last(self) -> None:
        odd = [replace(compared(CITY, "clip", 1.0, 1.0), scenario="gone"), compared(CITY, "clip", 1.0, 1.0)]
        odd.append(replace(compared(CITY, "clip", 1.0, 1.0), metric="unheard"))
        found = summary.rows(run_record(odd), "epoch-0")
        assert [(row.scenario, row.metric) for row in found] == [
            (CITY, "clip"),
            (CITY, "unheard"),
            ("gone", "clip"),
        ]


class TestOutcome:
    @pytest.mark.parametrize(
        ("judgements", "kind"),
        [
            ([compared(NATURE, "clip", 1.0, 1.0)], "success"),
            ([compared(NATURE, "fvd", 100.0, 50.0)], "success"),
            ([compared(NATURE, "clip", 1.0, 0.97)], "slight_loss"),
            ([compared(NATURE, "clip", 1.0, 0.97), compared(NATURE, "fvd", 100.0, 50.0)], "slight_loss"),
            ([compared(NATURE, "sharpness", 1.0, 1.5)], "success"),
            ([compared(NATURE, "clip", 1.0, 0.5)], "failure"),
            ([failed(Verdict.DEGENERATE)], "failure"),
            ([failed(Verdict.DEGENERATE), failed(Verdict.ERROR, "fvd")], "failure"),
            ([failed(Verdict.FAIL, kind="limit")], "failure"),
            ([failed(Verdict.MISSING_BASELINE)], "unmeasured"),
            ([failed(Verdict.INCOMPARABLE)], "unmeasured"),
            ([failed(Verdict.ERROR, kind="limit"), compared(NATURE, "clip", 1.0, 1.0)], "unmeasured"),
            ([], "unmeasured"),
        ],
    )
    def test_kinds(self, judgements: list[Judgement], kind: str) -> None:
        assert summary.outcome(run_record(judgements), "epoch-0", NATURE).kind == kind

    def test_an_item_that_nobody_judged_is_unmeasured(self) -> None:
        expected = [ItemId("regression", "epoch-0", NATURE, metric) for metric in ("clip", "fvd")]
        found = summary.outcome(
            run_record([compared(NATURE, "clip", 1.0, 1.0)], expected=expected), "epoch-0", NATURE
        )
        assert (found.kind, found.unmeasured) == ("unmeasured", ("fvd",))

    def test_metrics_are_told_apart(self) -> None:
        found = summary.outcome(epochs_record(), "epoch-0", NATURE)
        assert found.failing == found.worse == ("clip", "fvd", "sharpness", "motion")
        city = summary.outcome(epochs_record(), "epoch-0", CITY)
        assert (city.better, city.worse, city.suspicious) == (("fvd",), ("clip",), ("sharpness",))
        weak = summary.outcome(epochs_record(), "epoch-1", NATURE)
        assert weak.weak == ("fvd",)  # the loss of clip lies within its band
        assert weak.worse == ("clip", "fvd", "sharpness")
        assert not weak.failing

    def test_other_candidates_and_scenarios_have_no_say(self) -> None:
        judgements = [
            compared(NATURE, "clip", 1.0, 1.0),
            compared(CITY, "clip", 1.0, 0.5),
            compared(NATURE, "clip", 1.0, 0.5, candidate="epoch-1"),
        ]
        record = run_record(judgements, names=("epoch-0", "epoch-1"))
        assert summary.outcome(record, "epoch-0", NATURE).kind == "success"

    def test_one_seed_leaves_everything_untested(self) -> None:
        found = summary.outcome(mission_record(), "epoch-0", CITY)
        assert found.untested == ("clip", "fvd", "temporal", "sharpness", "color", "overall")
        assert [each.kind for each in summary.outcomes(mission_record(), "epoch-0")] == [
            "success",
            "failure",
            "slight_loss",
        ]

    @given(st.sampled_from(list(Verdict)), st.floats(-1.0, 1.0))
    def test_what_fails_is_never_a_success(self, verdict: Verdict, change: float) -> None:
        judged = replace(compared(NATURE, "clip", 1.0, 1.0 - change), verdict=verdict)
        kind = summary.outcome(run_record([judged]), "epoch-0", NATURE).kind
        assert (kind in ("failure", "undecided", "unmeasured")) == verdict.fails


class TestAverages:
    def test_plain_means(self) -> None:
        found = summary.averages(mission_record(), "epoch-0")["fvd"]
        assert found.baseline == pytest.approx(407.35 / 3)
        assert found.value == pytest.approx(620.93 / 3)
        assert found.difference == pytest.approx(213.58 / 3)
        assert found.relative == pytest.approx(213.58 / 407.35)
        assert found.scenarios == 3

    def test_what_was_not_measured_is_not_averaged_away(self) -> None:
        judgements = [compared(CITY, "clip", 1.0, 0.9), failed(Verdict.ERROR)]
        judgements += [compared(ACTION, "clip", 1.0, 0.9), compared(ALL, "fvd", 1.0, 0.9)]
        found = summary.averages(run_record(judgements), "epoch-0")
        assert set(found) == {"clip"}
        assert (found["clip"].baseline, found["clip"].value, found["clip"].relative) == (None, None, None)


class TestLimits:
    @pytest.mark.parametrize(
        ("minimum", "maximum", "value", "bound", "margin"),
        [
            (0.3, None, 0.6, 0.3, 1.0),
            (None, 1140.0, 285.0, 1140.0, 0.75),
            (0.3, None, 0.15, 0.3, -0.5),
            (None, 100.0, 150.0, 100.0, -0.5),
            (1.0, 4.0, 3.8, 4.0, 0.05),
            (1.0, 4.0, 1.1, 1.0, 0.1),
            (0.0, None, 1.0, None, None),
            (None, None, 1.0, None, None),
            (0.3, None, None, 0.3, None),
        ],
    )
    def test_the_nearest_bound(
        self,
        minimum: float | None,
        maximum: float | None,
        value: float | None,
        bound: float | None,
        margin: float | None,
    ) -> None:
        found = limits.nearest(minimum, maximum, value)
        assert found[0] == bound
        assert found[1] == (None if margin is None else pytest.approx(margin))

    def test_shares_of_the_bound(self) -> None:
        found = {row.metric: row for row in limits.limit_summaries(mission_record(), "epoch-0")}
        assert found["clip"].scenario == limits.EACH
        assert found["clip"].share == pytest.approx(1.9924, abs=1e-4)
        assert found["clip"].margin == pytest.approx(0.5825 / 0.3 - 1)
        assert found["fvd"].baseline_share == pytest.approx(407.35 / 3 / 1140)

    def test_a_limit_of_each_scenario_has_its_worst_verdict(self) -> None:
        judgements = [limited(CITY, "clip", 2.0, CLIP), limited(NATURE, "clip", 1.0, CLIP)]
        judgements.append(limited(ACTION, "clip", 2.0, CLIP))
        found = limits.limit_summaries(run_record(judgements), "epoch-0")
        assert [(row.scenario, row.judgement.verdict) for row in found] == [(limits.EACH, Verdict.FAIL)]
        assert found[0].margin == pytest.approx(-1 / 3)
        assert found[0].value == pytest.approx(5 / 3)

    def test_one_that_was_not_measured_leaves_no_mean(self) -> None:
        lost = replace(limited(NATURE, "clip", 2.0, CLIP), value=None, verdict=Verdict.ERROR)
        found = limits.limit_summaries(run_record([limited(CITY, "clip", 2.0, CLIP), lost]), "epoch-0")
        assert (found[0].value, found[0].margin, found[0].judgement.verdict) == (None, None, Verdict.ERROR)

    def test_distances_of_other_numbers_of_videos_do_not_compare(self) -> None:
        limit = Limit(metric="fvd", max=2500.0, scenario="all")
        judgements = [compared(ALL, "fvd", 900.0, 800.0, n=24), limited(ALL, "fvd", 800.0, limit, n=12)]
        assert limits.limit_rows(run_record(judgements), "epoch-0")[0].baseline is None
        judgements[1] = limited(ALL, "fvd", 800.0, limit, n=24)
        assert limits.limit_rows(run_record(judgements), "epoch-0")[0].baseline == 900.0

    def test_a_distance_above_its_floor_stands_beside_one_above_its_own(self) -> None:
        limit = Limit(metric="fvd", max=2500.0, scenario="all")
        beside = compared(ALL, "fvd", 900.0, 800.0, n=24)
        told = replace(limited(ALL, "fvd", 300.0, limit, n=24), details={"raw": 800.0, "floor": 500.0})
        assert limits.limit_rows(run_record([beside, told]), "epoch-0")[0].baseline is None
        assert beside.evidence is not None
        known = replace(beside, evidence=replace(beside.evidence, baseline_floor=520.0))
        assert limits.limit_rows(run_record([known, told]), "epoch-0")[0].baseline == 380.0

    def test_rapa(self) -> None:
        assert limits.is_rapa(mission_record())
        assert limits.published_scorers(mission_record())
        assert not limits.is_rapa(epochs_record())
        assert not limits.published_scorers(epochs_record())

    @pytest.mark.parametrize(
        "fingerprint",
        [
            {},
            {"scoring": None},
            {"scoring": {"clip": 1, "video_features": {}}},
            # on whole frames the same network gives other scores
            {
                "scoring": {
                    "clip": {"model": "ViT-B-32", "frame": "whole"},
                    "video_features": {"kind": "torchscript"},
                }
            },
        ],
    )
    def test_scorers_that_nobody_knows_are_not_the_published_ones(self, fingerprint: dict[str, Any]) -> None:
        record = run_record([file_judged()], suite=suite_card(fingerprint=fingerprint))
        assert not limits.published_scorers(record)


def test_targets() -> None:
    record = epochs_record()
    assert [(each.scenario, each.metric, each.reached) for each in limits.targets(record, "epoch-2")] == [
        (CITY, "fvd", True),
        (NATURE, "clip", True),
        (NATURE, "fvd", False),
    ]
    unmeasured = run_record([], suite=record.suite)
    assert [each.reached for each in limits.targets(unmeasured, "epoch-0")] == [None, None, None]


class TestSeveralCheckpoints:
    def test_the_course_follows_the_command_line(self) -> None:
        found = trend.trend(epochs_record())
        assert list(found) == ["clip", "fvd", "sharpness", "motion"]
        nature = [point for point in found["clip"] if point.scenario == NATURE]
        assert [(point.candidate, point.value, point.verdict) for point in nature] == [
            ("epoch-0", 1.640, Verdict.FAIL),
            ("epoch-1", 1.959, Verdict.WARN),
            ("epoch-2", 2.134, Verdict.PASS),
        ]
        assert [point.scenario for point in found["clip"]] == [*SCENARIOS, ALL] * 3

    def test_what_was_not_judged_has_its_place(self) -> None:
        record = run_record([compared(CITY, "clip", 1.0, 1.0)], names=("epoch-0", "epoch-1"), exit_status=0)
        found = trend.trend(record)["clip"]
        assert len(found) == 8
        assert [point.verdict for point in found if point.scenario == CITY] == [Verdict.PASS, None]

    def test_the_model_without_lora_is_no_point(self) -> None:
        base = CandidateCard(name="base", sha256=None, publishable=False, reason="")
        assert trend.trend(run_record([], candidates=(base,))) == {}
        assert trend.best(run_record([], candidates=(base,))).reason_key == "no_candidate"

    @pytest.mark.parametrize(
        ("changes", "direction"),
        [
            ([0.3, 0.2, 0.1], "improving"),
            ([0.1, 0.2, 0.3], "worsening"),
            ([0.1, 0.3, 0.2], "mixed"),
            ([0.1, 0.1], "steady"),
            ([0.1], "unknown"),
            ([], "unknown"),
            ([0.1, None, 0.2], "unknown"),
        ],
    )
    def test_direction(self, changes: list[float | None], direction: str) -> None:
        points = [TrendPoint("c", ALL, 1.0, Verdict.PASS, 1.0, change) for change in changes]
        assert trend.direction(points) == direction

    @pytest.mark.parametrize(
        ("reach", "warn", "direction"),
        [(0.0, 0.05, "steady"), (0.03, 0.0, "steady"), (0.01, 0.01, "improving")],
    )
    def test_a_step_within_the_warn_band_or_the_intervals_is_none(
        self, reach: float, warn: float, direction: str
    ) -> None:
        points = [
            TrendPoint("c", ALL, 1.0, Verdict.PASS, 1.0, change, 8, change - reach, change + reach, warn)
            for change in (0.1, 0.06)
        ]
        assert trend.direction(points) == direction

    def test_the_mean_loss_is_in_fail_bands(self) -> None:
        judgements = [
            compared(CITY, "clip", 1.0, 0.98),  # 0.02 of 0.05
            compared(CITY, "fvd", 100.0, 10.0),  # no more than one band is won
            compared(CITY, "sharpness", 1.0, 3.0),  # suspicious: nothing is won
            compared(ALL, "clip", 1.0, 0.1),  # pooled: counted already
        ]
        loss = trend.loss(run_record(judgements), "epoch-0")
        assert loss is not None
        assert loss[0] == pytest.approx((0.4 - 1.0 + 0.0) / 3)
        assert loss[1] == 3
        assert trend.loss(run_record([failed(Verdict.ERROR)]), "epoch-0") is None

    def test_the_best_has_the_least_mean_loss_of_those_that_may_be_published(self) -> None:
        found = trend.best(epochs_record())
        assert (found.candidate, found.reason_key) == ("epoch-2", "least_loss")
        assert (found.numbers["publishable"], found.numbers["candidates"], found.numbers["next"]) == (
            2,
            3,
            "epoch-1",
        )
        loss = trend.loss(epochs_record(), "epoch-2")
        assert loss is not None
        assert found.numbers["loss"] == loss[0]

    @pytest.mark.parametrize(
        ("values", "candidate", "reason"),
        [
            ((0.99, 0.5), "epoch-0", "only"),
            ((0.97, 0.99), "epoch-1", "least_loss"),
            ((0.99, 0.99), "epoch-0", "tie"),
            ((0.5, 0.4), None, "none"),
        ],
    )
    def test_reasons(self, values: tuple[float, float], candidate: str | None, reason: str) -> None:
        names = EPOCHS[:2]
        judgements = [
            compared(CITY, "clip", 1.0, value, candidate=name)
            for name, value in zip(names, values, strict=True)
        ]
        found = trend.best(run_record(judgements, names=names))
        assert (found.candidate, found.reason_key) == (candidate, reason)

    def test_the_objective_of_the_suite_says_which_is_best(self) -> None:
        # epoch-0 loses a little everywhere, epoch-1 much in one place
        values = {"epoch-0": (0.97, 0.97, 0.97), "epoch-1": (1.0, 1.0, 0.96)}
        judgements = [
            compared(scenario, "clip", 1.0, value, candidate=name)
            for name, of in values.items()
            for scenario, value in zip(SCENARIOS, of, strict=True)
        ]
        best = {}
        for objective in ("mean", "worst"):
            found = trend.best(run_record(judgements, names=[*values], suite=suite_card(objective=objective)))
            assert found.objective == objective
            for language in LANGUAGES:
                meaning = i18n.OBJECTIVES[found.objective].say(language)
                assert meaning in sentences.best_text(found, language, str)
            best[objective] = found.candidate
        assert best == {"mean": "epoch-1", "worst": "epoch-0"}

    def test_none_says_which_is_nearest(self) -> None:
        judgements = [
            compared(scenario, "clip", 1.0, 0.5, candidate=name)
            for name, scenarios in (("epoch-0", SCENARIOS), ("epoch-1", SCENARIOS[:1]))
            for scenario in scenarios
        ]
        found = trend.best(run_record(judgements, names=EPOCHS[:2]))
        assert (found.numbers["nearest"], found.numbers["failing"]) == ("epoch-1", 1)

    def test_a_partial_run_names_none(self) -> None:
        found = trend.best(run_record([compared(CITY, "clip", 1.0, 1.0)], partial=True))
        assert (found.candidate, found.reason_key) == (None, "none_measured")


class TestOverfit:
    def course(self, before: float, now: float, width: float | None) -> trend.Overfit | None:
        judgements = [
            compared(ALL, "clip", 1.0, 1.0 - before, candidate="epoch-0", width=width),
            compared(ALL, "clip", 1.0, 1.0 - now, candidate="epoch-1", width=width),
        ]
        return trend.overfit(run_record(judgements, names=EPOCHS[:2]), "epoch-1")

    def test_what_was_better_before_for_certain(self) -> None:
        found = self.course(0.0, 0.04, 0.01)
        assert found is not None
        assert (found.metric, found.earlier) == ("clip", "epoch-0")
        assert found.before == pytest.approx(0.0)
        assert found.now == pytest.approx(0.04)

    @pytest.mark.parametrize(
        ("before", "now", "width"),
        [
            (0.0, 0.04, 0.03),  # the intervals meet
            (0.035, 0.04, 0.001),  # less than the warn band
            (-0.2, -0.01, 0.01),  # still better than the baseline
            (0.0, 0.04, None),  # no intervals: less than the fail band
            (0.04, 0.0, 0.01),  # it became better
        ],
    )
    def test_what_is_not(self, before: float, now: float, width: float | None) -> None:
        assert self.course(before, now, width) is None

    def test_without_intervals_the_fail_band_decides(self) -> None:
        assert self.course(0.0, 0.06, None) is not None

    def test_the_first_checkpoint_has_nothing_before_it(self) -> None:
        assert trend.overfit(epochs_record(), "epoch-0") is None
