"""Builds judgements and run records for tests of the reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.results.parts import (
    BaselineCard,
    CandidateCard,
    SuiteCard,
    Totals,
)
from pytest_wanlora.results.race import Entrant, RaceCard
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.suite import DEFAULT_TOLERANCES, Limit
from pytest_wanlora.verdict.bands import rule
from pytest_wanlora.verdict.decision import decide
from pytest_wanlora.verdict.evidence import change as change_of
from pytest_wanlora.verdict.judgement import (
    Evidence,
    ItemId,
    ItemOutcome,
    Judgement,
    PytestOutcome,
    ReasonCode,
    Verdict,
    Worst,
)
from pytest_wanlora.verdict.limits import judge_limit, judge_set_limit
from pytest_wanlora.verdict.race import State
from pytest_wanlora.verdict.reasons import reason

SHA = "ab" * 32
SCENARIOS = ("test1_korean_city", "test2_nature", "test3_action")
PROMPTS = {
    "test1_korean_city": Prompt(category="urban", prompt="a Korean city at night", caption="a city"),
    "test2_nature": Prompt(category="nature", prompt="a cherry tree, many petals falling", caption="a tree"),
    "test3_action": Prompt(category="action", prompt="a runner in a red shirt", caption="a runner"),
}


def suite_card(**changed: Any) -> SuiteCard:  # noqa: ANN401 - any field
    known: dict[str, Any] = {
        "name": "tiny",
        "sha256": "cd" * 32,
        "fingerprint": {
            "sampling": {"height": 96, "width": 160, "frames": 9, "steps": 20},
            "scoring": {"clip": {"model": {"sha256": ["ab"]}}, "video_features": {"kind": "module"}},
        },
        "prompts": PROMPTS,
        "limits": (
            {"metric": "clip", "min": 1.5, "max": None, "scenario": "each"},
            {"metric": "fvd", "min": None, "max": 2500.0, "scenario": "all"},
        ),
        "tolerances": {name: tolerance.model_dump() for name, tolerance in DEFAULT_TOLERANCES.items()},
        "looks": (4, 8),
    }
    return SuiteCard(**{**known, **changed})


def run_record(
    judgements: Sequence[Judgement],
    *,
    expected: Sequence[ItemId] | None = None,
    names: Sequence[str] = ("epoch-0",),
    partial: bool = False,
    **changed: Any,  # noqa: ANN401 - any field
) -> RunRecord:
    """A record of these judgements; its decisions follow from them."""
    wanted = tuple(judged.item for judged in judgements) if expected is None else tuple(expected)
    cards = []
    for name in names:
        own = [judged for judged in judgements if judged.candidate == name]
        made = decide(own, [item for item in wanted if item.candidate == name])
        cards.append(
            CandidateCard(
                name=name,
                sha256=SHA,
                checkpoint={
                    "file": f"{name}.safetensors",
                    "format": "diffsynth",
                    "dtype": "float32",
                    "rank": 16,
                    "targets": 80,
                    "size": 2573432,
                },
                publishable=made.publishable and not partial,
                reason=made.reason,
            )
        )
    known: dict[str, Any] = {
        "run_id": "20260102-030405-1-epoch-0",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:14:05+00:00",
        "command": ("pytest", *(word for name in names for word in ("--lora", f"loras/{name}.safetensors"))),
        "exit_status": 0 if all(card.publishable for card in cards) else 1,
        "partial": partial,
        "environment": {"device": "cpu", "device_name": "cpu", "dtype": "float32", "torch": "2.14.1"},
        "versions": {"pytest-wanlora": "0.1.0", "pytest": "9.2.0"},
        "suite": suite_card(),
        "candidates": tuple(cards),
        "baseline": BaselineCard(name="base", digest="ef" * 32, created="2026-01-01T00:00:00+00:00"),
        "expected": wanted,
        "judgements": tuple(judgements),
        "totals": Totals(rendered=12, reused=36, failed=0, seconds=600.0, rendering_seconds=550.0),
    }
    return RunRecord(**{**known, **changed})


def race_card(**changed: Any) -> RaceCard:  # noqa: ANN401 - any field
    """Two epochs at two strengths; one candidate of each state."""

    def entrant(epoch: int, scale: float, state: State, loss: float | None, **more: Any) -> Entrant:  # noqa: ANN401
        stated: dict[str, Any] = {
            "name": f"epoch-{epoch}@{scale:g}",
            "checkpoint": f"epoch-{epoch}",
            "scale": scale,
            "videos": 12,
            "state": state,
            "n": 4,
            "loss": loss,
            "behind": None if loss is None else loss + 0.2,
            "low": None,
            "high": None,
            "leader": "epoch-1@0.8",
        }
        return Entrant(**{**stated, **more})

    known: dict[str, Any] = {
        "objective": "mean",
        "looks": (4, 8),
        "alpha": 0.05,
        "margin": 0.25,
        "winner": "epoch-1@0.8",
        "gated": "epoch-1@0.8",
        "not_told_apart": ("epoch-1@1",),
        "entrants": (
            entrant(0, 0.8, "behind", 0.9, low=0.4, high=1.8, worst=2.1),
            entrant(0, 1.0, "failed", None, why="it does not fit the GPU"),
            entrant(1, 0.8, "in", -0.2, n=8, videos=24, worst=0.3, seeds=8),
            entrant(1, 1.0, "no_better", -0.1, low=-0.1, high=0.3, worst=0.6),
        ),
        "most": 96,
        "stopped": "",
        "seconds": 61.0,
    }
    return RaceCard(**{**known, **changed})


def with_tests(
    record: RunRecord, name: str = "tests/test_team.py::test_{}", detail: str = "why"
) -> RunRecord:
    """The same run with project tests, one of each outcome, and a skipped item of each checkpoint."""
    first, *others = (card.name for card in record.candidates)
    tests = tuple(
        ItemOutcome(name.format(outcome), candidate, outcome, detail)
        for candidate, outcome in zip(
            [first, None, *others] * len(PytestOutcome), PytestOutcome, strict=False
        )
    )
    left_out = tuple(
        ItemOutcome(
            str(ItemId("limit", card.name, SCENARIOS[0], "clip")), card.name, PytestOutcome.SKIPPED, detail
        )
        for card in record.candidates
    )
    update = {"project_tests": tests, "left_out": left_out, "other_failures": (name.format("other"),)}
    return record.model_copy(update={**update, "partial": True}).ended(1)


def compared(
    scenario: str,
    metric: str,
    baseline: float,
    value: float,
    *,
    candidate: str = "epoch-0",
    n: int = 8,
    width: float | None = 0.02,
    enough: int | None = None,
    **changed: Any,  # noqa: ANN401 - any field
) -> Judgement:
    """A comparison whose interval is so wide to both sides; None: one seed, without evidence."""
    tolerance = DEFAULT_TOLERANCES[metric]
    change = float(change_of(baseline, value, METRICS[metric].higher_is_better))
    evidence = None
    if width is not None:
        low, high = change - width, change + width
        significant = low > 0.0
        straddles = low < tolerance.fail < high
        weak = straddles or (change > tolerance.fail and not significant)
        evidence = Evidence(
            n=n,
            looks=(4, 8) if n > 4 else (4,),
            change=change,
            low=low,
            high=high,
            level=0.9,
            decisive=not straddles,
            p_value=0.0004 if significant else 0.2,
            p_adjusted=0.008 if significant else 1.0,
            tested=True,
            significant=significant and not weak,
            seconded=False,
            weak=weak,
            n_enough=enough if weak else None,
            method="paired-t",
        )
    verdict, code = rule(METRICS[metric], change, tolerance, evidence, undecided="warn")
    known = Judgement(
        kind="regression",
        candidate=candidate,
        scenario=scenario,
        metric=metric,
        verdict=verdict,
        reason="",
        baseline=baseline,
        value=value,
        change=change if math.isfinite(change) else None,
        warn=tolerance.warn,
        fail=tolerance.fail,
        n=n,
        evidence=evidence,
        worst=None if METRICS[metric].level == "set" else Worst(scenario, 3, value * 0.9, baseline),
        code=code,
    )
    return replace(known, **{"reason": reason(known), **changed})


def limited(
    scenario: str, metric: str, value: float, limit: Limit, *, candidate: str = "epoch-0", n: int = 4
) -> Judgement:
    """A limit judged on values that are all the same."""
    if METRICS[metric].level == "set":
        return judge_set_limit(
            METRICS[metric],
            candidate=candidate,
            scenario=scenario,
            limit=limit,
            value=value,
            n=n,
            reference_n=512,
        )
    return judge_limit(
        METRICS[metric],
        candidate=candidate,
        scenario=scenario,
        limit=limit,
        scores={scenario: dict.fromkeys(range(n), value)},
    )


def file_judged(verdict: Verdict = Verdict.PASS, *, candidate: str = "epoch-0", words: str = "") -> Judgement:
    known = Judgement(
        "checkpoint",
        candidate,
        "",
        "",
        verdict,
        words,
        value=1.0,
        code=None if words else ReasonCode.LORA_APPLIED,
        details={
            "patched": 80,
            "targets": 80,
            "mode": "fused",
            "strength": 1.0,
            "cosine": 1.0,
            "relative_size": 0.01,
        },
    )
    return replace(known, reason=reason(known))
