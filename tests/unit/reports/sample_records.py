"""Two run records: the scores of the report of 2025-11-11, and three epochs with every sort of section."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.results.parts import BaselineCard, Failure, Role, Totals, Video
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.results.training_data import (
    CorrelationCard,
    ScenarioShare,
    SuspicionCard,
    TrainingDataCard,
)
from pytest_wanlora.suite import DEFAULT_TOLERANCES, Limit
from pytest_wanlora.verdict.judgement import ALL, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.noise import NoiseFloor
from pytest_wanlora.verdict.reasons import reason
from pytest_wanlora.verdict.regressions import judge_regression, judge_set
from tests.unit.reports.records import (
    PROMPTS,
    SCENARIOS,
    compared,
    file_judged,
    limited,
    run_record,
    suite_card,
)
from tests.unit.reports.stated import MEAN, Figure, Stated

DATA = Path(__file__).parents[2] / "data"
SCORES: dict[str, Any] = yaml.safe_load((DATA / "report-2025-11-11.yaml").read_text(encoding="utf-8"))
FIGURES: dict[str, Any] = yaml.safe_load(
    (DATA / "report-2025-11-11-figures.yaml").read_text(encoding="utf-8")
)
REPORTED = ("clip", "fvd", "temporal", "sharpness", "color", "overall")
CITY, NATURE, ACTION = SCENARIOS


def mission_record() -> RunRecord:
    """The scores of the report of 2025-11-11: one seed a scenario, so that the band alone decides."""
    scenes = {name: SCORES["scenarios"][name] for name in SCENARIOS}
    judgements = [file_judged()]
    for metric in REPORTED:
        judgements += _reported(metric, scenes)
    clip = Limit(metric="clip", min=0.3, scenario="each")
    fvd = Limit(metric="fvd", max=1140.0, scenario="all")
    judgements += [limited(name, "clip", scenes[name]["lora"]["clip"], clip, n=1) for name in SCENARIOS]
    pooled = math.fsum(scenes[name]["lora"]["fvd"] for name in SCENARIOS) / 3
    judgements.append(limited(ALL, "fvd", pooled, fvd, n=3))
    videos = tuple(
        Video(
            role=role,
            candidate=name,
            scenario=scenario,
            seed=0,
            scores={**side, "sharpness_pct": side["sharpness"]},
            applied={"patched": 300, "targets": 300} if role == "candidate" else None,
        )
        for scenario, sides in scenes.items()
        for role, name, side in _sides(sides)
    )
    card = suite_card(
        name="wan2.2-ti2v-5b",
        fingerprint={
            "sampling": {"height": 480, "width": 832, "frames": 9, "steps": 50},
            "scoring": {
                "clip": {"model": "ViT-B-32-quickgelu"},
                "video_features": {"kind": "torchscript"},
            },
        },
        targets={CITY: {"fvd": 45.0}, NATURE: {"fvd": 120.0}, ACTION: {"fvd": 180.0}},
        limits=(clip.model_dump(mode="json"), fvd.model_dump(mode="json")),
        looks=(1,),
    )
    return run_record(
        judgements,
        suite=card,
        videos=videos,
        run_id="20251111-000000-1-epoch-0",
        started="2025-11-11T00:00:00+00:00",
        totals=Totals(rendered=3, reused=0, failed=0, seconds=60.0, rendering_seconds=50.0),
    )


def _sides(sides: Mapping[str, Any]) -> tuple[tuple[Role, str, dict[str, float]], ...]:
    return (
        ("candidate", "epoch-0", _of_videos(sides["lora"])),
        ("baseline", "base", _of_videos(sides["base"])),
    )


def _of_videos(side: Mapping[str, float]) -> dict[str, float]:
    return {metric: value for metric, value in side.items() if METRICS[metric].level == "video"}


def _reported(metric: str, scenes: Mapping[str, Any]) -> list[Judgement]:
    """A metric's comparison in each scenario and over all; the mean stands for the pooled distance."""
    known, tolerance = METRICS[metric], DEFAULT_TOLERANCES[metric]
    places: list[tuple[str, Sequence[str]]] = [*((name, [name]) for name in SCENARIOS), (ALL, SCENARIOS)]
    if known.level == "video":
        return [
            judge_regression(
                known,
                candidate="epoch-0",
                scenario=place,
                scores={name: {0: scenes[name]["lora"][metric]} for name in names},
                baseline={name: {0: scenes[name]["base"][metric]} for name in names},
                tolerance=tolerance,
            )
            for place, names in places
        ]
    return [
        judge_set(
            known,
            candidate="epoch-0",
            scenario=place,
            value=math.fsum(scenes[name]["lora"][metric] for name in names) / len(names),
            baseline=math.fsum(scenes[name]["base"][metric] for name in names) / len(names),
            n=len(names),
            baseline_n=len(names),
            reference_n=1,
            tolerance=tolerance,
        )
        for place, names in places
    ]


def mission_stated() -> tuple[Stated, ...]:
    """The derived figures of the report's tables, its marks, and its scores by its own formula."""
    stated = [
        Stated(scenario, metric, figure, text)
        for scenario, of in FIGURES["comparisons"].items()
        for metric, figures in of.items()
        for figure, text in figures.items()
    ]
    stated += [
        Stated(MEAN, metric, figure, text)
        for table in ("averages", "limits")
        for metric, figures in FIGURES[table].items()
        for figure, text in figures.items()
    ]
    for place, sides in SCORES["scenarios"].items():
        scenario = MEAN if place == "averages" else place
        stated += [Stated(scenario, metric, "mark", mark) for metric, mark in sides["marks"].items()]
        if place != "averages":
            formulas: tuple[tuple[Figure, str], ...] = (("baseline_formula", "base"), ("formula", "lora"))
            stated += [
                Stated(scenario, "overall", figure, str(sides[side]["overall"])) for figure, side in formulas
            ]
    return tuple(dict.fromkeys(stated))


#: The baseline's value and those of three checkpoints: one fails, one has weak evidence, one is good.
_COURSE: dict[tuple[str, str], tuple[float, float, float, float]] = {
    (CITY, "clip"): (2.439, 2.375, 2.441, 2.439),
    (CITY, "fvd"): (1950.3, 243.7, 187.8, 543.2),
    (CITY, "sharpness"): (1156.1, 2193.5, 1160.0, 1180.0),
    (CITY, "motion"): (0.233, 0.241, 0.222, 0.282),
    (NATURE, "clip"): (2.061, 1.640, 1.959, 2.134),
    (NATURE, "fvd"): (1279.1, 2193.2, 1650.0, 1484.3),
    (NATURE, "sharpness"): (117.1, 80.0, 114.7, 116.0),
    (NATURE, "motion"): (0.389, 0.020, 0.357, 0.370),
    (ACTION, "clip"): (2.458, 2.442, 2.458, 2.456),
    (ACTION, "fvd"): (114.7, 109.1, 112.4, 125.8),
    (ACTION, "sharpness"): (761.2, 753.5, 761.6, 761.1),
    (ACTION, "motion"): (1.735, 1.509, 1.580, 1.859),
    (ALL, "clip"): (2.319, 2.152, 2.286, 2.343),
    (ALL, "fvd"): (974.6, 1330.0, 943.3, 617.0),
    (ALL, "sharpness"): (678.1, 1009.0, 678.8, 685.7),
    (ALL, "motion"): (0.786, 0.590, 0.720, 0.837),
}
EPOCHS = ("epoch-0", "epoch-1", "epoch-2")


def epochs_record(**changed: Any) -> RunRecord:  # noqa: ANN401 - any field
    """Three epochs with every sort of section: failures, weak evidence, targets, training data, notes."""
    clip = Limit(metric="clip", min=1.5, scenario="each")
    fvd = Limit(metric="fvd", max=2500.0, scenario="all")
    judgements: list[Judgement] = []
    for index, name in enumerate(EPOCHS):
        judgements.append(file_judged(candidate=name))
        for (scenario, metric), values in _COURSE.items():
            n = 24 if scenario == ALL else 8
            weak = (scenario, metric, index) == (NATURE, "fvd", 1)
            distance = METRICS[metric].level == "set"
            found = compared(
                scenario,
                metric,
                values[0],
                values[1 + index],
                candidate=name,
                n=n,
                width=0.3 if weak else (0.04 if distance else 0.008),
                enough=19 if weak else None,
            )
            if (scenario, metric, index) == (NATURE, "motion", 0):
                found = replace(
                    found,
                    verdict=Verdict.DEGENERATE,
                    code=ReasonCode.FROZEN,
                    details={"videos": ((NATURE, 1, ""), (NATURE, 4, ""))},
                )
                found = replace(found, reason=reason(found))
            judgements.append(found)
        judgements += [
            limited(scenario, "clip", _COURSE[scenario, "clip"][1 + index], clip, candidate=name)
            for scenario in SCENARIOS
        ]
        judgements.append(limited(ALL, "fvd", _COURSE[ALL, "fvd"][1 + index], fvd, candidate=name, n=12))
    videos = tuple(
        Video(
            role="candidate",
            candidate=name,
            scenario=CITY,
            seed=0,
            scores={},
            applied={"patched": 80, "targets": 80},
        )
        for name in EPOCHS
    )
    known: dict[str, Any] = {
        "names": EPOCHS,
        "run_id": "20260102-030405-1-3-checkpoints",
        "suite": suite_card(targets={CITY: {"fvd": 600.0}, NATURE: {"fvd": 1200.0, "clip": 2.1}}),
        "videos": videos,
        "baseline": BaselineCard(
            name="base",
            digest="ef" * 32,
            created="2026-01-01T00:00:00+00:00",
            differences=("torch is 2.14.1, the baseline's is 2.13.0",),
            noise=(
                NoiseFloor(scenario=ACTION, metric="fvd", floor=1.05, n=8, fail=0.25, n_needed=142),
                NoiseFloor(scenario=ACTION, metric="clip", floor=0.01, n=8, fail=0.05, n_needed=2),
            ),
        ),
        "failures": (Failure(candidate="epoch-1", scenario=ACTION, seed=7, message="out of memory"),),
        "notes": ("worker gw1 died",),
        "training_data": training_data(),
    }
    return run_record(judgements, **{**known, **changed})


def training_data() -> TrainingDataCard:
    shares = {"urban": 0.62, "nature": 0.05, "action": 0.23, "other": 0.10}
    counts = {name: round(1000 * share) for name, share in shares.items()}
    return TrainingDataCard(
        file="train_metadata_1k.csv",
        sha256="12" * 32,
        rows=1003,
        prompts=1000,
        counts=counts,
        shares=shares,
        languages={"en": 800, "ko": 200},
        undecided=97,
        ties=3,
        scenarios={
            scenario: ScenarioShare(
                category=prompt.category,
                prompts=counts[prompt.category],
                share=shares[prompt.category],
                rare=prompt.category == "nature",
            )
            for scenario, prompt in PROMPTS.items()
        },
        suspicions=(
            SuspicionCard(
                key="rare_but",
                candidate="epoch-0",
                scenario=NATURE,
                category="nature",
                share=0.05,
                metric="fvd",
                change=0.7146,
                commonest="urban",
                commonest_share=0.62,
                against=(ACTION,),
            ),
        ),
        correlations=(
            CorrelationCard(
                key="chance", candidate="epoch-1", scenarios=6, categories=3, rho=-0.31, p_value=0.333
            ),
            CorrelationCard(
                key="the_rarer_the_worse",
                candidate="epoch-0",
                scenarios=6,
                categories=3,
                rho=-0.94,
                p_value=0.017,
            ),
        ),
    )
