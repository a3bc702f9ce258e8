"""What follows from a receipt's own numbers: items that its suite demands, and the verdict of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import number_of
from pytest_wanlora.publishing.predicate import Predicate, PredicateV1
from pytest_wanlora.verdict.bands import rule
from pytest_wanlora.verdict.evidence import Plan, change
from pytest_wanlora.verdict.judgement import ALL, Evidence, ItemId, Judgement, Verdict
from pytest_wanlora.verdict.standing import FEWEST_VIDEOS

EACH: Final = "each"


def gaps(said: PredicateV1, *, videos: bool) -> Iterable[str]:
    """Say what a receipt lacks of what its own suite demands: items, videos, a baseline.

    Args:
        said: The receipt; version 1 was not held to that.
        videos: Whether items on single videos are demanded, which earlier runs do not have.
    """
    if not isinstance(said, Predicate):
        return
    suite, name = said.suite, said.checkpoint.name
    if not suite.scenarios or not suite.looks or suite.looks[0] < 1:
        yield "its suite has no scenarios or no looks, so nothing was measured"
        return
    demanded = _demanded(said, videos=videos)
    missing = sorted(demanded - set(said.expected))
    if missing:
        many = number_of(len(missing), "item")
        yield f"its suite demands {missing[0]} and {many} in all that it leaves out"
    first = suite.looks[0]
    for scenario in suite.scenarios:
        seeds = said.seeds.get(scenario, ())
        if len(set(seeds)) < first:
            yield f"{scenario}: videos of {number_of(len(set(seeds)), 'seed')}; its suite demands {first}"
    for judged in said.items:
        if judged.candidate == name and judged.kind in ("limit", "regression"):
            least = first * (len(suite.scenarios) if judged.scenario == ALL else 1)
            if judged.n < least and not judged.verdict.fails:
                yield f"{judged.item} rests on {number_of(judged.n, 'video')}; its suite demands {least}"
    if said.baseline is None and any(item.kind in ("regression", "question") for item in demanded):
        yield "it names no baseline, and its suite demands comparisons with one"


def _demanded(said: PredicateV1, *, videos: bool) -> set[ItemId]:
    """Every item that a receipt's suite demands, as a run lists them."""
    suite, name = said.suite, said.checkpoint.name
    found = {ItemId("checkpoint", name, "", "")}
    for limit in suite.limits:
        places = suite.scenarios if limit.scenario == EACH else (limit.scenario,)
        found |= {ItemId("limit", name, place, limit.metric) for place in places}
    found |= {
        ItemId("regression", name, place, metric)
        for place in (*suite.scenarios, ALL)
        for metric in suite.tolerances
    }
    if videos and any(METRICS[metric].level == "video" for metric in suite.tolerances if metric in METRICS):
        found |= {ItemId("videos", name, place, "") for place in suite.scenarios}
    return found | {
        ItemId("question", name, place, metric) for metric, of in suite.questions.items() for place in of
    }


def contradictions(said: PredicateV1) -> Iterator[str]:
    """Say which items are judged to pass, and do not by their own numbers, or whose numbers do not agree."""
    yield from _of_the_times(said)
    for judged in said.items:
        if judged.verdict.fails:
            continue
        yield from _disagreeing(judged, said)
        if judged.kind == "checkpoint" and judged.verdict is not Verdict.WARN and judged.value is None:
            yield f"{judged.item} is judged {judged.verdict}, and says nothing of how it was applied"
        if judged.kind == "limit":
            yield from _of_a_limit(judged, said)
        if judged.kind == "regression":
            yield from _of_a_comparison(judged, said)
        # copies are counted, not tested; of too few clips there is only the warning
        copies = judged.metric == "copies"
        unknown = judged.value is None and not (copies and judged.verdict is Verdict.WARN)
        if judged.kind == "question" and (unknown or (judged.evidence is None and not copies)):
            yield f"{judged.item} is judged {judged.verdict} without the numbers that it follows from"


def _disagreeing(judged: Judgement, said: PredicateV1) -> Iterator[str]:
    """Numbers of an item that cannot be of one measurement."""
    places = said.seeds if judged.scenario == ALL else [judged.scenario]
    most = sum(len(set(said.seeds.get(place, ()))) for place in places)
    if judged.n > most:
        rests = f"{judged.item} rests on {number_of(judged.n, 'video')}"
        yield f"{rests}, and the receipt names the seeds of {most}"
    evidence = judged.evidence
    if evidence is None:
        return
    if evidence.n != judged.n:
        yield f"{judged.item} rests on {number_of(judged.n, 'video')}, and its evidence on {evidence.n}"
    low, high = evidence.low, evidence.high
    room = 1e-6 * max(1.0, abs(evidence.change))
    if low is not None and high is not None and not low - room <= evidence.change <= high + room:
        interval = f"{low:.3g} to {high:.3g}"
        yield f"{judged.item}: its change of {evidence.change:.3g} is not in its interval, {interval}"
    if judged.kind != "regression" or judged.value is None or evidence.value_floor is None:
        return
    above = judged.value - evidence.value_floor
    for limit in said.items:
        alike = (limit.scenario, limit.metric, limit.n) == (judged.scenario, judged.metric, judged.n)
        if limit.kind != "limit" or not alike or limit.value is None:
            continue
        # a distance is limited above its floor, in earlier versions as it is
        if not any(math.isclose(limit.value, known, rel_tol=1e-6) for known in (above, judged.value)):
            yield f"{judged.item}: {above:.6g} above its floor, and {limit.item} has {limit.value:.6g}"


def _of_the_times(said: PredicateV1) -> Iterator[str]:
    try:
        before = datetime.fromisoformat(said.run.finished) < datetime.fromisoformat(said.run.started)
    except (ValueError, TypeError):
        yield f"its run began {said.run.started!r} and ended {said.run.finished!r}: not two times of ISO 8601"
        return
    if before:
        yield f"its run ended {said.run.finished}, before it began, {said.run.started}"


def _of_a_limit(judged: Judgement, said: PredicateV1) -> Iterator[str]:
    """What a limit's item is held to, which must be what its suite demands."""
    known = [
        (limit.min, limit.max)
        for limit in said.suite.limits
        if limit.metric == judged.metric
        and (limit.scenario == judged.scenario or (limit.scenario == EACH and judged.scenario != ALL))
    ]
    if not known:
        yield f"{judged.item} is of a limit that its suite does not have"
    elif (judged.minimum, judged.maximum) not in known:
        low, high = known[0]
        yield (
            f"{judged.item} is held to a minimum of {judged.minimum} and a maximum of {judged.maximum}; "
            f"its suite demands {low} and {high}"
        )


def _of_a_comparison(judged: Judgement, said: PredicateV1) -> Iterator[str]:
    band, metric = said.suite.tolerances.get(judged.metric), METRICS.get(judged.metric)
    if metric is None:
        # of a package that is not installed here; its verdict is all there is
        return
    if band is None:
        yield f"{judged.item} is of a metric that its suite does not compare"
        return
    if judged.change is None or judged.value is None or judged.baseline is None:
        yield f"{judged.item} is judged {judged.verdict} without the numbers that it follows from"
        return
    evidence = judged.evidence
    fail = band.fail if evidence is None else evidence.fail_band(band.fail)
    if judged.fail not in (band.fail, fail):
        yield f"{judged.item} states a fail band of {judged.fail}; by its suite it is {fail:g}"
    if evidence is not None and evidence.band is not None and metric.level != "set":
        yield f"{judged.item} has a band of its own, {evidence.band:g}, which only distances may have"
        return
    for worse in _changes(judged, evidence, higher_is_better=metric.higher_is_better):
        verdict, _ = rule(
            metric,
            worse,
            band,
            None if evidence is None else _tested(evidence),
            undecided="warn" if said.suite.weak == "warn" else "block",
        )
        # fewer videos prove no loss, nothing proves one of another distance; what is not proven may warn
        least = FEWEST_VIDEOS * (len(said.suite.scenarios) if judged.scenario == ALL else 1)
        unproven = evidence is None and (judged.n < least or (metric.level == "set" and metric.id != "fvd"))
        warns = judged.verdict is Verdict.WARN and said.suite.weak == "warn"
        if verdict.fails and not (warns and unproven):
            yield f"{judged.item} is judged {judged.verdict}, and fails by its own numbers: {worse:.3g} worse"
            return
    if evidence is None or evidence.baseline_estimate is None or evidence.value_estimate is None:
        # earlier versions state only what the estimates are near to
        return
    estimates = evidence.baseline_estimate, evidence.value_estimate
    follows = float(change(*estimates, higher_is_better=metric.higher_is_better))
    if not math.isclose(follows, judged.change, rel_tol=1e-6, abs_tol=1e-9):
        yield f"{judged.item} states a change of {judged.change:.3g}; by its estimates it is {follows:.3g}"


def _changes(judged: Judgement, evidence: Evidence | None, *, higher_is_better: bool) -> Iterator[float]:
    """The change as it is stated, in the item and in its evidence, and as it follows from the values."""
    assert judged.change is not None
    assert judged.value is not None
    assert judged.baseline is not None
    yield judged.change
    if evidence is not None and not math.isclose(evidence.change, judged.change, rel_tol=1e-6, abs_tol=1e-9):
        yield evidence.change
    base, value = judged.changed
    # a distance that is all floor has no ratio; its stated change is held to the band above
    if (base, value) == (judged.baseline, judged.value) or base > 0.0:
        yield float(change(base, value, higher_is_better))


def _tested(evidence: Evidence) -> Evidence:
    """The same, significant where its p-value says so."""
    adjusted = evidence.p_adjusted
    return replace(
        evidence, significant=evidence.significant or (adjusted is not None and adjusted <= _ALPHA)
    )


_ALPHA: Final = Plan.alpha
