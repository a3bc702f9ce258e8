"""What reports show of a subject: A, B and C in step, references, the curve, and a copy beside its clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_wanlora.reports import html, markdown, summary, terminal
from pytest_wanlora.reports.html_checkpoints import Anchors
from pytest_wanlora.reports.html_player import player_of
from pytest_wanlora.reports.html_previews import gather
from pytest_wanlora.reports.html_subject import subject_of
from pytest_wanlora.results.parts import Video
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.reasons import reason
from tests.unit.reports.gated import EVIDENCE
from tests.unit.reports.records import file_judged, run_record

PLACE = "test2_nature"


def question(metric: str, verdict: Verdict, code: ReasonCode, **changed: object) -> Judgement:
    told = replace(EVIDENCE, change=0.2, low=0.1, high=0.3)
    known = Judgement(
        "question", "epoch-0", PLACE, metric, verdict, "", value=0.7, n=4, evidence=told, code=code
    )
    made = replace(known, **changed)  # type: ignore[arg-type]  # any field
    return replace(made, reason=reason(made))


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "clip.png"):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(tmp_path / name)
    curves = {
        "baseline_curve": (0.5, 0.4, 0.3),
        "curve": (0.7, 0.7, 0.6),
        "references": ("a.png", "b.jpg", "no.png"),
    }
    copied = {"clip": "clip.png", "seed": 1, "bound": 0.33, "count": 1, "copied": ((PLACE, 1, "clip.png"),)}
    own = Video(role="candidate", candidate="epoch-0", scenario=PLACE, seed=0, scores={"clip": 0.5})
    kinds: tuple[dict[str, str], ...] = (
        {"role": "baseline", "candidate": "base"},
        {},
        {"scenario": f"{PLACE}+trigger"},
    )
    videos = [own.model_copy(update={**kind, "seed": seed}) for kind in kinds for seed in (0, 1)]
    return run_record(
        [
            file_judged(),
            question("bleed", Verdict.PASS, ReasonCode.KEEPS_THE_REST, warn=0.5, fail=0.75),
            question(
                "likeness",
                Verdict.FAIL,
                ReasonCode.LEARNED_NOT,
                baseline=0.5,
                fail=0.1,
                details={"gain": 0.2, "first": 0.7, "last": 0.6, **curves},
            ),
            question("copies", Verdict.WARN, ReasonCode.COPIES, evidence=None, details=copied),
        ],
        videos=tuple(videos),
    )


def test_the_player_has_a_b_and_c_in_step(record: RunRecord, tmp_path: Path) -> None:
    anchors = Anchors(record)
    player = player_of(record, anchors, gather(record, tmp_path, 10_000), PLACE)
    assert player is not None
    assert player.sides == (
        ("Baseline", "base", -1),
        ("Candidate", "epoch-0", 0),
        ("With the trigger", "epoch-0", 0),
    )
    assert [len(take.shots) for take in player.takes] == [3, 3]
    assert {take.shots[2].file for take in player.takes} == {
        f"candidate1-{anchors.scene(PLACE)}-trigger-seed{seed}.mp4" for seed in (0, 1)
    }


def test_references_curve_and_copy_are_shown(record: RunRecord, tmp_path: Path) -> None:
    shown = subject_of(record, tmp_path, "epoch-0", PLACE, "en")
    assert shown is not None
    assert len(shown.references) == 2
    assert shown.curve is not None
    assert shown.curve.count("<polyline") == 2
    ((seed, clip, own, trained),) = shown.copies
    assert (seed, clip, own, len(trained)) == (1, "clip.png", (), 1)
    assert subject_of(record, tmp_path, "epoch-0", "test3_action", "en") is None


@pytest.mark.parametrize("curve", [(), ("a", "b"), (0.5,)])
def test_a_curve_that_is_none_is_left_out(
    record: RunRecord, tmp_path: Path, curve: tuple[float, ...] | tuple[str, ...]
) -> None:
    changed = tuple(
        replace(each, details={**each.details, "curve": curve}) if each.metric == "likeness" else each
        for each in record.judgements
    )
    shown = subject_of(record.model_copy(update={"judgements": changed}), tmp_path, "epoch-0", PLACE, "en")
    assert shown is not None
    assert shown.curve is None


def test_a_record_keeps_what_was_asked(record: RunRecord) -> None:
    assert RunRecord.from_json(record.to_json()) == record


def test_the_scenario_fails_and_says_why(record: RunRecord) -> None:
    outcome = summary.outcome(record, "epoch-0", PLACE)
    assert outcome.kind == "failure"
    assert [each.metric for each in outcome.asked] == ["likeness", "copies"]


def test_every_report_tells_it(record: RunRecord, tmp_path: Path) -> None:
    told = " ".join(" ".join(terminal.summary(record, place="x", full=True)).split())
    assert "the LoRA did not learn its subject" in told
    assert "question test2_nature Bleed" in told
    page = html.page(record, tmp_path)
    for words in (
        "with the trigger",
        "Likeness over the frames",
        "data:image/jpeg",
        'class="curve base"',
        "clip.png",
    ):
        assert words in page
    assert "90% interval 10.0% to 30.0%" not in page
    assert "LoRA가 피사체를 학습하지 못했습니다" in page
    assert "did not learn its subject" in markdown.page(record, "en")
    assert "학습하지 못했습니다" in markdown.page(record, "ko")
