"""A small run record, whole and publishable unless a test wants otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.results.parts import BaselineCard, CandidateCard, SuiteCard, Totals, Video
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.decision import decide
from pytest_wanlora.verdict.judgement import (
    ALL,
    Evidence,
    ItemId,
    ItemOutcome,
    Judgement,
    PytestOutcome,
    Verdict,
)

BYTES = b"the bytes of a checkpoint"
SHA = hashlib.sha256(BYTES).hexdigest()
SCENARIOS = ("test1_city", "test2_nature")
SUITE_SHA = "cd" * 32
EVIDENCE = Evidence(
    n=4,
    looks=(2, 4),
    change=0.015,
    low=-0.01,
    high=0.04,
    level=0.95,
    decisive=True,
    p_value=0.3,
    p_adjusted=0.9,
    tested=True,
    significant=False,
    seconded=False,
    weak=False,
    n_enough=None,
    method="paired-t",
)


def judgements(name: str = "epoch-2") -> tuple[Judgement, ...]:
    """All items of a checkpoint that passes: its file, limits on clip and fvd, comparisons of two metrics."""
    clip = {
        scenario: Judgement(
            "limit", name, scenario, "clip", Verdict.PASS, "0.6", value=value, minimum=0.3, n=2
        )
        for scenario, value in zip(SCENARIOS, (0.61, 0.58), strict=True)
    }
    compared = [
        Judgement(
            "regression",
            name,
            scenario,
            metric,
            Verdict.PASS,
            "as before",
            baseline=base,
            value=value,
            change=0.015,
            warn=0.02,
            fail=0.15,
            n=n,
            reference_n=64 if metric == "fvd" else None,
            evidence=replace(EVIDENCE, n=n),
        )
        for scenario, n in zip((*SCENARIOS, ALL), (2, 2, 4), strict=True)
        for metric, base, value in (("clip", 0.6, 0.59), ("fvd", 1000.0, 1015.0), ("sharpness", 500.0, 492.5))
    ]
    return (
        Judgement("checkpoint", name, "", "", Verdict.PASS, "6 of 6 targets patched", value=1.0),
        *clip.values(),
        Judgement(
            "limit", name, ALL, "fvd", Verdict.PASS, "1015", value=1015.0, maximum=1140.0, n=4, reference_n=64
        ),
        *compared,
    )


def changed(
    given: Sequence[Judgement],
    kind: str,
    scenario: str,
    metric: str,
    **fields: Any,  # noqa: ANN401 - any field
) -> tuple[Judgement, ...]:
    """The judgements with one of them changed."""
    place = (kind, scenario, metric)
    found = tuple(replace(j, **fields) if (j.kind, j.scenario, j.metric) == place else j for j in given)
    assert found != tuple(given)
    return found


def card(name: str = "epoch-2", *, sha256: str = SHA, **fields: Any) -> CandidateCard:  # noqa: ANN401 - any field
    """A candidate's card that says publishable."""
    described = {
        "name": name,
        "file": f"{name}.safetensors",
        "sha256": sha256,
        "identity": sha256,
        "size": 2_500_000,
        "format": "diffsynth",
        "dtype": "bfloat16",
        "rank": 16,
        "ranks": [16],
        "alphas": [],
        "alpha_source": "none",
        "targets": 6,
        "layers": {"self_attn.q": 6},
        "blocks": 2,
        "block_count": 2,
        "norm": 1.5,
        "zero_targets": [],
        "problems": [],
        "metadata": {},
    }
    known: dict[str, Any] = {
        "name": name,
        "sha256": sha256,
        "checkpoint": described,
        "publishable": True,
        "reason": "all 13 items pass",
        **fields,
    }
    return CandidateCard(**known)


def videos(name: str = "epoch-2", *, preview: bool = True) -> tuple[Video, ...]:
    """Two videos a scenario of the checkpoint, and their pairs."""
    return tuple(
        Video(
            role=role,
            candidate=name if role == "candidate" else "base",
            scenario=scenario,
            seed=seed,
            scores={"clip": 0.6, "sharpness": 500.0},
            key=f"{scenario}{seed}",
            preview=f"../../cache/{scenario}{seed}/preview.mp4" if preview and role == "candidate" else None,
        )
        for role in ("baseline", "candidate")
        for scenario in SCENARIOS
        for seed in (1, 0)
    )


def record(**fields: Any) -> RunRecord:  # noqa: ANN401 - any field
    """A run of one checkpoint, or of the candidates, judgements and videos that a test gives."""
    given: Sequence[Judgement] = fields.get("judgements", judgements())
    known: dict[str, Any] = {
        "run_id": "20260102-030405-1-epoch-2",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "command": ("pytest", "--lora", "epoch-2.safetensors"),
        "exit_status": 0,
        "partial": False,
        "environment": {"device": "cuda", "device_name": "NVIDIA H100", "torch": "2.14.1"},
        "versions": {"pytest-wanlora": "0.1.0", "torch": "2.14.1"},
        "suite": SuiteCard(
            name="fake",
            sha256=SUITE_SHA,
            fingerprint={
                "model": {"files": {"model.dit[0]": {"hub": "Wan-AI/Wan2.2-TI2V-5B:dit*", "sha256": []}}},
                "sampling": {"steps": 20, "cfg_scale": 3.0},
            },
            prompts={
                name: Prompt(category="c", prompt=f"a {name}", caption=f"a {name}") for name in SCENARIOS
            },
            limits=(
                {"metric": "clip", "min": 0.3, "max": None, "scenario": "each"},
                {"metric": "fvd", "min": None, "max": 1140.0, "scenario": "all"},
            ),
            tolerances={
                metric: {"warn": 0.02, "fail": 0.15, "better": 0.2} for metric in ("clip", "fvd", "sharpness")
            },
            looks=(2, 4),
        ),
        "candidates": (card(),),
        "baseline": BaselineCard(name="base", digest="ef" * 32, created="2026-01-01T00:00:00+00:00"),
        "expected": tuple(judged.item for judged in given),
        "videos": videos(),
        "judgements": given,
        "totals": Totals(rendered=4, reused=0, failed=0, seconds=60.0, rendering_seconds=40.0),
        **fields,
    }
    return RunRecord(**known)


TESTS = (
    ItemOutcome("tests/test_own.py::test_motion[epoch-2]", "epoch-2", PytestOutcome.PASSED),
    ItemOutcome("tests/test_own.py::test_colours", None, PytestOutcome.PASSED),
)


def tested(*tests: ItemOutcome, **fields: Any) -> RunRecord:  # noqa: ANN401 - any field
    """A run with project tests, two that pass and those that a test gives, with its decisions."""
    cards = (card(publishable=False, reason=""),)
    known: dict[str, Any] = {"candidates": cards, "project_tests": (*tests, *TESTS), **fields}
    status = 0 if all(test.passed for test in tests) else 1
    return record(**known).ended(fields.get("exit_status", status))


def failing(metric: str = "sharpness", scenario: str = SCENARIOS[0]) -> RunRecord:
    """A run of a checkpoint that may not be published."""
    proven = replace(EVIDENCE, change=0.5, low=0.4, high=0.6, significant=True)
    worse: dict[str, Any] = {"verdict": Verdict.FAIL, "change": 0.5, "value": 250.0, "evidence": proven}
    given = changed(judgements(), "regression", scenario, metric, **worse)
    reason = decide(given, [judged.item for judged in given]).reason
    return record(judgements=given, candidates=(card(publishable=False, reason=reason),))


def several(*names: str) -> RunRecord:
    """A run of several checkpoints that may all be published."""
    given = tuple(judged for name in names for judged in judgements(name))
    cards = tuple(card(name, sha256=hashlib.sha256(name.encode()).hexdigest()) for name in names)
    own = tuple(video for name in names for video in videos(name) if video.role == "candidate")
    pairs = tuple(video for video in videos() if video.role == "baseline")
    return record(judgements=given, candidates=cards, videos=(*pairs, *own), expected=items(given))


def items(given: Sequence[Judgement]) -> tuple[ItemId, ...]:
    """The items of judgements."""
    return tuple(judged.item for judged in given)


def checkpoint_file(folder: Path) -> Path:
    """The file that `record` is about."""
    path = folder / "epoch-2.safetensors"
    path.write_bytes(BYTES)
    return path
