"""The Markdown page of a run in English and Korean; `templates/report.md.j2` holds its form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from pytest_wanlora.checkpoint import reads_in
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import commands, i18n, limits, race, sentences, summary, trend
from pytest_wanlora.reports.limits import LimitRow
from pytest_wanlora.reports.markdown_filters import Filters, blocks, environment, markdown
from pytest_wanlora.reports.next_steps import Step, next_steps, race_on
from pytest_wanlora.reports.summary import Average, Outcome, OutcomeKind, Row
from pytest_wanlora.reports.terminal_tables import headline
from pytest_wanlora.reports.trend import TrendPoint
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import ALL, Evidence, ItemId, Judgement, Verdict
from pytest_wanlora.verdict.standing import Standing, standing, standing_words

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.results.training_data import TrainingDataCard

#: Checkpoints in the table of the short page.
_MOST_CHECKPOINTS: Final = 10
_OUTCOME_VERDICTS: Final[dict[OutcomeKind, Verdict]] = {
    "success": Verdict.PASS,
    "slight_loss": Verdict.WARN,
    "undecided": Verdict.UNDECIDED,
    "failure": Verdict.FAIL,
    "unmeasured": Verdict.MISSING_BASELINE,
}


def page(record: RunRecord, language: Language) -> str:
    """The whole page, the verdict and what to do about it first.

    Args:
        record: The run.
        language: `"en"` or `"ko"`.
    """
    return _rendered("report.md.j2", record, language)


def short(record: RunRecord, language: Language) -> str:
    """The same on one screen: what to publish, the worst of what fails, the first thing to do.

    Args:
        record: The run.
        language: `"en"` or `"ko"`.
    """
    return _rendered("summary.md.j2", record, language)


def _rendered(name: str, record: RunRecord, language: Language) -> str:
    cards = [card for card in record.candidates if card.sha256 is not None]
    template = environment(language).get_template(name)
    made = template.render(
        summary=summary,
        limits=limits,
        trend=trend,
        record=record,
        cards=cards,
        most=_MOST_CHECKPOINTS,
        view=_View(record, cards, Filters(language)),
    )
    return "\n\n".join(blocks(made)) + "\n"


class _View:
    """What the template shows and cannot read from the record: sentences, groups, choices."""

    def __init__(self, record: RunRecord, cards: Sequence[CandidateCard], filters: Filters) -> None:
        self._record, self._cards, self._to = record, cards, filters
        self._language = filters.language
        accepted = record.baseline is not None and record.baseline.sha256 is not None
        self.base = "ACCEPTED" if accepted else "BASE_MODEL"
        self.names = [filters.name(card.name) for card in cards]
        self.command = commands.typed(*record.command)
        self.marks = markdown(", ".join(map(filters.mark, Verdict)))
        self.sampling = _chosen(
            record.suite.fingerprint.get("sampling"), ("height", "width", "frames", "steps")
        )

    @property
    def title(self) -> Markup:
        if len(self._cards) > 1:
            return self._to.say("SEVERAL", count=len(self._cards))
        return self._to.name(self._cards[0].name if self._cards else self._record.suite.name)

    @property
    def best(self) -> Markup:
        return markdown(sentences.best_text(trend.best(self._record), self._language, self._to.name))

    @property
    def objective(self) -> Markup:
        """What better means."""
        return markdown(sentences.objective_text(self._record, self._language))

    @property
    def first(self) -> tuple[CandidateCard, ...]:
        """The checkpoints, the one to publish in front."""
        cards = {card.name: card for card in self._cards}
        return tuple(cards[name] for name in trend.best_first(self._record, [*cards]))

    def race(self, most: int | None = None) -> Iterator[Markup]:
        """The race: its sentences, of the whole page its table too."""
        found = self._record.race
        if found is None:
            return
        if most is None:
            yield markdown(f"## {race.RACE['title'].say(self._language)}")
        how = (self._language, self._to.name, self._to.text)
        said = [markdown(f"- {line}") for line in race.lines(found, *how)]
        yield markdown("\n").join(said[:most])
        if most is None:
            table = [race.head(self._language), ("---", *["---:"] * 5, "---")]
            table += race.rows(found, *how)
            yield markdown("\n".join(f"| {' | '.join(row)} |" for row in table))

    @property
    def environment(self) -> dict[str, Any]:
        known: dict[str, Any] = {**self._record.environment, **self._record.versions}
        if self._record.baseline is not None:
            known["baseline sha256"] = self._record.baseline.digest
        return known

    def verdict(self, of: CandidateCard) -> Markup:
        """Whether a checkpoint may be published, and why, in one line."""
        verdict = sentences.verdict_text(self._record, of, self._language, self._to.name)
        decision = self._record.decision(of.name)
        storing = self._record.storing
        sign, headline = self._to.sign(of.publishable if storing is None else storing.stored), ""
        if decision.outcome in (RunOutcome.NOT_MEASURED, RunOutcome.UNDECIDED):
            said = sentences.outcome_headline(decision.outcome, len(decision.causes), self._language)
            undecided = decision.outcome is RunOutcome.UNDECIDED
            sign = self._to.sign(Verdict.UNDECIDED if undecided else Verdict.ERROR)
            headline = f"**{said[0].upper()}{said[1:]}.** "
        reason = sentences.decision_text(self._record, of, self._language, self._to.name)
        return markdown(f"{sign} **{verdict}** {headline}{reason}".rstrip())

    def lora(self, of: CandidateCard) -> dict[str, str]:
        found = _chosen(of.checkpoint, ("format", "dtype", "rank", "targets"))
        return found and found | {"rank": of.rank}

    def reads_in(self, of: CandidateCard) -> str:
        """The programs that read the file."""
        words = (Page.READ_BY, Page.READ_IN_PART, Page.NOT_READ)
        return reads_in.summary(
            (of.checkpoint or {}).get("reads_in"), *(each.say(self._language) for each in words)
        )

    def hints(self, of: CandidateCard) -> tuple[str, ...]:
        """What is unusual about its file."""
        return sentences.hints(of, self._language)

    def applied(self, of: CandidateCard) -> dict[str, str]:
        """How many layers got the LoRA; empty where no video tells, or the file was not judged."""
        videos = (v.applied for v in self._record.videos if v.candidate == of.name and v.applied is not None)
        applied = next(videos, None)
        if applied is None or self.file_verdict(of) is None:
            return {}
        return {key: str(applied.get(key)) for key in ("patched", "targets")}

    def file_verdict(self, of: CandidateCard) -> Verdict | None:
        own = [j for j in self._record.judgements if j.kind == "checkpoint" and j.candidate == of.name]
        return max((j.verdict for j in own), key=lambda verdict: verdict.severity, default=None)

    def failing(self, of: CandidateCard) -> Iterator[Markup]:
        """What keeps a checkpoint from being published: worst first, each reason once."""
        decision = self._record.decision(of.name)
        compared = {row.judgement.item: row for row in summary.rows(self._record, of.name)}
        # a run that lacks its baseline fails everywhere for one reason: say it once
        grouped: dict[tuple[Verdict, Markup], list[ItemId]] = {}
        for judged in decision.failing:
            why = self._why(judged, compared.get(judged.item))
            grouped.setdefault((judged.verdict, why), []).append(judged.item)
        for (verdict, why), items in grouped.items():
            if len(items) == 1 and why.startswith(f"{self._to.metric(items[0].metric)} "):
                line = f"{self._to.place(items[0].scenario)}: {why}"
            else:
                line = f"{self._places(items)} - {why}"
            yield markdown(f"{self._to.mark(verdict)}: {line}")
        for test in decision.tests:
            title = f"{self._to.sign(False)} {self._to.say('TEST')} {self._to.name(test.name)}"
            yield markdown(f"{title}: {self._to.test_outcome(test)}")
        storing = self._record.storing
        for line in () if storing is None else storing.why:
            yield markdown(f"{self._to.sign(False)} {self._to.text(line)}")
        if decision.unmeasured:
            word = f"{self.outcome_sign('unmeasured')} {self.outcome_word('unmeasured')}"
            yield markdown(f"{word}: {self._places(decision.unmeasured)}")

    def _why(self, judged: Judgement, row: Row | None) -> Markup:
        """Why an item fails: by its numbers where they say it all, else in the words of the gate."""
        if judged.verdict is Verdict.FAIL and judged.value is not None:
            if row is not None and row.baseline is not None:
                return markdown(sentences.comparison_line(row, self._language))
            if judged.kind == "limit":
                value = self._to.value(judged.value, judged.metric)
                return self._to.say("LIMIT_LINE", value=value, bounds=self._to.bounds(judged))
        return self._to.reason(judged)

    def _places(self, items: Sequence[ItemId]) -> str:
        """Items by scenario; the file's own have none."""
        by_place: dict[str, list[str]] = {}
        for item in items:
            if item.kind == "checkpoint":
                by_place.setdefault(self._to.say("FILE"), [])
                continue
            if item.kind == "videos":
                by_place.setdefault(self._to.place(item.scenario), []).append(self._to.say("SINGLE_VIDEOS"))
                continue
            limit = f" ({self._to.say('ABSOLUTE')})" if item.kind == "limit" else ""
            by_place.setdefault(self._to.place(item.scenario), []).append(
                self._to.metric(item.metric) + limit
            )
        return "; ".join(f"{place}: {', '.join(of)}" if of else place for place, of in by_place.items())

    def averages(self, of: CandidateCard) -> Iterator[tuple[Markup, str, Average | Row, Verdict | None]]:
        """Title, metric, numbers and verdict; the mean of distances is not judged, the pooled distance is."""
        pooled = {row.metric: row for row in summary.rows(self._record, of.name) if row.scenario == ALL}
        means = summary.averages(self._record, of.name)
        for metric in summary.metrics_of(self._record):
            row, mean, title = pooled.get(metric), means.get(metric), self._to.metric(metric)
            verdict = None if row is None else row.judgement.verdict
            distance = metric in METRICS and METRICS[metric].level == "set"
            if distance and mean is not None:
                yield self._to.say("MEAN_OF", metric=title), metric, mean, None
            if distance and row is not None:
                yield self._to.say("POOLED", metric=title), metric, row, verdict
            elif not distance and mean is not None:
                yield title, metric, mean, verdict

    def outcome_sign(self, kind: OutcomeKind) -> Markup:
        return self._to.sign(_OUTCOME_VERDICTS[kind])

    def outcome_word(self, kind: OutcomeKind) -> Markup:
        return markdown(i18n.OUTCOMES[kind].say(self._language))

    def outcome_text(self, of: CandidateCard, found: Outcome) -> Markup:
        return markdown(sentences.outcome_text(self._record, of.name, found, self._language))

    def outcome_lines(self, of: CandidateCard, found: Outcome) -> Iterator[Markup]:
        return map(markdown, sentences.outcome_lines(self._record, of.name, found, self._language))

    @property
    def beneath(self) -> Markup:
        """The LoRAs of the suite's stack; empty without any."""
        return markdown(sentences.beneath(self._record, self._language, self._to.name))

    def limits_sentence(self, found: Sequence[LimitRow]) -> Markup:
        """How many limits are broken, else the one with the least room; empty where no value is known."""
        broken = [row for row in found if row.judgement.verdict.fails]
        if broken:
            return self._to.say("LIMITS_BROKEN", broken=len(broken), limits=len(found))
        known = [(row.margin, row) for row in found if row.margin is not None]
        if not known:
            return Markup()
        margin, row = min(known, key=lambda each: each[0])
        place, metric = self._to.place(row.scenario), self._to.metric(row.metric)
        return self._to.say("LIMITS_HOLD", limits=len(found), margin=margin, metric=metric, place=place)

    def evidence_sentence(self, found: Sequence[Row]) -> Markup:
        counts = Counter(standing(row.judgement) for row in found)
        told = {
            Standing.WEAK: "SOME_WEAK",
            Standing.UNLIKELY: "SOME_OPEN",
            Standing.BAND_ALONE: "SOME_UNTESTED",
        }
        said = [
            self._to.say(key, count=counts[known], all=len(found))
            for known, key in told.items()
            if counts[known]
        ]
        if not said and counts[Standing.SETTLED] == len(found):
            said = [self._to.say("ALL_SETTLED")]
        return Markup(" ").join(said)

    def standing(self, judged: Judgement) -> Markup:
        """Whether the evidence settles an item."""
        return markdown(standing_words(judged, self._language))

    def interval(self, evidence: Evidence | None) -> Markup:
        if evidence is None or evidence.low is None or evidence.high is None:
            return self._to.say("NONE")
        ends = f"{self._to.change(evidence.low)} ~ {self._to.change(evidence.high)}"
        return markdown(f"{ends} ({evidence.level:.0%})")

    def p_value(self, evidence: Evidence | None) -> Markup:
        known = None if evidence is None else evidence.p_adjusted
        return markdown("&lt;0.001") if known is not None and known < 0.001 else self._to.number(known, ".3f")

    @property
    def first_step(self) -> Markup:
        """What to do first about the checkpoint that is recommended, or nearest to it."""
        best = trend.best(self._record)
        name = best.candidate or best.numbers.get("nearest")
        named = [card for card in self._cards if card.name == name] or [*self._cards]
        found = next_steps(self._record, named[0].name) if named else race_on(self._record)
        for said, command in self._worded(found):
            block = markdown("\n\n") + self._to.command(command) if command else Markup()
            return markdown(f"**{self._to.say('NEXT_STEP')}:** ") + said + block
        return Markup()

    def some(self, lines: Iterator[Markup], most: int) -> Iterator[Markup]:
        """The first lines, and how many more there are."""
        found = list(lines)
        yield from found[:most]
        if len(found) > most:
            yield self._to.say("AND_MORE", more=len(found) - most)

    def worst(self, of: CandidateCard) -> Markup:
        """What is worst of a checkpoint, in the words of the terminal's short summary."""
        decision = self._record.decision(of.name)
        found = [*decision.failing, *decision.warnings]
        return self._to.text(headline(found[0])) if found else self._to.say("NONE")

    def steps(self, of: CandidateCard) -> Iterator[tuple[Markup, str]]:
        """What to do next, each with its command."""
        return self._worded(next_steps(self._record, of.name))

    def _worded(self, steps: Sequence[Step]) -> Iterator[tuple[Markup, str]]:
        for step, after in zip(steps, (*steps, None)[1:], strict=True):
            # several steps may end in one command: show it behind the last of them that stand together
            shown = after is None or after.command != step.command
            said = markdown(sentences.step_text(step, self._language, self._to.name, self._to.text))
            yield said, step.command if shown else ""

    def courses(self) -> Iterator[tuple[str, dict[str, list[TrendPoint]]]]:
        """Every place that was judged, with the points of each metric in the order of the checkpoints."""
        courses = trend.trend(self._record)
        for place in (ALL, *summary.scenarios_of(self._record)):
            points = {metric: [p for p in of if p.scenario == place] for metric, of in courses.items()}
            if any(point.verdict is not None for of in points.values() for point in of):
                yield place, points

    def direction(self, points: Sequence[TrendPoint]) -> Markup:
        return markdown(i18n.DIRECTIONS[trend.direction(points)].say(self._language))

    def point(self, metric: str, point: TrendPoint) -> Markup:
        if point.verdict is None:
            return self._to.say("NONE")
        relative = summary.signed_change(metric, point.baseline, point.value, point.change)
        change = "" if relative is None else f" ({self._to.change(relative)})"
        return markdown(f"{self._to.value(point.value, metric)}{change} {self._to.sign(point.verdict)}")

    def shares(self, data: TrainingDataCard) -> Markup:
        shares = ", ".join(f"{self._to.text(name)} {share:.1%}" for name, share in data.shares.items())
        said = self._to.say("SHARES", shares=markdown(shares))
        if data.undecided:
            said += markdown(" ") + self._to.say("UNDECIDED", undecided=f"{data.undecided:,}")
        return said

    def suspicions(self, data: TrainingDataCard) -> Iterator[Markup]:
        """Regressions in rare categories, and whether rarity explains them on the whole."""
        said = [
            (each.candidate, sentences.suspicion_text(each, self._language, self._to.name))
            for each in data.suspicions
        ]
        said += [
            (each.candidate, sentences.correlation_text(each, self._language)) for each in data.correlations
        ]
        for candidate, sentence in said:
            before = "" if len(self._cards) == 1 else f"{self._to.name(candidate)}: "
            yield markdown(before + sentence)

    def notes(self) -> Iterator[Markup]:
        """What else a reader must know."""
        record, to = self._record, self._to
        yield from map(
            markdown,
            sentences.left_out_lines(record.left_out, record.expected, self._language, to.name, to.text),
        )
        yield from map(to.text, record.notes)
        yield from map(to.text, sentences.baseline_lines(record, self._language))
        for line in () if record.baseline is None else record.baseline.differences:
            yield to.say("DIFFERS", what=line)
        for lost in record.failures:
            named = {"scenario": to.name(lost.scenario), "candidate": to.name(lost.candidate)}
            yield to.say("LOST_VIDEO", seed=lost.seed, why=lost.message, **named)

    def higher_is_better(self, metric: str) -> bool:
        return metric not in METRICS or METRICS[metric].higher_is_better


def _chosen(of: object, keys: Sequence[str]) -> dict[str, str]:
    """Some entries of a mapping as text; empty where one is missing."""
    if not isinstance(of, dict) or not set(keys) <= of.keys():
        return {}
    return {key: str(of[key]) for key in keys}
