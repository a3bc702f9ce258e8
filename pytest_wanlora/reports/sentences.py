"""Sentences about a run in a language, for every view: without markup; names are quoted by the view."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from pytest_wanlora.durations import duration
from pytest_wanlora.metrics import METRICS, grade
from pytest_wanlora.phrases import Language
from pytest_wanlora.reports.i18n import (
    ADVICE,
    ADVICE_ALONE,
    BENEATH,
    BENEATH_EXPERT,
    BEST,
    BEST_ALONE,
    HINTS,
    OBJECTIVES,
    ONE_CAUSE,
    RUN_OUTCOMES,
    SEVERAL_CAUSES,
    STORING,
    STRENGTH,
    TESTS,
    VERDICTS,
    WHY_ALONE,
    metric_name,
    metric_names,
)
from pytest_wanlora.reports.next_steps import Step
from pytest_wanlora.reports.summary import Outcome, Row, rows
from pytest_wanlora.reports.trend import Best, objective
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.reports.words_steps import STEPS
from pytest_wanlora.verdict.judgement import ALL, Verdict
from pytest_wanlora.verdict.reasons import reason
from pytest_wanlora.verdict.standing import WAYS, direction

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard, Totals
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.results.training_data import CorrelationCard, SuspicionCard
    from pytest_wanlora.verdict.decision import RunOutcome
    from pytest_wanlora.verdict.judgement import ItemId, ItemOutcome

# more is not told from less: see the table in docs/evidence.md
_LEAST_CHANCE: Final = 0.02
Quote = Callable[[str], str]
"""Makes a name fit for the view: as a code span, as HTML text."""


def outcome_headline(outcome: RunOutcome, causes: int, language: Language) -> str:
    """How a run ended, or one checkpoint's part of it.

    Args:
        outcome: Of the run or of a decision.
        causes: Why something could not be measured, each reason once; of a baseline that could not be
            measured there is one, and no judgement that names it.
        language: `"en"` or `"ko"`.
    """
    counted = (ONE_CAUSE if causes <= 1 else SEVERAL_CAUSES).say(language, count=causes)
    return RUN_OUTCOMES[outcome].say(language, causes=counted)


def verdict_text(record: RunRecord, card: CandidateCard, language: Language, quote: Quote) -> str:
    """Whether a checkpoint may be published, or was stored as a baseline, in a few words."""
    name = quote(card.name) if card.sha256 is None else at_strength(card.name, card.strength, language, quote)
    if (storing := record.storing) is not None:
        key = "stored" if storing.stored else "refused" if storing.refused else "not_measured"
        return STORING[key].say(language, name=name, baseline=quote(storing.name))
    return (Page.MAY if card.publishable else Page.MAY_NOT).say(language, name=name)


def baseline_lines(record: RunRecord, language: Language) -> list[str]:
    """What was compared with beyond the stored baseline, or why it was not though the suite asks for it."""
    card, said = record.baseline, []
    if card is not None and card.added:
        where = "; ".join(f"{name}: {', '.join(map(str, seeds))}" for name, seeds in card.added.items())
        count = sum(map(len, card.added.values()))
        said.append(Page.BASE_ADDED.say(language, count=count, rendered=card.added_rendered, where=where))
    if card is not None and card.cap is not None:
        cap = card.cap
        why = Page.CAP_UNLIKE.say(language, why=cap.why) if cap.why else Page.CAP_ACCEPTED.say(language)
        told = {"stored": cap.stored, "wanted": cap.wanted, "command": cap.next_command}
        said.append(Page.CAP.say(language, why=why, **told))
    return said


def decision_text(record: RunRecord, card: CandidateCard, language: Language, quote: Quote) -> str:
    """Why it may or may not be published."""
    decision = record.decision(card.name)
    expected = len([item for item in record.expected if item.candidate == card.name])
    said = []
    undecided = decision.undecided
    failed = [j for j in decision.failing if not j.verdict.unmeasured and j not in undecided]
    if failed:
        scenarios = [name for name in record.suite.prompts if any(j.scenario == name for j in failed)]
        where = ", ".join(map(quote, scenarios))
        placed = Page.WHERE.say(language, where=where) if where else ""
        said.append(Page.FAILING.say(language, failing=len(failed), expected=expected) + placed + ".")
    if undecided:
        said.append(Page.UNDECIDED_ITEMS.say(language, undecided=len(undecided), expected=expected))
    count = len(decision.unmeasured) + len(decision.failing) - len(failed) - len(undecided)
    if count:
        said.append(Page.UNMEASURED.say(language, unmeasured=count, expected=expected))
    tests = len(record.tests_of(card.name))
    warned = len(decision.warnings)
    storing = record.storing is not None
    # all that it was judged by is not all that it was to be compared with
    clean = not decision.failing and not decision.unmeasured and expected and not storing
    if clean and warned:
        said.append(
            Page.NONE_FAILS.say(language, passing=expected - warned, expected=expected, warnings=warned)
        )
    elif clean:
        said.append(Page.ALL_PASS.say(language, expected=expected) + ".")
    if decision.tests:
        said.append(Page.TESTS_FAIL.say(language, failed=len(decision.tests), tests=tests))
    elif tests and not storing:
        said.append(Page.TESTS_PASS.say(language, tests=tests))
    if decision.run_problem:
        said.append(Page.RUN_FAILED.say(language, exit_status=record.exit_status))
        if others := record.other_failures:
            said.append(Page.OTHERS_FAILED.say(language, count=len(others), first=quote(others[0])))
    if warned and not clean and not storing:
        said.append(Page.WARNING.say(language, warnings=len(decision.warnings)))
    if (record.partial or not expected) and not storing:
        said.append(Page.PARTIAL.say(language))
    return " ".join(filter(None, (*said, other_seeds_text(card, language))))


def other_seeds_text(card: CandidateCard, language: Language) -> str:
    """How likely other seeds would end otherwise; empty where that is not known."""
    chance = card.other_seeds
    if chance is None:
        return ""
    if chance < _LEAST_CHANCE:
        return Page.OTHER_SEEDS_AGREE.say(language, chance=_LEAST_CHANCE)
    return Page.OTHER_SEEDS.say(language, chance=chance)


def rendering_time(totals: Totals, language: Language) -> str:
    """How long the videos took; longer than the run where workers rendered beside each other."""
    time = duration(totals.rendering_seconds, language)
    return time if totals.rendering_seconds <= totals.seconds else Page.SUMMED.say(language, time=time)


def item_outcome_text(of: ItemOutcome, language: Language, text: Quote) -> str:
    """What became of a pytest item, with the reason if there is one.

    Args:
        of: The item's outcome.
        language: `"en"` or `"ko"`.
        text: Makes the reason, which is anybody's words, fit for the view.
    """
    return f"{TESTS[of.outcome].say(language)}{f': {text(of.detail)}' if of.detail else ''}"


def left_out_lines(
    left_out: Iterable[ItemOutcome],
    expected: Iterable[ItemId],
    language: Language,
    quote: Quote,
    text: Quote,
) -> tuple[str, ...]:
    """What was left out of a run, a line for each checkpoint and reason, or for all that were left out whole.

    Args:
        left_out: Of the record.
        expected: All items that were demanded.
        language: `"en"` or `"ko"`.
        quote: For names.
        text: For anybody's words.
    """
    demanded: dict[str, set[str]] = {}
    for item in expected:
        demanded.setdefault(item.candidate, set()).add(str(item))
    grouped: dict[tuple[str, str], list[str]] = {}
    for each in left_out:
        candidate = each.candidate or ""
        demanded.setdefault(candidate, set()).add(each.name)
        grouped.setdefault((candidate, item_outcome_text(each, language, text)), []).append(each.name)
    lines: dict[tuple[str, ...], list[str]] = {}
    for (candidate, why), names in grouped.items():
        whole = len(names) == len(demanded[candidate])
        lines.setdefault((why,) if whole else (why, candidate), []).append(candidate)
    return tuple(
        Page.LEFT_OUT.say(
            language,
            name=", ".join(map(quote, of)),
            count=sum(len(grouped[candidate, why]) for candidate in of),
            expected=sum(len(demanded[candidate]) for candidate in of),
            first=quote(grouped[of[0], why][0]),
            why=why,
        )
        for (why, *_), of in lines.items()
    )


def project_test_place(test: ItemOutcome, language: Language, quote: Quote) -> str:
    """The checkpoint that a project test is about, or all of them."""
    return Page.EVERY_CHECKPOINT.say(language) if test.candidate is None else quote(test.candidate)


def project_test_line(test: ItemOutcome) -> str:
    """A project test in one line of plain English."""
    place = project_test_place(test, "en", str)
    return f"{test.name} ({place}): {item_outcome_text(test, 'en', str)}"


def value_text(metric: str, value: float | None) -> str:
    """A value with its unit, and its grade if it has one; a dash where there is none."""
    if value is None or metric not in METRICS:
        return "-"
    graded = f" ({grade(value)})" if metric == "overall" else ""
    return METRICS[metric].format(value) + graded


def difference_text(metric: str, difference: float | None, language: Language) -> str:
    """A signed difference in the metric's unit; that of percentages is in points."""
    if difference is None or metric not in METRICS:
        return "-"
    known = METRICS[metric]
    unit = f" {Page.POINTS.say(language)}" if known.unit == "%" else ""
    return _signed(f"{difference:+.{known.digits}f}") + unit


def change_text(relative: float | None) -> str:
    """A signed relative change in percent."""
    return "-" if relative is None else _signed(f"{relative:+.1%}")


def _signed(number: str) -> str:
    """No sign where nothing is left after rounding."""
    return number if any(digit in number for digit in "123456789") else number.lstrip("+-")


def outcome_text(record: RunRecord, candidate: str, outcome: Outcome, language: Language) -> str:
    """What became of a scenario, in one to a few sentences."""
    compared = {row.metric: row for row in rows(record, candidate) if row.scenario == outcome.scenario}
    weak = tuple(metric for metric in outcome.weak if metric in compared)
    spoilt = tuple(
        metric for metric in outcome.failing if compared[metric].judgement.verdict is Verdict.DEGENERATE
    )
    failing = tuple(metric for metric in outcome.failing if metric not in spoilt)
    slight = tuple(metric for metric in outcome.worse if metric not in (*weak, *outcome.failing))

    def say(page: Page, key: str, metrics: tuple[str, ...]) -> list[str]:
        return [page.say(language, **{key: metric_names(metrics, language)})] if metrics else []

    place = ("videos", candidate, outcome.scenario)
    ruined = [j for j in record.judgements if (j.kind, j.candidate, j.scenario) == place]
    said = [
        *(f"{reason(j, language).rstrip('.')}." for j in ruined if j.verdict is Verdict.FAIL),
        *(f"{metric_name(j.metric, language)}: {reason(j, language).rstrip('.')}." for j in outcome.asked),
        *say(Page.FAILED, "failing", failing),
        *say(Page.SPOILT, "metrics", spoilt),
        *say(Page.BROKEN, "metrics", outcome.broken),
        *say(Page.NOT_MEASURED, "metrics", outcome.unmeasured),
        *say(Page.WEAK_LOSS, "metrics", weak),
        *say(Page.SLIGHT, "worse", slight),
    ]
    if not compared and not said:
        return (Page.NOTHING if outcome.kind == "unmeasured" else Page.NONE_COMPARED).say(language)
    if outcome.kind == "success" and not said:
        said = say(Page.SUCCESS, "better", outcome.better) or [Page.HELD.say(language)]
    return " ".join(said)


def outcome_lines(record: RunRecord, candidate: str, outcome: Outcome, language: Language) -> tuple[str, ...]:
    """The scenario's changes that matter, worst first, then what was kept, and the worst video."""
    compared = [row for row in rows(record, candidate) if row.scenario == outcome.scenario]
    told = [row for row in compared if row.judgement.verdict not in (Verdict.PASS,) and row.value is not None]
    told.sort(key=lambda row: row.judgement.gravity)
    lines = [comparison_line(row, language) for row in told]
    kept = tuple(row.metric for row in compared if row.judgement.verdict is Verdict.PASS)
    if kept:
        lines.append(Page.KEPT_LINE.say(language, metrics=metric_names(kept, language)))
    losses = [row for row in told if row.judgement.worst is not None and row.metric in outcome.worse]
    for row in losses[:1]:
        worst = row.judgement.worst
        if worst is not None:
            lines.append(
                Page.WORST_LINE.say(
                    language,
                    metric=metric_name(row.metric, language),
                    seed=worst.seed,
                    value=value_text(row.metric, worst.value),
                    baseline=value_text(row.metric, worst.baseline),
                )
            )
    return tuple(lines)


def comparison_line(row: Row, language: Language) -> str:
    """A comparison in one line: the metric, both values, and how it is to be taken."""
    judged = row.judgement
    gained = judged.change is not None and judged.change <= 0.0
    known = {
        Verdict.BETTER: Page.BETTER_LINE,
        Verdict.WARN: Page.RISE_LINE if gained else Page.WORSE_LINE,
        Verdict.FAIL: Page.FAIL_LINE,
    }
    metric = METRICS[judged.metric]
    return known.get(judged.verdict, Page.OTHER_LINE).say(
        language,
        way=WAYS[direction(metric, -1.0, Verdict.WARN)].say(language),
        verdict=VERDICTS[judged.verdict].say(language),
        why=reason(judged, language),
        metric=metric_name(row.metric, language),
        baseline=value_text(row.metric, row.baseline),
        value=value_text(row.metric, row.value),
        relative=change_text(row.relative),
        fail=judged.fail or 0.0,
    )


def best_text(found: Best, language: Language, quote: Quote) -> str:
    """Which checkpoint to publish, and why."""
    return " ".join(filter(None, (best_advice(found, language, quote), best_reason(found, language, quote))))


def best_advice(found: Best, language: Language, quote: Quote) -> str:
    """Which checkpoint to publish, and on what condition; empty where none may be."""
    if found.candidate is None:
        return ""
    advice = ADVICE_ALONE if "exit_status" in found.numbers else ADVICE
    return advice.say(language, best=at_strength(found.candidate, found.strength, language, quote))


def half_name(expert: str, language: Language) -> str:
    """What a half of a pair is: the LoRA of which expert."""
    return (Page.HALF_HIGH if expert == "high" else Page.HALF_LOW).say(language)


def beneath(record: RunRecord, language: Language, quote: Quote) -> str:
    """The LoRAs that lay on the model below baseline and checkpoint, in their order; empty without any."""
    return ", ".join(
        (BENEATH_EXPERT if each.expert else BENEATH).say(
            language, file=quote(each.file), expert=each.expert, scale=each.scale
        )
        for each in record.suite.stack
    )


def hints(card: CandidateCard, language: Language) -> tuple[str, ...]:
    """What is unusual about a checkpoint's file."""
    has = next(iter(card.halves), "")
    named = {"has": has, "other": "low" if has == "high" else "high"}
    return tuple(
        HINTS[code].say(language, **named) if code in HINTS and has else words
        for code, words in card.told("hints")
    )


def at_strength(name: str, strength: str, language: Language, quote: Quote) -> str:
    """A checkpoint's name, with its strength if that is another than the one that is meant without a word."""
    if strength == "1" or name.endswith(f"@{strength.replace(' ', '')}"):
        return quote(name)
    return STRENGTH.say(language, name=quote(name), strength=strength)


def best_reason(found: Best, language: Language, quote: Quote) -> str:
    """Why that one, or why none."""
    fields = {key: quote(value) if isinstance(value, str) else value for key, value in found.numbers.items()}
    fields["objective"] = OBJECTIVES[found.objective].say(language)
    known = {**BEST, **BEST_ALONE} if fields.get("candidates") == 1 else BEST
    said = known[found.reason_key].say(language, best=quote(found.candidate or ""), **fields)
    if found.candidate is None or "exit_status" not in fields:
        return said
    return f"{WHY_ALONE.say(language, **fields)} {said}"


def objective_text(record: RunRecord, language: Language) -> str:
    """What better means."""
    return OBJECTIVES[objective(record)].say(language)


def step_text(step: Step, language: Language, quote: Quote, text: Quote) -> str:
    """What to do, in words; its command is the step's own.

    Args:
        step: What to do.
        language: `"en"` or `"ko"`.
        quote: For names.
        text: For anybody's words.
    """
    fields = {
        key: (text if key == "words" else quote)(value) if isinstance(value, str) else value
        for key, value in step.numbers.items()
    }
    place = Page.ALL_SCENARIOS.say(language) if step.scenario == ALL else quote(step.scenario)
    return STEPS[step.key].say(
        language, scenario=place, metrics=metric_names(step.metrics, language), **fields
    )


def suspicion_text(found: SuspicionCard, language: Language, quote: Quote) -> str:
    """That a scenario regressed and its category is rare, with what speaks against it."""
    loss = "" if found.change is None else Page.SUSPICION_LOSS.say(language, loss=found.change)
    said = Page.SUSPICION.say(
        language,
        scenario=quote(found.scenario),
        metric=metric_name(found.metric, language),
        loss=loss,
        category=quote(found.category),
        share=found.share,
        commonest=quote(found.commonest),
        commonest_share=found.commonest_share,
    )
    if found.against:
        said += " " + Page.AGAINST.say(language, against=", ".join(map(quote, found.against)))
    return said


def correlation_text(found: CorrelationCard, language: Language) -> str:
    """Whether rare categories became worse on the whole."""
    page = Page.RARER_WORSE if found.key == "the_rarer_the_worse" else Page.CHANCE
    return page.say(
        language,
        scenarios=found.scenarios,
        categories=found.categories,
        rho=found.rho,
        p_value=found.p_value,
    )
