"""Checkpoints of several runs side by side, as long as their scores may be compared at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.errors import IncomparableError
from pytest_wanlora.metrics import METRICS, Metric
from pytest_wanlora.phrases import digits
from pytest_wanlora.reports import i18n, sentences, trend
from pytest_wanlora.reports.commands import checkpoint_file, gate_again, run_folder, typed
from pytest_wanlora.reports.terminal_tables import fitted
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.text_table import aligned
from pytest_wanlora.verdict.judgement import ALL, ItemId, ItemOutcome, Judgement
from pytest_wanlora.verdict.standing import change_words

if TYPE_CHECKING:
    from pytest_wanlora.reports.trend import TrendPoint

SEPARATOR: Final = " + "
"""Between the names of runs that were put together."""

_MARKS: Final = {"pass": "", "better": " +", "warn": " WARN"}


def combine(records: Sequence[RunRecord]) -> RunRecord:
    """Put the checkpoints of several runs into one record, in the order given.

    Checkpoints of one name in several runs get the run's number behind theirs, `epoch-2 #1`. Each keeps the
    decision of its own run, and next steps with the commands of that run; videos for people are left behind.

    Args:
        records: At least one.

    Raises:
        IncomparableError: They were measured in different ways, on different prompts, or against different
            baselines; names what differs.
    """
    first, *others = records
    if not others:
        return first
    for other in others:
        _require_comparable(first, other)
    counts = Counter(card.name for record in records for card in record.candidates)
    renamed = [_renamed(record, counts, number) for number, record in enumerate(records, start=1)]
    prompts = {name: prompt for record in records for name, prompt in record.suite.prompts.items()}
    targets = {name: target for record in records for name, target in record.suite.targets.items()}
    baseline_videos = {
        (video.scenario, video.seed): video.model_copy(update={"preview": None})
        for record in renamed
        for video in record.videos
        if video.role == "baseline"
    }
    baseline_sets = {
        (scored.scenario, scored.n): scored
        for record in renamed
        for scored in record.sets
        if scored.role == "baseline"
    }
    together = first.model_copy(
        update={
            "run_id": SEPARATOR.join(record.run_id for record in records),
            "started": min(record.started for record in records),
            "finished": max(record.finished for record in records),
            "exit_status": max(record.exit_status for record in records),
            "partial": all(record.partial for record in records),
            # files and commands of a candidate are those of its own run
            "storing": None,
            "paths": None,
            "race": None,
            "suite": first.suite.model_copy(update={"prompts": prompts, "targets": targets}),
            "baseline": next((record.baseline for record in records if record.baseline), None),
            "candidates": tuple(card for record in renamed for card in record.candidates),
            "expected": tuple(item for record in renamed for item in record.expected),
            "judgements": tuple(judged for record in renamed for judged in record.judgements),
            "left_out": tuple(each for record in renamed for each in record.left_out),
            "project_tests": tuple(test for record in renamed for test in record.project_tests),
            # each card keeps the decision of its run; the exit code of one run says nothing about another
            "other_failures": None,
            "failures": tuple(failure for record in renamed for failure in record.failures),
            "videos": (
                *baseline_videos.values(),
                *(
                    video.model_copy(update={"preview": None})
                    for record in renamed
                    for video in record.videos
                    if video.role == "candidate"
                ),
            ),
            "sets": (
                *baseline_sets.values(),
                *(scored for record in renamed for scored in record.sets if scored.role == "candidate"),
            ),
            "notes": tuple(dict.fromkeys(note for record in records for note in _notes(first, record))),
        }
    )
    return together.joined(
        {
            made.name: record.own(card)
            for record, named in zip(records, renamed, strict=True)
            for card, made in zip(record.candidates, named.candidates, strict=True)
        }
    )


def _require_comparable(first: RunRecord, other: RunRecord) -> None:
    names = f"{first.run_id} and {other.run_id}"
    together = _on_one_suite(first, other)
    for what, one, two in (
        ("fingerprint", first.suite.fingerprint, other.suite.fingerprint),
        ("metrics", first.suite.metrics, other.suite.metrics),
    ):
        if (differs := _difference(one, two)) is not None:
            apart = "" if together else "\nTheir suites are for different models, so no suite can gate both."
            raise IncomparableError(
                f"{names} cannot be compared: {what}.{differs}; allowed: checkpoints gated on one suite"
                f"{apart}",
                next_command=together or " && ".join(map(_shown, (first, other))),
            )
    for scenario in [name for name in first.suite.prompts if name in other.suite.prompts]:
        if first.suite.prompts[scenario] != other.suite.prompts[scenario]:
            raise IncomparableError(
                f"{names} cannot be compared: scenario {scenario} has another prompt in each; "
                "allowed: checkpoints gated on one suite",
                next_command=together,
            )
    one_base, two_base = first.baseline, other.baseline
    if one_base is not None and two_base is not None and one_base.digest != two_base.digest:
        raise IncomparableError(
            f"{names} cannot be compared: their baselines differ: {one_base.name} of {one_base.created}, "
            f"{two_base.name} of {two_base.created}; allowed: checkpoints gated against one baseline",
            next_command=together,
        )


def _on_one_suite(first: RunRecord, other: RunRecord) -> str:
    """Gate the checkpoints of both runs on the suite of the first; empty for LoRAs of different models."""
    if first.suite.fingerprint.get("model") != other.suite.fingerprint.get("model"):
        return ""
    gated = [(run, card) for run in (first, other) for card in run.candidates if card.sha256 is not None]
    files = dict.fromkeys(checkpoint_file(run, card) for run, card in gated)
    scales = sorted({card.scale for _, card in gated})
    strengths = ("--wanlora-scale", ",".join(map(digits, scales))) if scales != [1.0] else ()
    return gate_again(*gated[0], *strengths, files=tuple(files)) if gated else ""


def _shown(run: RunRecord) -> str:
    return typed("python", "-m", "pytest_wanlora", "show", run_folder(run))


def _difference(one: object, two: object) -> str | None:
    """The first place where two documents differ, with what each has there."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in sorted({*one, *two}):
            deeper = _difference(one.get(key), two.get(key))
            if deeper is not None:
                return f"{key}{deeper if deeper.startswith(' ') else f'.{deeper}'}"
        return None
    return None if one == two else f" is {_short(one)} and {_short(two)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _notes(first: RunRecord, record: RunRecord) -> Iterator[str]:
    yield from record.notes
    if record.partial:
        what = "was partial" if record.storing is None else f"was to store {record.storing.name!r}"
        yield f"{record.run_id} {what}: nothing of it may be published"
    if record.suite.sha256 != first.suite.sha256:
        yield (
            f"{record.run_id} was gated by another version of the suite's file; its prompts are the same, "
            "its limits and bands may not be: each verdict is that of its own run"
        )
    for key in ("device_name", "torch", "diffsynth"):
        here, there = first.environment.get(key), record.environment.get(key)
        if here != there:
            yield f"{key}: {here} in {first.run_id}, {there} in {record.run_id}"


def _renamed(record: RunRecord, counts: Mapping[str, int], number: int) -> RunRecord:
    """The record with names that no other run's checkpoint has."""
    names = {
        card.name: card.name if counts[card.name] == 1 else f"{card.name} #{number}"
        for card in record.candidates
    }

    def item(of: ItemId) -> ItemId:
        return replace(of, candidate=names.get(of.candidate, of.candidate))

    def judged(of: Judgement) -> Judgement:
        return replace(of, candidate=names.get(of.candidate, of.candidate))

    def told(of: ItemOutcome) -> tuple[ItemOutcome, ...]:
        # a test of every checkpoint of its run is none of every checkpoint of them all
        about = names if of.candidate is None else [of.candidate]
        return tuple(replace(of, candidate=names.get(name, name)) for name in about)

    return record.model_copy(
        update={
            "left_out": tuple(each for of in record.left_out for each in told(of)),
            "project_tests": tuple(each for of in record.project_tests for each in told(of)),
            "candidates": tuple(
                card.model_copy(update={"name": names[card.name]}) for card in record.candidates
            ),
            "expected": tuple(item(each) for each in record.expected),
            "judgements": tuple(judged(each) for each in record.judgements),
            "failures": tuple(
                each.model_copy(update={"candidate": names.get(each.candidate, each.candidate)})
                for each in record.failures
            ),
            "videos": tuple(
                each.model_copy(update={"candidate": names[each.candidate]})
                if each.role == "candidate" and each.candidate in names
                else each
                for each in record.videos
            ),
            "sets": tuple(
                each.model_copy(update={"candidate": names[each.candidate]})
                if each.role == "candidate" and each.candidate in names
                else each
                for each in record.sets
            ),
        }
    )


def document(record: RunRecord) -> dict[str, Any]:
    """The comparison as plain JSON data.

    Args:
        record: A run, or several `combine`d.
    """
    best = trend.best(record)
    return {
        "suite": record.suite.name,
        "runs": record.run_id.split(SEPARATOR),
        "checkpoints": [
            {
                "name": card.name,
                "sha256": card.sha256,
                "scale": card.scale,
                "strengths": {expert: half.strength for expert, half in card.halves.items()},
                "publishable": card.publishable,
                "reason": card.reason,
                "runs": card.runs,
                "project_tests": [
                    {"name": test.name, "outcome": test.outcome.value, "detail": test.detail}
                    for test in record.tests_of(card.name)
                ],
            }
            for card in record.candidates
            if card.sha256 is not None
        ],
        "trend": [
            {
                "metric": metric,
                "scenario": scenario,
                "higher_is_better": METRICS[metric].higher_is_better,
                "direction": trend.direction(points),
                "values": [
                    {
                        "checkpoint": point.candidate,
                        "value": point.value,
                        "baseline": point.baseline,
                        "change": point.change,
                        "verdict": None if point.verdict is None else point.verdict.value,
                        "n": point.n,
                    }
                    for point in points
                ],
            }
            for metric, scenario, points in _courses(record)
        ],
        "best": {
            "checkpoint": best.candidate,
            "reason": best.reason_key,
            "numbers": dict(best.numbers),
        },
        "notes": list(record.notes),
    }


def lines(record: RunRecord) -> list[str]:
    """The comparison as a table: a line for each metric and scenario, a column for each checkpoint.

    Args:
        record: A run, or several `combine`d.
    """
    cards = [card for card in record.candidates if card.sha256 is not None]
    if not cards:
        return [f"{record.run_id}: no checkpoint was gated"]
    rows = [["metric", "scenario", "baseline", *(card.name for card in cards), "course"]]
    previous = ""
    for name, scenario, points in _courses(record):
        metric = METRICS[name]
        arrow = "higher" if metric.higher_is_better else "lower"
        # distances of different numbers of videos do not compare, nor do their baselines
        uneven = metric.level == "set" and len({point.n for point in points if point.value is not None}) > 1
        bases = dict.fromkeys(metric.format(p.baseline) for p in points if p.baseline is not None)
        # of other seeds the baseline has another value: each verdict is beside the change that it is of
        apart = uneven or len(bases) > 1
        shown = [_cell(metric, point, counted=uneven, apart=apart) for point in points]
        rows.append(
            [
                f"{metric.title}, {arrow} is better" if name != previous else "",
                scenario,
                "-" if apart else next(iter(bases), "-"),
                *shown,
                i18n.DIRECTIONS[trend.direction(points)].en if len(points) > 1 else "",
            ]
        )
        previous = name
    if {card.strength for card in cards} != {"1"}:
        rows.append(["strength", "", "", *(card.strength for card in cards), ""])
    if record.project_tests:
        rows.append(["project tests", "", "", *(_tests(record, card.name) for card in cards), ""])
    decided = ["may be published" if card.publishable else "no" for card in cards]
    rows.append(["decision", "", "", *decided, ""])
    table = aligned(rows, left={0, 1, len(rows[0]) - 1})
    runs = record.run_id.split(SEPARATOR)
    head = [f"suite {record.suite.name}"]
    if len(runs) > 1:
        head += [f"run {number}: {name}" for number, name in enumerate(runs, start=1)]
    notes = [
        f"project test {sentences.project_test_line(test)}"
        for test in record.project_tests
        if not test.passed
    ]
    notes += [f"note: {note}" for note in record.notes]
    return [*head, "", *table, "", *fitted([best_line(record), *notes])]


def _tests(record: RunRecord, candidate: str) -> str:
    tests = record.tests_of(candidate)
    passed = sum(test.passed for test in tests)
    return "-" if not tests else f"{passed} of {len(tests)} pass{'' if passed == len(tests) else ' FAIL'}"


def best_line(record: RunRecord) -> str:
    """Which checkpoint to publish, and why that one."""
    return sentences.best_text(trend.best(record), "en", str)


def _cell(metric: Metric, point: TrendPoint, *, counted: bool, apart: bool) -> str:
    value = "-" if point.value is None else metric.format(point.value)
    beside = [f"n = {point.n}"] if counted else []
    if apart and point.change is not None and point.verdict is not None:
        beside.append(change_words(point.change, metric, point.verdict))
    value += f" ({', '.join(beside)})" if beside else ""
    verdict = "" if point.verdict is None else point.verdict.value
    return value + _MARKS.get(verdict, f" {verdict.replace('_', ' ').upper()}" if verdict else "")


def _courses(record: RunRecord) -> Iterator[tuple[str, str, tuple[TrendPoint, ...]]]:
    """Metric, scenario and its points in the order of the checkpoints; the pooled one first."""
    for metric, points in trend.trend(record).items():
        if metric not in METRICS:
            continue
        for scenario in (ALL, *record.suite.prompts):
            chosen = tuple(point for point in points if point.scenario == scenario)
            if any(point.value is not None or point.verdict is not None for point in chosen):
                yield metric, scenario, chosen
