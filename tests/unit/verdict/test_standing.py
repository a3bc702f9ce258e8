"""The words of every view agree with value, band, interval and verdict, whatever was judged."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import LANGUAGES
from pytest_wanlora.reports.i18n import change_of
from pytest_wanlora.reports.sentences import comparison_line
from pytest_wanlora.reports.summary import rows
from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.bands import rule
from pytest_wanlora.verdict.evidence import FEWEST_PAIRS
from pytest_wanlora.verdict.judgement import Evidence, Judgement, Verdict
from pytest_wanlora.verdict.reasons import PARTS, aside, reason
from pytest_wanlora.verdict.standing import (
    FEWEST_VIDEOS,
    STANDINGS,
    WAYS,
    Standing,
    change_words,
    interval_words,
    judged_change,
    standing,
    standing_words,
)
from tests.unit.reports.records import run_record

_SETTLED = {language: STANDINGS[Standing.SETTLED].say(language) for language in LANGUAGES}


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    """A comparison as the gate could make it, with any interval, significance and prediction."""
    metric = METRICS[draw(st.sampled_from(sorted(DEFAULT_TOLERANCES)))]
    tolerance = DEFAULT_TOLERANCES[metric.id]
    change = draw(st.floats(-1.5, 1.5) | st.floats(-0.01, 0.01) | st.just(0.0))
    evidence = None
    if draw(st.booleans()):
        low, high = change - draw(st.floats(0.0, 2.0)), change + draw(st.floats(0.0, 2.0))
        inside, outside, beyond = high < tolerance.fail, low > tolerance.fail, change > tolerance.fail
        known, tested = draw(st.booleans()), draw(st.booleans())
        significant = tested and beyond and draw(st.booleans())
        chance = draw(st.none() | st.floats(0.0, 1.0))
        spared = not beyond and chance is not None and chance <= 0.05
        seconded = tested and outside and not significant and draw(st.booleans())
        weak = not ((beyond and significant) or inside or spared or seconded or (outside and not tested))
        evidence = Evidence(
            n=8,
            looks=(8,),
            change=change,
            low=low if known else None,
            high=high if known else None,
            level=0.9,
            decisive=inside or outside,
            p_value=0.01,
            p_adjusted=0.01,
            tested=tested,
            significant=significant,
            seconded=seconded,
            weak=weak,
            n_enough=draw(st.none() | st.integers(9, 9999)) if weak else None,
            method="paired-t",
            chance_to_fail=chance,
        )
    verdict, code = rule(metric, change, tolerance, evidence)
    sign = -1.0 if metric.higher_is_better else 1.0
    made = Judgement(
        kind="regression",
        candidate="epoch-0",
        scenario="test2_nature",
        metric=metric.id,
        verdict=verdict,
        reason="",
        baseline=2.0,
        value=2.0 + sign * 2.0 * change,
        change=change,
        warn=tolerance.warn,
        fail=tolerance.fail,
        n=8,
        evidence=evidence,
        code=code,
    )
    return replace(made, reason=reason(made))


@given(judgements())
def test_settled_is_said_only_of_an_interval_on_one_side_of_the_band(judged: Judgement) -> None:
    evidence, found = judged.evidence, standing(judged)
    assert judged.fail is not None
    if found is Standing.SETTLED:
        assert evidence is not None
        inside = evidence.high is not None and evidence.high < judged.fail
        outside = evidence.low is not None and evidence.low > judged.fail
        assert inside or (outside and judged.verdict is Verdict.FAIL)
    for language in LANGUAGES:
        assert (standing_words(judged, language) == _SETTLED[language]) == (found is Standing.SETTLED)


@given(judgements())
def test_a_failure_is_never_said_to_be_unlikely_or_open_to_more_seeds(judged: Judgement) -> None:
    if not judged.verdict.fails:
        return
    assert standing(judged) is not Standing.UNLIKELY
    if standing(judged) in (Standing.SETTLED, Standing.WORSE, Standing.BESIDE):
        assert not standing(judged).open
        assert "would have been enough" not in judged.reason
        assert "a chance of" not in judged.reason


@given(judgements())
def test_an_undecided_item_is_never_said_to_be_decided(judged: Judgement) -> None:
    for language in LANGUAGES:
        said = [reason(judged, language), aside(judged, language), standing_words(judged, language)]
        alone = any(STANDINGS[Standing.BAND_ALONE].say(language) in each for each in said) or any(
            PARTS[key].say(language) in each
            for key in ("untested", "band_alone", "one_seed")
            for each in said
        )
        assert not (alone and judged.verdict is Verdict.UNDECIDED)
    assert FEWEST_VIDEOS == FEWEST_PAIRS


@given(judgements())
def test_every_view_gives_one_change_the_same_word_and_the_right_one(judged: Judgement) -> None:
    change = judged.change
    assert change is not None
    words = judged_change(judged)
    assert change_of(judged.metric, change, judged.verdict) == words
    assert f", {words} (band" in judged.reason
    if "worse" in words:
        assert change > 0.0
    if "better" in words:
        assert change < 0.0
        assert judged.verdict is not Verdict.WARN
    if judged.verdict.fails:
        assert "worse" in words
    (row,) = rows(run_record([judged]), "epoch-0")
    line = comparison_line(row, "en")
    if change < 0.0 and judged.verdict is not Verdict.PASS:
        assert "worse" not in line.partition(";")[0]


@given(judgements())
def test_an_interval_reads_in_the_words_of_its_change(judged: Judgement) -> None:
    evidence, words = judged.evidence, interval_words(judged, "en")
    if evidence is None or evidence.low is None or evidence.high is None:
        assert words == ""
        return
    if words == "no change":
        assert max(abs(evidence.low), abs(evidence.high)) < 0.0005
        return
    found = re.fullmatch(
        r"(?P<low>[\d.]+)% ?(?P<gain>better|higher|lower)? to (?P<high>[\d.]+)% (?P<way>\w+)", words
    )
    assert found is not None, words
    first, last = float(found["low"]) / 100, float(found["high"]) / 100
    if found["gain"]:
        bounds = (-first, last)
    else:
        bounds = (first, last) if found["way"] == "worse" else (-last, -first)
    assert bounds == pytest.approx((evidence.low, evidence.high), abs=0.00051)
    assert words in judged.reason
    assert judged.change is not None
    if judged.verdict is Verdict.WARN and judged.change <= 0.0:
        assert "better" not in words


@pytest.mark.parametrize(
    ("change", "words"),
    [(0.0, "no change"), (0.0004, "0.0%"), (-0.0004, "0.0%"), (0.204, "20.4% worse"), (-0.5, "50.0% better")],
)
def test_change_words(change: float, words: str) -> None:
    assert change_words(change, None, Verdict.PASS) == words


@pytest.mark.parametrize("verdict", Verdict)
def test_what_was_not_measured_has_no_standing(verdict: Verdict) -> None:
    judged = Judgement("regression", "c", "s", "clip", verdict, "", fail=0.05)
    assert standing(judged) is Standing.NONE


def test_every_standing_and_way_has_a_phrase() -> None:
    assert set(STANDINGS) == set(Standing)
    assert {"same", "infinite", "worse", "better", "higher", "lower", "range", "across"} == set(WAYS)
