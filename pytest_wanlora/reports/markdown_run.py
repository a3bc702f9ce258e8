"""Sections of the Markdown page that speak of the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports import analysis, commands, escaping, i18n, sentences
from pytest_wanlora.reports.markdown_tables import Scribe, bullets, heading, table
from pytest_wanlora.reports.summary import signed_change
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import ALL, Verdict

if TYPE_CHECKING:
    from pytest_wanlora.reports.analysis import TrendPoint
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord


def verdicts(record: RunRecord, scribe: Scribe) -> str:
    """Whether each checkpoint may be published and why, in one block."""
    cards = _gated(record)
    if not cards:
        return scribe.say(Page.NO_CANDIDATE)
    lines = []
    for card in cards:
        mark = i18n.MARKS[Verdict.PASS if card.publishable else Verdict.FAIL]
        verdict = sentences.verdict_text(card, scribe.language, scribe.name)
        headline = _not_measured(record, card, scribe)
        if headline:
            mark = i18n.MARKS[Verdict.ERROR]
        reason = sentences.decision_text(record, card, scribe.language, scribe.name)
        lines.append(f"{mark} **{verdict}** {headline}{reason}")
    return lines[0] if len(lines) == 1 else bullets(lines)


def _not_measured(record: RunRecord, card: CandidateCard, scribe: Scribe) -> str:
    """That nothing failed but something could not be measured; empty otherwise."""
    decision = record.decision(card.name)
    if decision.outcome is not RunOutcome.NOT_MEASURED:
        return ""
    told = sentences.outcome_headline(decision.outcome, len(decision.causes), scribe.language)
    return f"**{told[0].upper()}{told[1:]}.** "


def _gated(record: RunRecord) -> list[CandidateCard]:
    return [card for card in record.candidates if card.sha256 is not None]


def overview(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """What was gated, on what, against what."""
    yield heading(2, scribe.say(Page.OVERVIEW))
    rows = [(scribe.say(Page.DATE), scribe.moment(record.started))]
    for card in _gated(record):
        rows += _about(record, card, scribe)
    suite = f"{scribe.name(record.suite.name)}, sha256 {scribe.name(record.suite.sha256)}"
    rows.append((scribe.say(Page.SUITE), suite))
    sampling = record.suite.fingerprint.get("sampling")
    if isinstance(sampling, dict) and {"height", "width", "frames", "steps"} <= sampling.keys():
        numbers = {key: scribe.text(str(sampling[key])) for key in ("height", "width", "frames", "steps")}
        rows.append((scribe.say(Page.SIZE), scribe.say(Page.SIZE_OF, **numbers)))
    looks = record.suite.looks
    if looks:
        fixed = looks[0] == looks[-1]
        page = Page.SEEDS_FIXED if fixed else Page.SEEDS_OF
        rows.append((scribe.say(Page.SEEDS), scribe.say(page, first=looks[0], most=looks[-1])))
    rows.append((scribe.say(Page.BASELINE), _baseline(record, scribe)))
    totals = record.totals
    cost = {"rendered": totals.rendered, "reused": totals.reused, "failed": totals.failed}
    rows.append((scribe.say(Page.COST), scribe.say(Page.COST_OF, **cost)))
    yield table(scribe.head(Page.ITEM, Page.CONTENT), rows, left=2)


def _about(record: RunRecord, card: CandidateCard, scribe: Scribe) -> Iterator[tuple[str, str]]:
    yield scribe.say(Page.FILE), f"{scribe.name(card.name)}, sha256 {scribe.name(card.sha256 or '')}"
    known = card.checkpoint or {}
    if {"format", "dtype", "rank", "targets"} <= known.keys():
        fields = {key: scribe.text(str(known[key])) for key in ("format", "dtype", "rank", "targets")}
        yield scribe.say(Page.LORA), scribe.say(Page.LORA_FORM, **fields, scale=f"{card.scale:g}")
    applied = next(
        (v.applied for v in record.videos if v.candidate == card.name and v.applied is not None), None
    )
    own = [j for j in record.judgements if j.kind == "checkpoint" and j.candidate == card.name]
    if applied is not None and own:
        counts = {key: scribe.text(str(applied.get(key))) for key in ("patched", "targets")}
        mark = scribe.mark(max((j.verdict for j in own), key=lambda verdict: verdict.severity))
        yield scribe.say(Page.APPLIED), f"{mark}, {scribe.say(Page.APPLIED_TO, **counts)}"
    if card.runs > 1:
        yield scribe.say(Page.RUNS), str(card.runs)


def _baseline(record: RunRecord, scribe: Scribe) -> str:
    baseline = record.baseline
    if baseline is None:
        return scribe.say(Page.NO_BASELINE)
    created = scribe.text(baseline.created[:10])
    return scribe.say(Page.BASELINE_OF, name=scribe.name(baseline.name), created=created)


def project_tests(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """The tests of the user's project that belong to the verdict."""
    if not record.project_tests:
        return
    yield heading(2, scribe.say(Page.TESTS))
    yield scribe.say(Page.TESTS_NOTE)
    body = [
        [
            scribe.text(test.name, escaping.LINE),
            sentences.project_test_place(test, scribe.language, scribe.name),
            f"{i18n.MARKS[Verdict.PASS if test.passed else Verdict.FAIL]} "
            + sentences.item_outcome_text(test, scribe.language, scribe.text),
        ]
        for test in record.project_tests
    ]
    yield table(scribe.head(Page.TEST, Page.FILE, Page.VERDICT), body, left=3)


def comparison(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """Several checkpoints side by side: the best, a summary, the course of every metric."""
    cards = _gated(record)
    if not cards:
        return
    yield heading(2, scribe.say(Page.COMPARED))
    yield f"**{sentences.best_text(analysis.best(record), scribe.language, scribe.name)}**"
    head = scribe.head(Page.FILE, Page.VERDICT, Page.FAILS, Page.WARNS, Page.MEAN_LOSS)
    body = []
    for card in cards:
        decision = record.decision(card.name)
        loss = analysis.mean_loss(record, card.name)
        mark = i18n.MARKS[Verdict.PASS if card.publishable else Verdict.FAIL]
        word = scribe.say(Page.PUBLISHABLE if card.publishable else Page.REFUSED)
        failed = len(decision.failing) + len(decision.unmeasured) + len(decision.tests)
        counts = [str(failed), str(len(decision.warnings))]
        body.append(
            [scribe.name(card.name), f"{mark} {word}", *counts, "-" if loss is None else f"{loss[0]:+.2f}"]
        )
    yield table(head, body, left=2)
    yield scribe.say(Page.MEAN_LOSS_NOTE)
    courses = analysis.trend(record)
    for place in (ALL, *analysis.scenarios_of(record)):
        points = {
            metric: [point for point in of if point.scenario == place] for metric, of in courses.items()
        }
        if any(point.verdict is not None for of in points.values() for point in of):
            yield heading(3, scribe.say(Page.TREND, place=scribe.place(place)))
            yield _course(points, [card.name for card in cards], scribe)


def _course(points: Mapping[str, list[TrendPoint]], names: list[str], scribe: Scribe) -> str:
    """One row a checkpoint in their order, one column a metric, and where each metric goes."""
    head = [scribe.say(Page.FILE), *map(scribe.metric, points)]
    body = [
        [scribe.name(name), *(_point(metric, of[index], scribe) for metric, of in points.items())]
        for index, name in enumerate(names)
    ]
    courses = [i18n.DIRECTIONS[analysis.direction(of)].say(scribe.language) for of in points.values()]
    return table(head, [*body, [scribe.say(Page.COURSE), *courses]])


def _point(metric: str, point: TrendPoint, scribe: Scribe) -> str:
    if point.verdict is None:
        return scribe.say(Page.NONE)
    relative = signed_change(metric, point.baseline, point.value, point.change)
    change = "" if relative is None else f" ({sentences.change_text(relative)})"
    return f"{sentences.value_text(metric, point.value)}{change} {i18n.MARKS[point.verdict]}"


def training_data(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """What the checkpoints were trained on, beside what became of the scenarios."""
    card = record.training_data
    if card is None:
        return
    cards = _gated(record)
    yield heading(2, scribe.say(Page.DATA))
    fields = {"prompts": f"{card.prompts:,}", "rows": f"{card.rows:,}", "sha256": f"`{card.sha256}`"}
    yield scribe.say(Page.DATA_OF, file=scribe.name(card.file), **fields)
    body = []
    for scenario, known in card.scenarios.items():
        rare = f" ({scribe.say(Page.RARE)})" if known.rare else ""
        found = [analysis.outcome(record, each.name, scenario).kind for each in cards]
        outcomes = [i18n.OUTCOMES[kind].say(scribe.language) for kind in found]
        # no word list knows the category: nothing can be said of how common it is
        none = scribe.say(Page.NONE)
        prompts = none if known.prompts is None else f"{known.prompts:,}"
        share = none if known.share is None else f"{known.share:.1%}{rare}"
        body.append([scribe.name(scenario), scribe.text(known.category), *outcomes, prompts, share])
    places = scribe.head(Page.SCENARIO, Page.CATEGORY)
    head = [*places, *(scribe.name(each.name) for each in cards), *scribe.head(Page.PROMPTS, Page.SHARE)]
    yield table(head, body, left=2 + len(cards))
    shares = ", ".join(f"{scribe.text(name)} {share:.1%}" for name, share in card.shares.items())
    said = [scribe.say(Page.SHARES, shares=shares)]
    if card.undecided:
        said.append(scribe.say(Page.UNDECIDED, undecided=f"{card.undecided:,}"))
    yield " ".join(said)
    yield bullets(
        [
            *(
                _of(
                    each.candidate,
                    sentences.suspicion_text(each, scribe.language, scribe.name),
                    cards,
                    scribe,
                )
                for each in card.suspicions
            ),
            *(
                _of(each.candidate, sentences.correlation_text(each, scribe.language), cards, scribe)
                for each in card.correlations
            ),
        ]
    )


def _of(candidate: str, sentence: str, cards: list[CandidateCard], scribe: Scribe) -> str:
    return sentence if len(cards) == 1 else f"{scribe.name(candidate)}: {sentence}"


def reading(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """What the marks, the changes and the bands mean."""
    metrics = analysis.metrics_of(record)
    if not metrics:
        return
    yield heading(2, scribe.say(Page.READING))
    marks = ", ".join(scribe.mark(verdict) for verdict in Verdict)
    yield scribe.say(Page.LEGEND, marks=marks)
    yield scribe.say(Page.EVIDENCE_NOTE)
    head = scribe.head(Page.METRIC, Page.GOOD_WAY, Page.WARN_FROM, Page.FAIL_BEYOND, Page.BETTER_FROM)
    yield table(head, [_band(record, metric, scribe) for metric in metrics], left=2)


def _band(record: RunRecord, metric: str, scribe: Scribe) -> list[str]:
    known = record.suite.tolerances.get(metric, {})
    higher = metric not in METRICS or METRICS[metric].higher_is_better
    bounds = [known.get(key) for key in ("warn", "fail", "better")]
    return [
        scribe.metric(metric),
        scribe.say(Page.HIGHER if higher else Page.LOWER),
        *("-" if bound is None else f"{bound:.1%}" for bound in bounds),
    ]


def notes(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """What else a reader must know."""
    lines = [
        *sentences.left_out_lines(
            record.left_out, record.expected, scribe.language, scribe.name, scribe.text
        ),
        *(scribe.text(note) for note in record.notes),
    ]
    if record.baseline is not None:
        lines += [scribe.say(Page.DIFFERS, what=scribe.text(line)) for line in record.baseline.differences]
    lines += [
        scribe.say(
            Page.LOST_VIDEO,
            scenario=scribe.name(lost.scenario),
            seed=lost.seed,
            candidate=scribe.name(lost.candidate),
            why=scribe.text(lost.message),
        )
        for lost in record.failures
    ]
    if lines:
        yield heading(2, scribe.say(Page.NOTES))
        yield bullets(lines)


def reproduce(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    """Where it was measured, and what to type to measure it again."""
    yield heading(2, scribe.say(Page.REPRODUCE))
    yield scribe.say(Page.REPRODUCE_NOTE)
    yield scribe.command(commands.typed(*record.command))
    known: dict[str, Any] = {**record.environment, **record.versions}
    if record.baseline is not None:
        known["baseline sha256"] = record.baseline.digest
    rows = [(scribe.text(str(key)), scribe.name(str(value))) for key, value in known.items()]
    yield table(scribe.head(Page.ITEM, Page.CONTENT), rows, left=2)
