"""What to do next: each rule from the data that calls for it, and its words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from pytest_wanlora.phrases import LANGUAGES
from pytest_wanlora.reports import next_steps, sentences
from pytest_wanlora.reports.next_steps import Step, StepKey
from pytest_wanlora.results.parts import Cap, Paths, Storing
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.suite import Limit
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.noise import NoiseFloor
from tests.unit.reports.records import (
    SCENARIOS,
    compared,
    file_judged,
    limited,
    race_card,
    run_record,
    suite_card,
)
from tests.unit.reports.sample_records import EPOCHS, epochs_record, mission_record, training_data

CITY, NATURE, ACTION = SCENARIOS
GOOD = [compared(scenario, "clip", 1.0, 1.0) for scenario in SCENARIOS]


def failed(verdict: Verdict) -> Judgement:
    return Judgement("regression", "epoch-0", NATURE, "fvd", verdict, "why")


def with_noise(floor: float) -> RunRecord:
    known = run_record(GOOD).baseline
    assert known is not None
    noise = NoiseFloor(scenario=NATURE, metric="fvd", floor=floor, n=8, fail=0.25, n_needed=142)
    kept = compared(NATURE, "fvd", 100.0, 100.0)
    return run_record([*GOOD, kept], baseline=known.model_copy(update={"noise": (noise,)}))


def epochs_of(*values: float) -> RunRecord:
    judgements = [
        compared(place, "clip", 1.0, value, candidate=name, width=0.001)
        for name, value in zip(EPOCHS, values, strict=False)
        for place in (*SCENARIOS, ALL)
    ]
    return run_record(judgements, names=EPOCHS[: len(values)])


def frozen() -> Judgement:
    return replace(compared(NATURE, "motion", 1.0, 0.01), verdict=Verdict.DEGENERATE)


def unresolved(enough: int | None) -> Judgement:
    return compared(NATURE, "fvd", 100.0, 140.0, width=0.5, enough=enough)


def capped() -> RunRecord:
    known = run_record([*GOOD, unresolved(19)])
    assert known.baseline is not None
    cap = Cap(stored=8, wanted=12, why="it is unlike", next_command="")
    return known.model_copy(update={"baseline": known.baseline.model_copy(update={"cap": cap})})


def accepted(held: int) -> RunRecord:
    """Compared with a checkpoint of which so many seeds are stored."""
    known = run_record([*GOOD, unresolved(19)])
    assert known.baseline is not None
    noise = (NoiseFloor(scenario=NATURE, metric="fvd", floor=0.1, n=held, fail=0.25, n_needed=4),)
    changed = known.baseline.model_copy(update={"sha256": "ab" * 32, "noise": noise})
    return known.model_copy(update={"baseline": changed})


NOT_STORED: Any = {"name": "accepted", "stored": False, "refused": True, "why": ("worse",)}


def warned(code: str) -> RunRecord:
    """A pair whose LoRA is applied whole, with one warning of its files."""
    record = run_record([replace(file_judged(Verdict.WARN), code=ReasonCode.LORA_WARNED), *GOOD])
    (card,) = record.candidates
    known = {**(card.checkpoint or {}), "warnings": [{"code": code, "words": "a says b"}]}
    files = {card.name: "high=a.safetensors@0.8,low=b.safetensors"}
    return record.model_copy(
        update={
            "candidates": (card.model_copy(update={"checkpoint": known}),),
            "paths": Paths(run="runs/1", suite="tiny", checkpoints=files),
        }
    )


CASES: list[tuple[StepKey, RunRecord, str]] = [
    (
        "race_on",
        run_record(GOOD).model_copy(
            update={"race": race_card(stopped="late", next_command="pytest --again")}
        ),
        "pytest --again",
    ),
    (
        "publish",
        run_record(GOOD),
        "verify .wanlora/runs/20260102-030405-1-epoch-0/receipt.json loras/epoch-0",
    ),
    (
        "gate_alone",
        run_record(
            [replace(failed(Verdict.ERROR), candidate="epoch-1"), *GOOD], names=("epoch-1", "epoch-0")
        ),
        "pytest --lora loras/epoch-0.safetensors",
    ),
    ("fix_checkpoint", run_record([file_judged(Verdict.FAIL)]), "inspect loras/epoch-0.safetensors"),
    ("measure_baseline", run_record([failed(Verdict.MISSING_BASELINE)]), "--update-baselines"),
    ("comparable_environment", run_record([failed(Verdict.INCOMPARABLE)]), "--update-baselines"),
    ("degenerate", run_record([failed(Verdict.DEGENERATE)]), ""),
    ("not_measured", run_record([failed(Verdict.ERROR)]), "pytest --lora loras/epoch-0.safetensors"),
    (
        "cause_first",
        run_record([replace(failed(Verdict.ERROR), next_command="hf download model")]),
        "hf download model",
    ),
    ("run_everything", run_record(GOOD, partial=True), "pytest --lora loras/epoch-0.safetensors"),
    (
        "baseline_stored",
        run_record(GOOD, partial=True, storing=Storing(name="release", stored=True)),
        "pytest --lora loras/epoch-0.safetensors --wanlora-suite tiny --wanlora-baseline base",
    ),
    (
        "baseline_insist",
        run_record(GOOD, partial=True, storing=Storing(**NOT_STORED, next_command="pytest --wanlora-force")),
        "pytest --wanlora-force --lora loras/epoch-0.safetensors",
    ),
    (
        "baseline_not_stored",
        run_record(GOOD, partial=True, storing=Storing(**NOT_STORED)),
        "pytest --lora loras/epoch-0.safetensors",
    ),
    (
        "limit_broken",
        run_record([limited(NATURE, "clip", 1.0, Limit(metric="clip", min=1.5, scenario="each"))]),
        "",
    ),
    (
        "limit_broken_by_both",
        run_record(
            [
                compared(NATURE, "clip", 1.4, 1.0),
                limited(NATURE, "clip", 1.0, Limit(metric="clip", min=1.5, scenario="each")),
            ]
        ),
        "",
    ),
    ("regressed_everywhere", epochs_of(0.5), "--wanlora-scale 0.7"),
    (
        "category_regressed",
        run_record([*GOOD, compared(NATURE, "fvd", 100.0, 200.0)]),
        "data balance METADATA.csv --suite tiny --toward .wanlora/runs/20260102-030405-1-epoch-0 "
        "--samples 1000",
    ),
    (
        "category_regressed_share",
        run_record([*GOOD, compared(NATURE, "fvd", 100.0, 200.0)], training_data=training_data()),
        "data balance train_metadata_1k.csv",
    ),
    ("category_slipped", run_record([*GOOD, compared(NATURE, "fvd", 100.0, 110.0)]), "data balance"),
    ("motion_frozen", run_record([*GOOD, frozen()]), ""),
    ("motion_lost", run_record([*GOOD, compared(NATURE, "motion", 1.0, 0.5)]), ""),
    ("sharpness_lost", run_record([*GOOD, compared(NATURE, "sharpness", 100.0, 50.0)]), "--videos read"),
    ("color_lost", run_record([*GOOD, compared(NATURE, "color", 80.0, 40.0)]), ""),
    ("prompt_lost", run_record([*GOOD[1:], compared(CITY, "clip", 1.0, 0.8)]), "--wanlora-scale 0.7"),
    ("overfit", epochs_of(1.0, 0.96), ""),
    ("keep_training", epochs_of(0.5, 0.7, 0.9), ""),
    ("suspicious", run_record([*GOOD, compared(NATURE, "sharpness", 100.0, 200.0)]), ""),
    ("more_seeds", capped(), "--wanlora-seeds 4:19 --update-baselines"),
    (
        "allow_seeds",
        run_record([*GOOD, unresolved(19)]),
        "epoch-0.safetensors --wanlora-suite tiny --wanlora-seeds 4:19",
    ),
    ("seeds_cannot_settle", run_record([*GOOD, unresolved(None)]), ""),
    ("few_seeds", run_record([*GOOD, compared(NATURE, "fvd", 100.0, 100.0, n=1, width=None)]), ""),
    ("band_below_noise", with_noise(0.9), ""),
    (
        "unfused",
        run_record(
            [replace(file_judged(Verdict.WARN), value=0.71, code=ReasonCode.LORA_ROUNDED_AWAY), *GOOD]
        ),
        "",
    ),
    ("expert_names", warned("expert_name"), "--lora high=b.safetensors,low=a.safetensors@0.8"),
    ("idle_targets", warned("zero_some"), "inspect a.safetensors b.safetensors"),
    ("unclear_alpha", warned("alpha_header"), "inspect a.safetensors b.safetensors"),
    ("file_warning", warned("of_a_later_version"), "inspect a.safetensors b.safetensors"),
    (
        "targets_open",
        run_record(
            [*GOOD, compared(NATURE, "fvd", 100.0, 100.0)], suite=suite_card(targets={NATURE: {"fvd": 9.0}})
        ),
        "",
    ),
]


def steps(record: RunRecord) -> dict[str, Step]:
    last = record.candidates[-1].name
    return {step.key: step for step in next_steps.next_steps(record, last)}


@pytest.mark.parametrize(("key", "record", "command"), CASES, ids=[case[0] for case in CASES])
def test_each_rule_has_its_step_with_words_and_command(key: StepKey, record: RunRecord, command: str) -> None:
    step = steps(record)[key]
    assert command in step.command
    assert bool(command) == bool(step.command)
    for language in LANGUAGES:
        said = sentences.step_text(step, language, lambda name: f"<{name}>", str)
        assert said
        assert "{" not in said
        assert ("a says b" in said) is ("words" in step.numbers)


def test_a_warning_of_the_file_is_not_taken_for_rounding() -> None:
    found = steps(warned("expert_name"))
    assert "unfused" not in found
    assert found["expert_names"].numbers == {"words": "a says b"}


def test_every_rule_has_its_case() -> None:
    assert {case[0] for case in CASES} == set(get_args(StepKey))


@pytest.mark.parametrize("key", sorted(set(get_args(StepKey)) - {"publish"}))
def test_nothing_is_to_be_done_about_a_good_checkpoint_but_publish_it(key: str) -> None:
    assert key not in steps(run_record([file_judged(), *GOOD]))


@pytest.mark.parametrize(
    ("record", "absent"),
    [
        (with_noise(0.1), "band_below_noise"),
        (epochs_of(0.9, 0.7), "keep_training"),
        (epochs_of(0.98, 0.99), "keep_training"),  # it is publishable and has no targets left
        (epochs_of(0.96, 1.0), "overfit"),
        (run_record([file_judged(Verdict.FAIL), failed(Verdict.ERROR)]), "not_measured"),
        (run_record([*GOOD, frozen()]), "degenerate"),
        (run_record([*GOOD, frozen()]), "motion_lost"),
        (run_record([*GOOD, unresolved(19)]), "category_slipped"),
        (run_record([*GOOD, compared(NATURE, "fvd", 100.0, 115.0, width=0.5, enough=300)]), "allow_seeds"),
        (run_record([*GOOD, unresolved(19)]), "more_seeds"),
        (accepted(24), "more_seeds"),
        (accepted(18), "allow_seeds"),
        (epochs_of(0.5), "category_regressed"),
        (run_record(GOOD, partial=True), "publish"),
    ],
)
def test_rules_that_do_not_hold(record: RunRecord, absent: str) -> None:
    assert absent not in steps(record)


def test_a_loss_within_its_band_is_named_however_unsure_it_is() -> None:
    """The surest loss is often the smallest."""
    unsure = compared(NATURE, "temporal", 1.0, 0.96, width=0.5, enough=300)
    sure = compared(NATURE, "fvd", 100.0, 110.0)
    found = steps(run_record([*GOOD, unsure, sure]))["category_slipped"]
    assert found.metrics == ("fvd", "temporal")


def test_the_first_thing_comes_first() -> None:
    order = [step.key for step in next_steps.next_steps(mission_record(), "epoch-0")]
    assert order == [
        "category_regressed",
        "category_slipped",
        "sharpness_lost",
        "color_lost",
        "few_seeds",
        "targets_open",
    ]


def test_with_several_candidates_the_command_names_one() -> None:
    found = {step.key: step for step in next_steps.next_steps(epochs_record(), "epoch-0")}
    assert "--candidate epoch-0 " in found["category_regressed_share"].command


def test_seeds_of_the_pooled_item_are_counted_a_scenario() -> None:
    pooled = compared(ALL, "fvd", 100.0, 140.0, n=24, width=0.5, enough=100)
    step = steps(run_record([*GOOD, pooled]))["allow_seeds"]
    assert (step.numbers["enough"], step.numbers["most"]) == (34, 8)


@pytest.mark.parametrize("bands", [{}, {"fvd": {"warn": 0.05, "fail": 0.3, "better": 0.2}}])
def test_a_band_that_the_suite_no_longer_has_is_not_too_narrow(bands: dict[str, dict[str, float]]) -> None:
    record = with_noise(0.9)
    suite = record.suite.model_copy(update={"tolerances": bands})
    kept = record.judgements if bands else tuple(GOOD)
    changed = {"suite": suite, "judgements": kept, "expected": tuple(each.item for each in kept)}
    assert "band_below_noise" not in steps(record.model_copy(update=changed))


def test_what_a_baseline_caps_needs_more_than_that() -> None:
    known = capped()
    early = known.model_copy(
        update={"judgements": (*GOOD, unresolved(10)), "suite": suite_card(looks=(4, 12))}
    )
    step = steps(early)["more_seeds"]
    assert (step.numbers["enough"], step.numbers["most"]) == (10, 8)
    # as many as the suite asks for already
    assert step.command == "pytest --wanlora-suite tiny --update-baselines"


def test_an_item_of_a_gate_that_stopped_is_run_alone() -> None:
    early = compared(NATURE, "fvd", 100.0, 140.0, n=4, width=0.5, enough=19)
    for record in (run_record([*GOOD, early]), run_record([unresolved(19)], partial=True)):
        command = steps(record)["allow_seeds"].command
        assert command.endswith("--wanlora-seeds 4:19 'wanlora::test_regression[epoch-0-test2_nature-fvd]'")


def test_an_expected_item_that_nobody_judged_asks_for_a_whole_run() -> None:
    expected = [*(judged.item for judged in GOOD), ItemId("regression", "epoch-0", ALL, "clip")]
    step = steps(run_record(GOOD, expected=expected))["run_everything"]
    assert step.numbers == {"judged": 3, "expected": 4}


@pytest.mark.parametrize(
    ("baseline", "limit"),
    [
        (1.4, Limit(metric="clip", min=1.5, scenario="each")),
        (1.6, Limit(metric="clip", min=1.5, scenario="each")),
        (0.5, Limit(metric="clip", max=0.9, scenario="each")),
    ],
)
def test_a_limit_that_the_baseline_breaks_too_is_told_with_its_value(baseline: float, limit: Limit) -> None:
    record = run_record([compared(NATURE, "clip", baseline, 1.0), limited(NATURE, "clip", 1.0, limit)])
    (step,) = (step for key, step in steps(record).items() if key.startswith("limit_broken"))
    both = baseline == 1.4
    assert step.key == ("limit_broken_by_both" if both else "limit_broken")
    assert step.numbers.get("baseline") == ("1.4000" if both else None)
    if both:
        assert "the baseline breaks that limit too (1.4000)" in sentences.step_text(step, "en", str, str)


@pytest.mark.parametrize("name", ["base", "nobody"])
def test_the_model_without_lora_has_nothing_to_do(name: str) -> None:
    card: Any = (
        run_record(GOOD)
        .candidates[0]
        .model_copy(update={"sha256": None, "name": "base", "publishable": False})
    )
    assert next_steps.next_steps(run_record([], candidates=(card,)), name) == ()
