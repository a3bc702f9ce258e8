"""What to do next, by rule from the data of a run: keys, places and numbers; the words are `words_steps`'."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports import trend
from pytest_wanlora.reports.commands import (
    alone_again,
    checkpoint_file,
    exchanged,
    file_name,
    files_of,
    gate_again,
    metadata_file,
    more_seeds,
    run_folder,
    suite_file,
    typed,
    update_baseline,
)
from pytest_wanlora.reports.limits import limit_rows, nearest, targets
from pytest_wanlora.reports.summary import (
    Outcome,
    beyond,
    most_seeds,
    noise_floors,
    ordered,
    outcomes,
    rows,
    scenarios_of,
    seeds_to_decide,
    videos_each,
)
from pytest_wanlora.verdict.decision import causes
from pytest_wanlora.verdict.judgement import ALL, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.standing import FEWEST_VIDEOS, Standing, standing

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard, Storing
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.results.training_data import TrainingDataCard
    from pytest_wanlora.verdict.decision import Decision

StepKey = Literal[
    "race_on",
    "fix_checkpoint",
    "measure_baseline",
    "comparable_environment",
    "not_measured",
    "cause_first",
    "run_everything",
    "degenerate",
    "limit_broken",
    "limit_broken_by_both",
    "regressed_everywhere",
    "category_regressed",
    "category_regressed_share",
    "category_slipped",
    "motion_frozen",
    "motion_lost",
    "sharpness_lost",
    "color_lost",
    "prompt_lost",
    "overfit",
    "keep_training",
    "suspicious",
    "more_seeds",
    "allow_seeds",
    "seeds_cannot_settle",
    "few_seeds",
    "band_below_noise",
    "unfused",
    "expert_names",
    "idle_targets",
    "unclear_alpha",
    "file_warning",
    "targets_open",
    "publish",
    "gate_alone",
    "baseline_stored",
    "baseline_insist",
    "baseline_not_stored",
]

#: What a checkpoint does to a video wherever it is shown, by the metric that tells.
_STYLE: Mapping[str, StepKey] = {
    "sharpness": "sharpness_lost",
    "color": "color_lost",
    "clip": "prompt_lost",
    "clip_cosine": "prompt_lost",
}
#: What to do about a warning of the file, by its code.
_WARNED: Mapping[str, StepKey] = {
    "expert_name": "expert_names",
    "zero_some": "idle_targets",
    "alpha_some": "unclear_alpha",
    "alpha_header": "unclear_alpha",
}
_UNTESTED = (Standing.BAND_ALONE, Standing.TOO_FEW)
_GENTLER = "0.7"
_SAMPLES = 1000


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        key: What; its words are in `words_steps`.
        scenario: Where, empty for the whole run.
        metrics: Which metrics say so.
        numbers: Numbers and names that the words of the key need, and no others.
        command: What to type, quoted for a shell; empty where there is no one command.
    """

    key: StepKey
    scenario: str = ""
    metrics: tuple[str, ...] = ()
    numbers: Mapping[str, float | str] = field(default_factory=dict)
    command: str = ""


def next_steps(record: RunRecord, candidate: str) -> tuple[Step, ...]:
    """What to do about one candidate, most urgent first.

    Args:
        record: The run.
        candidate: Name of a checkpoint; the model without LoRA has nothing to do.
    """
    card = next((each for each in record.candidates if each.name == candidate), None)
    if card is None or card.sha256 is None:
        return ()
    # of several runs put together only the course is of them all: a command names files of one run
    run, own = record.own(card)
    if run.storing is not None:
        return (_stored(run, run.storing, own),)
    found = outcomes(run, own.name)
    return (
        *race_on(run),
        *_publish(run, own),
        *_unmeasured(run, own, run.decision(own.name)),
        *_limits(run, own.name),
        *_categories(run, own, found),
        *_style(run, own),
        *_course(record, card),
        *_look(found),
        *_evidence(run, own),
        *_precision(run, own),
        *_warned(run, own),
        *_targets(run, own),
    )


def race_on(record: RunRecord) -> tuple[Step, ...]:
    """How a race goes on that stopped before its end: who was gated, if anybody, may not be the best."""
    race = record.race
    if race is None or not race.next_command:
        return ()
    return (Step("race_on", command=race.next_command),)


def _stored(record: RunRecord, storing: Storing, card: CandidateCard) -> Step:
    """What follows from a run that was to store a baseline."""
    named = {"baseline": storing.name}
    if storing.stored:
        # the name that it was stored under is no baseline to compare it with
        base = ("--wanlora-baseline", "base") if storing.name != "accepted" else ()
        return Step("baseline_stored", numbers=named, command=gate_again(record, card, *base))
    if "--wanlora-force" in storing.next_command:
        words = ("pytest", "--wanlora-force", *record.command[1:])
        return Step("baseline_insist", numbers=named, command=typed(*words))
    return Step("baseline_not_stored", numbers=named, command=typed(*record.command))


def _unmeasured(record: RunRecord, card: CandidateCard, decision: Decision) -> Iterable[Step]:
    file = checkpoint_file(record, card)
    broken = [j for j in decision.failing if j.kind == "checkpoint" and j.verdict is Verdict.FAIL]
    if broken:
        inspect = typed("python", "-m", "pytest_wanlora", "inspect", *files_of(file))
        yield Step("fix_checkpoint", command=inspect)
    kinds: tuple[tuple[StepKey, Verdict, str], ...] = (
        ("measure_baseline", Verdict.MISSING_BASELINE, update_baseline(record)),
        ("comparable_environment", Verdict.INCOMPARABLE, update_baseline(record)),
        ("degenerate", Verdict.DEGENERATE, ""),
        ("not_measured", Verdict.ERROR, gate_again(record, card)),
    )
    if broken:
        # the rest fails for the same reason
        return
    for key, verdict, command in kinds:
        of = [j for j in decision.failing if j.verdict is verdict and not _still(j)]
        if of:
            metrics = ordered(j.metric for j in of if j.metric)
            # gated again before the cause is gone, it would end as before
            known = [cause.next_command for cause in causes(of) if cause.next_command]
            if verdict is Verdict.ERROR and known:
                key, command = "cause_first", known[0]
            yield Step(key, metrics=metrics, numbers={"items": len(of)}, command=command)
    if record.partial or decision.unmeasured:
        left = {"judged": len(record.expected) - _absent(record), "expected": len(record.expected)}
        yield Step("run_everything", numbers=left, command=gate_again(record, card))


def _absent(record: RunRecord) -> int:
    return len(set(record.expected) - {judged.item for judged in record.judgements})


def _still(judged: Judgement) -> bool:
    """Motion whose videos stand still is degenerate with its numbers; others have none."""
    return judged.metric == "motion" and judged.verdict is Verdict.DEGENERATE and judged.baseline is not None


def _limits(record: RunRecord, candidate: str) -> Iterable[Step]:
    for row in limit_rows(record, candidate):
        if row.judgement.verdict is Verdict.FAIL and row.value is not None and row.margin is not None:
            numbers: dict[str, float | str] = {"missing": -row.margin}
            _, room = nearest(row.minimum, row.maximum, row.baseline)
            if row.baseline is None or room is None or room >= 0.0:
                yield Step("limit_broken", row.scenario, (row.metric,), numbers)
            else:
                # a checkpoint is not at fault for what the baseline does not reach either
                numbers["baseline"] = METRICS[row.metric].format(row.baseline)
                yield Step("limit_broken_by_both", row.scenario, (row.metric,), numbers)


def _categories(record: RunRecord, card: CandidateCard, found: tuple[Outcome, ...]) -> Iterable[Step]:
    failed = [each for each in found if each.failing]
    slipped = [each for each in found if not each.failing and set(each.worse) - set(each.weak)]
    if len(failed) == len(found) > 1:
        # more of one category cannot help when all of them lost: the training itself did it
        metrics = ordered(metric for each in failed for metric in each.failing)
        again = gate_again(record, card, "--wanlora-scale", _GENTLER)
        yield Step("regressed_everywhere", "", metrics, {"scenarios": len(failed)}, again)
        return
    command = _balance(record, card)
    for each in failed:
        category = record.suite.prompts[each.scenario].category
        share = _share(record, each.scenario)
        if share is None:
            yield Step("category_regressed", each.scenario, each.failing, {"category": category}, command)
        else:
            known: dict[str, float | str] = {"category": category, "share": share}
            yield Step("category_regressed_share", each.scenario, each.failing, known, command)
    for each in slipped:
        lost = tuple(metric for metric in each.worse if metric not in each.weak)
        category = record.suite.prompts[each.scenario].category
        yield Step("category_slipped", each.scenario, lost, {"category": category}, command)


def _share(record: RunRecord, scenario: str) -> float | None:
    known = record.training_data.scenarios.get(scenario) if record.training_data is not None else None
    return None if known is None else known.share


def _balance(record: RunRecord, card: CandidateCard) -> str:
    metadata = metadata_file(record)
    stem, dot, ending = metadata.rpartition(".")
    balanced = f"{stem}_balanced.{ending}" if dot else f"{metadata}_balanced"
    several = ("--candidate", card.name) if len(record.candidates) > 1 else ()
    data = record.training_data
    if data is not None and not _has_every_category(data):
        return ""
    samples = _SAMPLES if data is None else min(_SAMPLES, data.prompts)
    return typed(
        *("python", "-m", "pytest_wanlora", "data", "balance", metadata, "--suite", suite_file(record)),
        *("--toward", run_folder(record), *several),
        *("--samples", str(samples), "--repeat", "--output", balanced),
    )


def _has_every_category(data: TrainingDataCard) -> bool:
    """Whether each category has a prompt; with none of one, no draw can hold it."""
    return all(data.counts.values()) and all(known.prompts for known in data.scenarios.values())


def _style(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    compared = [row.judgement for row in rows(record, card.name) if row.scenario != ALL]
    still = [judged for judged in compared if _still(judged)]
    lost = [judged for judged in compared if judged.verdict is Verdict.FAIL]
    for judged in still[:1]:
        yield Step("motion_frozen", judged.scenario, ("motion",), {"scenarios": len(still)})
    motion = [judged for judged in lost if judged.metric == "motion"]
    for judged in _worst(motion):
        yield Step("motion_lost", judged.scenario, ("motion",), {"loss": judged.change or 0.0})
    metadata = metadata_file(record)
    read = typed("python", "-m", "pytest_wanlora", "data", "report", metadata, "--videos", "read")
    commands = {
        "sharpness_lost": read,
        "prompt_lost": gate_again(record, card, "--wanlora-scale", _GENTLER),
    }
    for metric, key in _STYLE.items():
        for judged in _worst([each for each in lost if each.metric == metric]):
            numbers = {"loss": judged.change or 0.0}
            yield Step(key, judged.scenario, (metric,), numbers, commands.get(key, ""))


def _worst(judgements: list[Judgement]) -> list[Judgement]:
    """The largest loss, if there is one whose size is known."""
    known = [judged for judged in judgements if judged.change is not None]
    return [max(known, key=lambda judged: judged.change or 0.0)] if known else []


def _course(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    past = trend.overfit(record, card.name)
    if past is not None:
        numbers: dict[str, float | str] = {
            "earlier": past.earlier,
            "before": past.before,
            "now": past.now,
        }
        yield Step("overfit", "", (past.metric,), numbers)
    falling = trend.still_falling(record)
    last = record.candidates[-1].name
    unfinished = not card.publishable or any(each.reached is False for each in targets(record, card.name))
    if falling is not None and card.name == last and unfinished:
        yield Step("keep_training", numbers={"before": falling[0], "now": falling[1]})


def _look(found: tuple[Outcome, ...]) -> Iterable[Step]:
    for each in found:
        if each.suspicious:
            yield Step("suspicious", each.scenario, each.suspicious)


def _evidence(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    compared = [row.judgement for row in rows(record, card.name)]
    # an item inside its band that is not certain can wait; the evidence says so
    weak = [
        (judged, judged.evidence.n_enough)
        for judged in compared
        if judged.evidence is not None and standing(judged) is Standing.WEAK and beyond(judged)
    ]
    most = most_seeds(record)
    wanted = [(judged, seeds_to_decide(judged, len(scenarios_of(record)))) for judged, n in weak if n]
    # within what was allowed they are open because the gate stopped early, at a certain failure
    short = [(judged, n) for judged, n in wanted if n is not None and n > most]
    if short:
        metrics = ordered(judged.metric for judged, _ in short)
        last, enough = max(short, key=lambda each: each[1])
        numbers = {"items": len(short), "most": most, "enough": enough}
        option = more_seeds(record, enough)
        if _held(record) < enough:
            yield Step("more_seeds", "", metrics, numbers, update_baseline(record, *option))
        elif record.partial or videos_each(record, last) < most:
            yield Step("allow_seeds", "", metrics, numbers, alone_again(record, last.item, enough))
        else:
            yield Step("allow_seeds", "", metrics, numbers, gate_again(record, card, *option))
    hopeless = [judged for judged, n in weak if n is None]
    if hopeless:
        metrics = ordered(judged.metric for judged in hopeless)
        yield Step("seeds_cannot_settle", "", metrics, {"items": len(hopeless)})
    untested = [judged for judged in compared if standing(judged) in _UNTESTED]
    if untested:
        metrics = ordered(judged.metric for judged in untested)
        numbers = {
            "items": len(untested),
            "least": min(videos_each(record, judged) for judged in untested),
            "fewest": FEWEST_VIDEOS,
        }
        yield Step("few_seeds", "", metrics, numbers)
    yield from _noise(record)


def _held(record: RunRecord) -> float:
    """Seeds of a scenario that can be compared without measuring the baseline again."""
    baseline = record.baseline
    if baseline is None or baseline.cap is not None:
        return most_seeds(record)
    # what a baseline of the model without LoRA lacks is rendered beside the candidate's videos
    return math.inf if baseline.sha256 is None else max((floor.n for floor in baseline.noise), default=0)


def _noise(record: RunRecord) -> Iterable[Step]:
    tight = [floor for floor in noise_floors(record) if not floor.resolved]
    if tight:
        worst = max(tight, key=lambda floor: floor.n_needed)
        numbers = {
            "bands": len(tight),
            "band": worst.fail,
            "floor": worst.floor,
            "n": worst.n,
            "enough": worst.n_needed,
        }
        yield Step("band_below_noise", worst.scenario, (worst.metric,), numbers)


def _precision(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    own = [j for j in record.judgements if j.kind == "checkpoint" and j.candidate == card.name]
    for judged in own:
        # a record of an earlier version has no code
        rounded = (judged.code or ReasonCode.LORA_ROUNDED_AWAY) is ReasonCode.LORA_ROUNDED_AWAY
        if judged.verdict is Verdict.WARN and judged.value is not None and rounded:
            yield Step("unfused", numbers={"survives": judged.value})


def _warned(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    """What the file's own warnings ask for, each in its words."""
    file = checkpoint_file(record, card)
    inspect = typed("python", "-m", "pytest_wanlora", "inspect", *files_of(file))
    told: dict[StepKey, list[str]] = {}
    for code, words in card.told("warnings"):
        told.setdefault(_WARNED.get(code, "file_warning"), []).append(words)
    for key, of in told.items():
        command = gate_again(record, card, files=[exchanged(file)]) if key == "expert_names" else inspect
        yield Step(key, numbers={"words": "; ".join(of)}, command=command)


def _publish(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    if card.publishable and record.receipts_refused:
        numbers = {"exit_status": record.exit_status}
        yield Step("gate_alone", numbers=numbers, command=gate_again(record, card))
    elif card.publishable:
        receipt = f"{run_folder(record)}/{file_name(record, card.name, 'receipt', '.json')}"
        words = ("python", "-m", "pytest_wanlora", "verify", receipt, checkpoint_file(record, card))
        strength = () if card.scale == 1.0 else ("--scale", f"{card.scale!r}")
        yield Step("publish", command=typed(*words, *strength))


def _targets(record: RunRecord, card: CandidateCard) -> Iterable[Step]:
    wanted = targets(record, card.name)
    still_open = [each for each in wanted if not each.reached]
    if still_open:
        metrics = ordered(each.metric for each in still_open)
        yield Step("targets_open", "", metrics, {"open": len(still_open), "targets": len(wanted)})
