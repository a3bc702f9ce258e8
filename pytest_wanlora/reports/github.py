"""What GitHub Actions shows of a run: the job summary and annotations, within their limits."""

# no `from __future__ import annotations`: it would take the name of the function

from collections.abc import Iterable
from itertools import zip_longest
from typing import Final

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import i18n, markdown, sentences, trend
from pytest_wanlora.reports.escaping import plain
from pytest_wanlora.reports.markdown_filters import blocks
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.results.parts import CandidateCard
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

#: Bytes of a summary: GitHub drops one above 1 MiB a step, and others may write to the same step.
LIMIT: Final = 1_000_000
#: Annotations of one kind that GitHub shows of a step.
MOST: Final = 10
_TITLE = 200
_MESSAGE = 2000


def summary(record: RunRecord, limit: int = LIMIT, *, language: Language = "en") -> str:
    """One screen of Markdown for `$GITHUB_STEP_SUMMARY`, cut to what fits; the verdict comes first.

    Args:
        record: The run.
        limit: Bytes in UTF-8.
        language: `"en"` or `"ko"`.

    Returns:
        The page, or as many of its blocks as fit and a sentence that says so.

    Raises:
        ValueError: The limit has no room for that sentence.
    """
    whole = markdown.short(record, language)
    if len(whole.encode()) <= limit:
        return whole
    told = Page.SUMMARY_CUT.say(language) + "\n"
    room = limit - len(told.encode())
    if room < 0:
        raise ValueError(f"a summary needs at least {len(told.encode())} bytes, the limit is {limit}")
    kept: list[str] = []
    for block in blocks(whole):
        size = len(block.encode()) + 2
        if size > room:
            kept.append(_lines(block, room))
            break
        kept.append(block)
        room -= size
    return "".join(f"{block}\n\n" for block in kept if block) + told


def _lines(block: str, room: int) -> str:
    """As many whole lines of a block as fit; none of a block of code, whose fence must close."""
    if block.startswith("```"):
        return ""
    kept: list[str] = []
    for line in block.splitlines():
        room -= len(line.encode()) + 1
        if room < 1:
            break
        kept.append(line)
    return "\n".join(kept)


def annotations(record: RunRecord) -> tuple[str, ...]:
    """Workflow commands that annotate the run: an error for each reason to refuse, then the warnings.

    Each candidate has its turn, worst first, so that the limit of ten hides no candidate while others have
    several; the last line of a kind says how many more there are.

    Args:
        record: The run.

    Returns:
        Lines to print as they are, each on a line of its own.
    """
    cards = [card for card in record.candidates if card.sha256 is not None]
    errors = _turns([_errors(record, card) for card in cards])
    if not cards and record.race is not None:
        errors.append(("race", sentences.best_reason(trend.best(record), "en", str)))
    warnings = _turns([_warnings(record, card) for card in cards])
    return (*_most("error", errors), *_most("warning", warnings))


def _turns(of: Iterable[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [each for turn in zip_longest(*of) for each in turn if each is not None]


def _errors(record: RunRecord, card: CandidateCard) -> list[tuple[str, str]]:
    decision = record.decision(card.name)
    # what fails for one reason in many places is one annotation
    grouped: dict[tuple[Verdict, str], list[Judgement]] = {}
    for judged in decision.failing:
        grouped.setdefault((judged.verdict, judged.explained), []).append(judged)
    found = [
        (_title(card, of), f"{reason}{f' ({len(of)} checks)' if len(of) > 1 else ''}")
        for (_, reason), of in grouped.items()
    ]
    found += [
        (f"{card.name}: project test", f"{test.name}: {sentences.item_outcome_text(test, 'en', str)}")
        for test in decision.tests
    ]
    if decision.unmeasured:
        count, first = len(decision.unmeasured), str(decision.unmeasured[0])
        why = {each.name: sentences.item_outcome_text(each, "en", str) for each in record.left_out}.get(first)
        found.append(
            (
                card.name,
                f"checks that were not measured: {count}, the first {first}{f': {why}' if why else ''}",
            )
        )
    if decision.run_problem:
        found.append((card.name, decision.run_problem))
    if not card.publishable and not found:
        found.append((card.name, f"may not be published: {card.reason}"))
    return found


def _warnings(record: RunRecord, card: CandidateCard) -> list[tuple[str, str]]:
    return [(_title(card, [judged]), judged.explained) for judged in record.decision(card.name).warnings]


def _title(card: CandidateCard, of: list[Judgement]) -> str:
    first = of[0]
    verdict = i18n.VERDICTS[first.verdict].en
    if first.kind == "checkpoint":
        return f"{card.name}: {verdict}, the LoRA file"
    place = "all scenarios" if first.scenario == ALL else first.scenario
    metric = "videos" if first.kind == "videos" else i18n.title_of(first.metric)
    limit = " (absolute limit)" if first.kind == "limit" else ""
    return f"{card.name}: {verdict}, {metric} of {place}{limit}"


def _most(kind: str, found: list[tuple[str, str]]) -> list[str]:
    shown = found if len(found) <= MOST else found[: MOST - 1]
    lines = [_command(kind, title, message) for title, message in shown]
    if len(shown) < len(found):
        more = f"and {len(found) - len(shown)} more; the job summary and the report have all of them"
        lines.append(_command(kind, "pytest-wanlora", more))
    return lines


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(value: str) -> str:
    return plain(value, _MESSAGE, "en").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    line = plain(value, _TITLE, "en").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return line.replace(":", "%3A").replace(",", "%2C")
