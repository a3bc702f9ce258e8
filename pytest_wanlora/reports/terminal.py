"""The terminal's view of a run: lines, without a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_wanlora.checkpoint import reads_in
from pytest_wanlora.durations import duration
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import digits, number_of
from pytest_wanlora.reports import race, sentences, trend
from pytest_wanlora.reports.commands import alone_again, gate_again, more_seeds
from pytest_wanlora.reports.summary import more_videos, most_seeds
from pytest_wanlora.reports.terminal_tables import (
    MOST_OF_SEVERAL,
    WIDTH,
    Line,
    counted,
    full_table,
    limit_lines,
    matrix,
    word,
    worst_first,
    wrapped,
)
from pytest_wanlora.text_table import aligned
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard, Storing
    from pytest_wanlora.results.race import RaceCard
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.results.training_data import CorrelationCard, SuspicionCard, TrainingDataCard
    from pytest_wanlora.verdict.judgement import ItemId, ItemOutcome

_LONGEST_DETAIL = 600
#: Project tests that are listed; those that did not pass come first.
_MOST_TESTS = 30


def failure(judged: Judgement, *, preview: str | None, again: str) -> str:
    """Why an item fails: the verdict, the numbers, the worst video, the next command.

    Args:
        judged: What was judged.
        preview: The worst video's mp4, if there is one.
        again: What runs this item alone.
    """
    place = judged.scenario or judged.candidate
    title = METRICS[judged.metric].title if judged.metric in METRICS else judged.kind
    reason = f"{judged.video}: {judged.reason}" if judged.video else judged.reason
    lines = [f"{word(judged.verdict)}: {title} of {place} ({judged.candidate})", *_cut(reason)]
    metric = METRICS.get(judged.metric)
    if metric is not None and judged.value is not None:
        lines.append(f"{'higher' if metric.higher_is_better else 'lower'} is better")
    if judged.worst is not None and metric is not None:
        worst = judged.worst
        pair = "" if worst.baseline is None else f", its pair {metric.format(worst.baseline)}"
        lines.append(f"worst: {worst.scenario}, seed {worst.seed}: {metric.format(worst.value)}{pair}")
    if judged.worst is not None and preview is not None:
        lines.append(f"       {preview}" if metric is not None else f"see: {preview}")
    lines.append(f"next: {judged.next_command or again}")
    return "\n".join(lines)


def _cut(text: str) -> list[str]:
    if len(text) <= _LONGEST_DETAIL:
        return text.splitlines()
    more = f"... ({len(text) - _LONGEST_DETAIL} characters more in the record)"
    return [*text[:_LONGEST_DETAIL].splitlines(), more]


def summary(
    record: RunRecord, place: str, *, causes: Sequence[str] = (), width: int = WIDTH, full: bool = False
) -> list[str]:
    """The whole run: of several checkpoints which is best, then each with what is wrong, and what it cost.

    Args:
        record: The run.
        place: Where the record lies.
        causes: Why nothing could be measured, a line each; they take the place of the tables.
        width: Columns of the terminal; only paths and commands, which must stay whole, pass it.
        full: Every comparison and limit, not only those that fail or warn.

    Returns:
        Lines; those of class `Line` have a colour.
    """
    if causes:
        decisions = [
            f"{card.name}: nothing was measured or stored"
            if record.storing is not None
            else f"{card.name} may not be published: {card.reason}"
            for card in record.candidates
        ]
        return [*decisions, *causes, f"record: {place}"]
    lines = _setting(record, width)
    if record.outcome in (RunOutcome.NOT_MEASURED, RunOutcome.UNDECIDED):
        lines.insert(0, Line(sentences.outcome_headline(record.outcome, len(record.causes), "en"), red=True))
    if record.baseline is not None:
        baseline = record.baseline
        lines.append(f"baseline {baseline.name} of {baseline.created[:10]}")
        for line in baseline.differences:
            lines += wrapped(f"differs: {line}", width, "  ")
    lines += [f"note: {line}" for line in sentences.baseline_lines(record, "en")]
    names = [card.name for card in record.candidates if card.sha256 is not None]
    several = len(names) > 1
    if several and record.videos:
        lines += ["", *matrix(record, trend.best_first(record, names), width), ""]
        lines += wrapped(sentences.best_text(trend.best(record), "en", str), width)
    if record.race is not None:
        lines += ["", *_race(record.race, width)]
    for card in record.candidates:
        lines += ["", *_candidate(record, card, width, several=several, full=full)]
    if record.project_tests:
        lines += ["", *_project_tests(record)]
    if record.training_data is not None:
        lines += ["", *_training_data(record, record.training_data, width)]
    lines += _not_measured(record)
    # of a race in which nobody was gated its own line says it
    lines += ["", _cost(record)] if record.candidates else [""]
    lines += left_out_lines(record.left_out, record.expected)
    return [*lines, *(f"note: {note}" for note in record.notes), f"record: {place}"]


def _race(card: RaceCard, width: int) -> Iterator[str]:
    for said in race.lines(card, "en", str, str):
        yield from wrapped(f"race: {said}", width)
    # how far somebody was behind is in the words, and strength in the name but for those of a pair's halves
    own = any(each.strengths for each in card.entrants)
    table = [
        (name, *[strength] * own, videos, loss, worst, end)
        for name, strength, videos, loss, worst, _, end in (race.head("en"), *race.rows(card, "en", str, str))
    ]
    yield from (f"  {line}" for line in aligned(table, left={0, 4 + own}))
    yield from [f"  next: {card.next_command}"] if card.next_command else []


def _not_measured(record: RunRecord) -> Iterator[str]:
    """Why something could not be measured, each cause once; what the notes say is left to them."""
    told = [cause for cause in record.causes if cause.sentence not in record.notes]
    if told:
        yield ""
        yield sentences.outcome_headline(RunOutcome.NOT_MEASURED, len(record.causes), "en")
    for number, cause in enumerate(told, 1):
        first, *rest = _cut(cause.reason) or [""]
        count, item = len(cause.judgements), cause.judgements[0].item
        yield f"{number}. {first}"
        yield from (f"   {line}" for line in rest)
        yield f"   {f'{count} items, the first ' if count > 1 else ''}{item}"
        if videos := cause.videos:
            yield f"   not rendered: {videos[0]}{' and others' if len(videos) > 1 else ''}"
        if cause.next_command:
            yield f"   next: {cause.next_command}"


def _setting(record: RunRecord, width: int) -> list[str]:
    environment = record.environment
    first, most = record.suite.looks[0], record.suite.looks[-1]
    taken = Counter((each.candidate, each.scenario) for each in record.videos)
    if taken and "--update-baselines" in record.command:
        # a baseline takes all its seeds at once, of the model without LoRA more than a gate may
        first, most = min(taken.values()), max(taken.values())
    looks = " to ".join(str(n) for n in dict.fromkeys((first, most)))
    where = f"{environment.get('device_name')}, {environment.get('dtype')}"
    lines = wrapped(f"suite {record.suite.name}, {looks} videos a scenario, on {where}", width)
    if beneath := sentences.beneath(record, "en", str):
        lines += wrapped(f"on the model, below baseline and checkpoint: {beneath}", width)
    return lines


def _candidate(record: RunRecord, card: CandidateCard, width: int, *, several: bool, full: bool) -> list[str]:
    lines = _card_lines(card, width, full=full)
    lines += [line for said in sentences.hints(card, "en") for line in wrapped(f"hint: {said}", width, "  ")]
    if reads := reads_in.summary((card.checkpoint or {}).get("reads_in")):
        lines += wrapped(reads, width, "  ")
    own = [judged for judged in record.judgements if judged.candidate == card.name]
    if own and not record.videos and all(judged.verdict.unmeasured for judged in own):
        # the notes say why, once for all of them
        return [*lines, f"{card.name} may not be published: {card.reason}"]
    order = ["", *record.suite.prompts, ALL]
    compared = [judged for judged in own if judged.kind == "regression"]
    for judged in own:
        # a LoRA that was not applied gives the base model's scores: nobody should have to ask
        if judged.kind == "checkpoint" and judged.verdict is Verdict.PASS:
            why = judged.reason.partition("\n")[0]
            lines += wrapped(why if full else why.partition(";")[0], width, "  ")
    if full:
        if compared:
            lines += ["", *full_table(record, compared, width), ""]
        limits = sorted(
            (each for each in own if each.kind in ("limit", "question")),
            key=lambda each: (each.kind, order.index(each.scenario)),
        )
        lines += [line for each in limits for line in limit_lines(each, width)]
        # tables have their reasons
        shown = ("limit", "question", "regression")
        lines += worst_first((each for each in own if each.kind not in shown), width)
    else:
        lines += worst_first(own, width, most=MOST_OF_SEVERAL if several else None)
    if own:
        lines.append(f"  {counted(own)}{'' if full else '; -v shows each'}")
        for line in _more_videos(record, card):
            lines += [f"  {line}"] if line.startswith("next: ") else wrapped(line, width, "  ")
    lines += _decided(record, card, width)
    if own:
        if other := sentences.other_seeds_text(card, "en"):
            lines.append(f"  {other}")
        if card.publishable and record.receipts_refused:
            lines += [
                *wrapped(
                    "but verify refuses its receipt: the pytest run ended with exit code "
                    f"{record.exit_status}",
                    width,
                    "  ",
                ),
                f"  next: {gate_again(record, card)}, which reuses the videos",
            ]
    return lines


def _decided(record: RunRecord, card: CandidateCard, width: int) -> Iterator[str]:
    """Whether it may be published; of a run that stores a baseline, whether it was stored, and what to do."""
    name, storing = sentences.at_strength(card.name, card.strength, "en", str), record.storing
    name = card.name if card.sha256 is None else name
    if storing is None:
        if not any(judged.candidate == card.name for judged in record.judgements):
            return
        good = card.publishable
        said = f"{name} {'may' if good else 'may not'} be published: {card.reason}"
    else:
        good = storing.stored
        said = f"{name}: {storing.reason if card.sha256 is None else card.reason}"
    yield from (Line(line, None, bold=True, green=good, red=not good) for line in wrapped(said, width))
    if storing is not None and storing.next_command:
        yield f"  next: {storing.next_command}"


def _more_videos(record: RunRecord, card: CandidateCard) -> Iterator[str]:
    """What would decide the items that are neither a pass nor a fail."""
    found = more_videos(record, card.name)
    if found is None:
        return
    if found.videos is None:
        yield "undecided: not even 10,000 videos of a scenario would decide everything; look at the videos"
        return
    videos = f"about {number_of(found.videos, 'more video')}"
    more = f"undecided: if the changes stay as they are, {videos} may decide"
    most = most_seeds(record)
    cap = None if record.baseline is None else record.baseline.cap
    if cap is not None and found.seeds > cap.stored:
        yield f"{more}, but no more than the {most} of the baseline are compared"
        return
    again = [alone_again(record, item, seeds) for item, seeds in found.alone.items()]
    base = f", and {found.base} of the model without LoRA besides" if found.base else ""
    each = found.seconds_each
    time = "" if each is None else f": about {duration(each * (found.most + found.base))}"
    renders = "commands render" if len(again) > 1 else "command renders"
    more = f"{more} (the {renders} up to {found.most}{base}{time})"
    if found.stopped:
        stopped = f"the gate stopped before the {most} of a scenario that it may render"
        more = f"{more}, but {stopped}; an item that is run alone goes on"
    yield more
    yield from (
        f"next: {command}"
        for command in again or [gate_again(record, card, *more_seeds(record, found.seeds))]
    )


def left_out_lines(left_out: Iterable[ItemOutcome], expected: Iterable[ItemId] = ()) -> list[str]:
    """What was to be judged or stored and was not, a line for each checkpoint and reason."""
    return list(sentences.left_out_lines(left_out, expected, "en", str, str))


def only_part(exit_status: int, *, nothing: bool, storing: Storing | None, tests: int = 0) -> str:
    """Why a run in which something was left out does not end with exit code 0.

    Args:
        exit_status: Of the run.
        nothing: No item was judged.
        storing: What came of the baseline that it was to store; None for a gate.
        tests: Project tests that did not run, where nothing else was left out.
    """
    if storing is not None:
        asked = "The baseline was stored, but not everything ran" if storing.stored else "Nothing was stored"
        return f"{asked}; exit code {exit_status}."
    ran = "Nothing of the gate was judged" if nothing else "Only part of the gate ran"
    if tests:
        ran = f"All of the gate ran, but not {number_of(tests, 'project test')}"
    return f"{ran}; exit code {exit_status}, because 0 means publishable."


def _project_tests(record: RunRecord) -> list[str]:
    tests = record.project_tests
    passed = sum(test.passed for test in tests)
    lines = [f"project tests: {passed} of {len(tests)} pass"]
    lines += [f"  {sentences.project_test_line(test)}" for test in tests[:_MOST_TESTS]]
    if len(tests) > _MOST_TESTS:
        lines.append(f"  and {len(tests) - _MOST_TESTS} more, in the record")
    return lines


def _card_lines(card: CandidateCard, width: int, *, full: bool) -> list[str]:
    if card.checkpoint is None:
        return wrapped(f"{card.name}: {card.reason}", width)
    known = card.checkpoint
    size = f"{known.get('size', 0) / 2**20:.1f} MiB"
    again = f", run {card.runs} of these bytes" if card.runs > 1 else ""
    form, dtype = (known.get(name, "unknown") for name in ("format", "dtype"))
    kind = f"{form}, {dtype}, rank {card.rank}, {size}, scale {card.strength}"
    lines = wrapped(f"{card.name}: {kind}{again}", width)
    if not full:
        return lines
    halves = (
        f"  {expert}: {half.file}, strength {digits(half.strength)}, sha256 {half.sha256}"
        for expert, half in card.halves.items()
    )
    return [*lines, f"  sha256 {card.sha256}", *halves]


def _training_data(record: RunRecord, data: TrainingDataCard, width: int) -> list[str]:
    """Shares by category, each scenario's beside its worst verdict, and the suspicions that they carry."""
    by_size = sorted(data.shares.items(), key=lambda each: -each[1])
    shares = ", ".join(f"{name} {_share(share)}" for name, share in by_size)
    names = [card.name for card in record.candidates]
    rows = [("scenario", "category", "share", *names)]
    for scenario, known in data.scenarios.items():
        worst = [_worst_verdict(record, name, scenario) for name in names]
        share = f"{_share(known.share)}{', rare' if known.rare else ''}"
        rows.append((scenario, known.category, share, *worst))
    lines = wrapped(f"training data {data.file}, {data.prompts:,} prompts: {shares}", width)
    if data.undecided:
        lines.append(f"  {data.undecided:,} of them have no word of the lists and count as other")
    lines += [
        f"  {count:,} of {name} count as other: no scenario is of {name}"
        for name, count in data.folded.items()
    ]
    lines += [f"  ignored in {_share(share)} of them: {text!r}" for text, share in data.ignored.items()]
    lines += [f"  {line}" for line in aligned(rows, left=range(len(rows[0])))]
    for said in (*map(_suspicion_line, data.suspicions), *map(_correlation_line, data.correlations)):
        lines += wrapped(said, width, "  ")
    return lines


def _suspicion_line(found: SuspicionCard) -> str:
    by = "" if found.change is None else f" by {found.change:.1%}"
    text = (
        f"{found.candidate}: {found.scenario} is worse in {METRICS[found.metric].title}{by}, and "
        f"{found.category} is rare in the training data: {_share(found.share)} of the prompts, "
        f"{found.commonest} {_share(found.commonest_share)}"
    )
    if found.against:
        text += f"; but {', '.join(found.against)}, of a category no more common, did not regress"
    return text


def _correlation_line(found: CorrelationCard) -> str:
    said = {
        "the_rarer_the_worse": "the rarer its category, the worse a scenario became",
        "chance": "rarity and change cannot be told from chance",
    }
    return (
        f"{found.candidate}: over {found.scenarios} scenarios of {found.categories} categories "
        f"{said[found.key]} (Spearman's rho {found.rho:+.2f}, one-sided p {found.p_value:.3f})"
    )


def _worst_verdict(record: RunRecord, candidate: str, scenario: str) -> str:
    own = [
        judged.verdict
        for judged in record.judgements
        if (judged.kind, judged.candidate, judged.scenario) == ("regression", candidate, scenario)
    ]
    return word(max(own, key=lambda verdict: verdict.severity)) if own else "-"


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def _cost(record: RunRecord) -> str:
    totals = record.totals
    plural = "s" * (totals.rendered != 1)
    words = [f"{totals.rendered} video{plural} rendered in {sentences.rendering_time(totals, 'en')}"]
    if not totals.rendered:
        words = ["no video was rendered"]
        words += [f"{totals.reused} came from the cache"] if totals.reused else []
    elif totals.reused:
        words.append(f"{totals.reused} reused")
    if totals.failed:
        words.append(f"{totals.failed} failed")
    # the record has the videos of the winner alone
    whose = "" if record.race is None else f"{record.race.gated}, the race's videos of it included: "
    return f"{whose}{', '.join(words)}; the run took {duration(totals.seconds)}"


def stored_lines(place: str, changes: Iterable[str], notes: Iterable[str], insisted: str = "") -> list[str]:
    """What an update stored: `scenario  metric  old -> new`, what to know of it, and who insisted."""
    noted = [*notes, *([insisted] if insisted else [])]
    return [f"stored {place}", *(f"  {line}" for line in changes), *(f"  note: {line}" for line in noted)]
