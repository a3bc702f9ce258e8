"""The terminal's lines: every verdict is seen, nothing that failed reads like a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_wanlora import results
from pytest_wanlora.reports import compare, terminal
from pytest_wanlora.reports.next_steps import next_steps
from pytest_wanlora.reports.sentences import baseline_lines
from pytest_wanlora.reports.terminal_tables import Line, headline, matrix, word
from pytest_wanlora.results.parts import Cap, Role, Totals, Video
from pytest_wanlora.results.race import RaceCard
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.results.training_data import (
    CorrelationCard,
    ScenarioShare,
    SuspicionCard,
    TrainingDataCard,
)
from pytest_wanlora.suite import Limit
from pytest_wanlora.verdict.judgement import (
    ALL,
    ItemOutcome,
    Judgement,
    PytestOutcome,
    ReasonCode,
    Verdict,
    Worst,
)
from pytest_wanlora.verdict.noise import NoiseFloor
from pytest_wanlora.verdict.reasons import reason
from tests.unit.reports.records import (
    SCENARIOS,
    compared,
    file_judged,
    limited,
    race_card,
    run_record,
    suite_card,
)
from tests.unit.reports.sample_records import epochs_record, mission_record, training_data
from tests.unit.reports.write_golden import GOLDEN, TERMINALS


@pytest.mark.parametrize(
    ("card", "english", "korean"),
    [
        (
            {"added": {"a": (3, 4), "b": (3,)}, "added_rendered": 2},
            "More videos of the model without LoRA that were compared with: 3, rendered in this run: 2 "
            "(a: 3, 4; b: 3)",
            "비디오 3개를 더해",
        ),
        (
            {"cap": Cap(stored=3, wanted=8, why="", next_command="pytest --update-baselines")},
            "asks for up to 8 seeds a scenario and the baseline has 3: no more were compared, because it is "
            "of an accepted checkpoint, which a gate does not render.",
            "승인된 체크포인트",
        ),
    ],
)
def test_the_seeds_beyond_the_baseline_are_told_in_both_languages(
    card: dict[str, object], english: str, korean: str
) -> None:
    record = epochs_record()
    assert record.baseline is not None
    told = record.model_copy(update={"baseline": record.baseline.model_copy(update=card)})
    assert baseline_lines(record, "en") == []
    assert english in baseline_lines(told, "en")[0]
    assert korean in baseline_lines(told, "ko")[0]
    lines = terminal.summary(told, "results.json")
    assert english in " ".join(" ".join(lines).split())
    if told.baseline is not None and told.baseline.cap is not None:
        assert f"note: To measure more: {told.baseline.cap.next_command}" in lines


REAL_RUN = Path(__file__).parents[2] / "data" / "record-version-1.json"


def _judged(verdict: Verdict = Verdict.FAIL, **changes: Any) -> Judgement:  # noqa: ANN401 - any field
    known: dict[str, Any] = {
        "kind": "regression",
        "candidate": "epoch-0",
        "scenario": "nature",
        "metric": "sharpness",
        "verdict": verdict,
        "reason": "400.0 -> 200.0, 50.0% worse",
        "value": 200.0,
        "baseline": 400.0,
        "worst": Worst("nature", 3, 100.0, 450.0),
    }
    return Judgement(**{**known, **changes})


class TestFailure:
    def test_layers(self) -> None:
        text = terminal.failure(
            _judged(), preview="cache/x/preview.mp4", again="pytest --lora X 'wanlora::i'"
        )
        assert text.splitlines() == [
            "FAIL: Sharpness of nature (epoch-0)",
            "400.0 -> 200.0, 50.0% worse",
            "higher is better",
            "worst: nature, seed 3: 100.0, its pair 450.0",
            "       cache/x/preview.mp4",
            "next: pytest --lora X 'wanlora::i'",
        ]

    def test_lower_is_better(self) -> None:
        text = terminal.failure(_judged(metric="fvd", worst=None), preview=None, again="again")
        assert "lower is better" in text

    @pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict.fails])
    def test_every_failing_verdict_leads_its_text(self, verdict: Verdict) -> None:
        first = terminal.failure(_judged(verdict), preview=None, again="again").splitlines()[0]
        assert first.split(":")[0].isupper()

    def test_an_errors_own_next_command_is_the_only_one(self) -> None:
        judged = _judged(
            Verdict.ERROR, reason="no such file", next_command="fetch it", value=None, worst=None
        )
        text = terminal.failure(judged, preview=None, again="again")
        assert [line for line in text.splitlines() if line.startswith("next: ")] == ["next: fetch it"]

    def test_a_long_reason_is_cut_and_says_so_but_keeps_its_command(self) -> None:
        judged = _judged(reason="\n".join(["x" * 99] * 20), next_command="do this")
        lines = terminal.failure(judged, preview=None, again="again").splitlines()
        assert sum(map(len, lines)) < 900
        assert any(line.startswith("... (") and "characters more in the record" in line for line in lines)
        assert "next: do this" in lines

    def test_the_pooled_item_and_the_file_have_names(self) -> None:
        pooled = terminal.failure(_judged(scenario=ALL), preview=None, again="a")
        assert pooled.startswith("FAIL: Sharpness of all (epoch-0)")
        file = _judged(kind="checkpoint", scenario="", metric="", value=None, worst=None)
        assert terminal.failure(file, preview=None, again="a").startswith(
            "FAIL: checkpoint of epoch-0 (epoch-0)"
        )


def test_stored_lines() -> None:
    assert terminal.stored_lines("b/base", ["s  clip  none -> 0.6"], ["too tight"]) == [
        "stored b/base",
        "  s  clip  none -> 0.6",
        "  note: too tight",
    ]


class TestTrainingData:
    """The training data's section, of the record of a real run."""

    DATA = TrainingDataCard(
        file="metadata.csv",
        sha256="12" * 32,
        rows=2_100,
        prompts=2_000,
        counts={"urban": 1_800, "nature": 20, "other": 180},
        shares={"urban": 0.9, "nature": 0.01, "other": 0.09},
        languages={"en": 2_000},
        undecided=0,
        ties=3,
        scenarios={
            "test1_korean_city": ScenarioShare(category="urban", prompts=1_800, share=0.9, rare=False),
            "test2_nature": ScenarioShare(category="nature", prompts=20, share=0.01, rare=True),
            "test3_action": ScenarioShare(category="action", prompts=None, share=None, rare=False),
        },
    )
    SUSPICION = SuspicionCard(
        key="rare",
        candidate="epoch-0",
        scenario="test2_nature",
        category="nature",
        share=0.01,
        metric="clip",
        change=0.204,
        commonest="urban",
        commonest_share=0.9,
    )

    def _section(self, **changes: Any) -> list[str]:  # noqa: ANN401 - any field
        data = self.DATA.model_copy(update=changes)
        record = results.load(REAL_RUN).model_copy(update={"training_data": data})
        lines = terminal.summary(record, "results.json", width=1000)
        start = next(number for number, line in enumerate(lines) if line.startswith("training data"))
        return lines[start : lines.index("", start)]

    def test_shares_stand_beside_the_verdicts(self) -> None:
        assert self._section() == [
            "training data metadata.csv, 2,000 prompts: urban 90.0%, other 9.0%, nature 1.0%",
            "  scenario           category  share       epoch-0",
            "  test1_korean_city  urban     90.0%       WARN",
            "  test2_nature       nature    1.0%, rare  FAIL",
            "  test3_action       action    unknown     WARN",
        ]

    def test_undecided_prompts_are_told(self) -> None:
        assert self._section(undecided=12)[1] == ("  12 of them have no word of the lists and count as other")

    def test_a_suspicion_with_its_numbers(self) -> None:
        assert self._section(suspicions=(self.SUSPICION,))[-1] == (
            "  epoch-0: test2_nature is worse in CLIPScore by 20.4%, and nature is rare in the training "
            "data: 1.0% of the prompts, urban 90.0%"
        )

    def test_what_speaks_against_it_is_told_too(self) -> None:
        changed = {"key": "rare_but", "change": None, "against": ("test3_action",)}
        assert self._section(suspicions=(self.SUSPICION.model_copy(update=changed),))[-1] == (
            "  epoch-0: test2_nature is worse in CLIPScore, and nature is rare in the training data: "
            "1.0% of the prompts, urban 90.0%; but test3_action, of a category no more common, did not "
            "regress"
        )

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("the_rarer_the_worse", "the rarer its category, the worse a scenario became"),
            ("chance", "rarity and change cannot be told from chance"),
        ],
    )
    def test_a_rank_correlation(self, key: Literal["the_rarer_the_worse", "chance"], words: str) -> None:
        found = CorrelationCard(
            key=key, candidate="epoch-0", scenarios=12, categories=6, rho=-0.5, p_value=0.0125
        )
        assert self._section(correlations=(found,))[-1] == (
            f"  epoch-0: over 12 scenarios of 6 categories {words} (Spearman's rho -0.50, one-sided p 0.013)"
        )

    def test_without_training_data_there_is_no_section(self) -> None:
        assert "training data" not in "\n".join(terminal.summary(results.load(REAL_RUN), "results.json"))


class TestSnapshot:
    """The terminal's page as it was read and kept; `write_golden` writes it anew."""

    @pytest.mark.parametrize("name", sorted(TERMINALS))
    def test_the_lines_are_as_they_were(self, name: str) -> None:
        assert TERMINALS[name]() == (GOLDEN / name).read_text(encoding="utf-8")

    @pytest.mark.parametrize("width", [80, 120])
    @pytest.mark.parametrize("full", [False, True])
    @pytest.mark.parametrize("make", [mission_record, epochs_record])
    def test_no_line_is_wider_than_the_terminal_but_a_command(
        self, make: Callable[[], RunRecord], width: int, full: bool
    ) -> None:
        lines = terminal.summary(make(), "results.json", width=width, full=full)
        wide = [line for line in lines if len(line) > width]
        assert all(line.lstrip().startswith("next: ") for line in wide)

    def test_three_checkpoints_fit_a_screen_or_two_and_name_the_best(self) -> None:
        lines = terminal.summary(epochs_record(), "results.json")
        assert len(lines) < 90
        assert any(line.startswith("Gate epoch-2 alone, then publish it.") for line in lines)

    @pytest.mark.parametrize("make", [mission_record, epochs_record])
    def test_every_warning_and_failure_is_followed_by_its_reason(self, make: Callable[[], RunRecord]) -> None:
        lines = terminal.summary(make(), "results.json")
        told = [at for at, line in enumerate(lines) if line.startswith(("  FAIL ", "  WARN "))]
        assert told
        assert all(" -> " in lines[at + 1] for at in told)

    def test_the_worst_comes_first(self) -> None:
        lines = terminal.summary(mission_record(), "results.json")
        words = [line.split()[0] for line in lines if line.startswith(("  FAIL ", "  WARN "))]
        assert words == sorted(words)


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (compared("test2_nature", "clip", 2.0606, 1.6398), "CLIPScore -20.4 % (max -5 %) test2_nature"),
        (compared("all", "fvd", 974.6, 1330.0), "FVD +36.5 % (max +25 %) all"),
        (compared("s", "clip", 2.0, 1.96), "CLIPScore -2.0 % (warn -1 %, max -5 %) s"),
        (compared("s", "sharpness", 100.0, 190.0), "Sharpness +90.0 % (look from +15 %) s"),
        (limited("s", "clip", 0.2, Limit(metric="clip", min=0.3)), "CLIPScore 0.2000 (min 0.3) s"),
        (_judged(Verdict.ERROR, value=None), "Sharpness ERROR nature"),
    ],
)
def test_headline(judged: Judgement, words: str) -> None:
    assert headline(judged) == words


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_word_and_a_colour_that_agree(verdict: Verdict) -> None:
    (colour,) = Line("text", verdict).markup
    assert (colour == "green") == word(verdict).islower()
    assert (colour == "red") == verdict.fails


@pytest.mark.parametrize("count", [2, 12, 40])
def test_a_matrix_of_many_checkpoints_stays_within_the_width(count: int) -> None:
    names = [f"a-rather-long-name-of-a-checkpoint-{at}" for at in range(count)]
    judged = [compared("test2_nature", "clip", 2.0, 1.0, candidate=name) for name in names]
    lines = list(matrix(run_record(judged, names=names), names, 80))
    assert max(map(len, lines)) <= 80
    assert "\n".join(lines).count("FAIL") == count


@pytest.mark.parametrize(
    ("rendered", "reused", "said"),
    [
        (1, 0, "1 video rendered in 50 s; "),
        (12, 36, "12 videos rendered in 50 s, 36 reused; "),
        (0, 36, "no video was rendered, 36 came from the cache; "),
        (0, 0, "no video was rendered; "),
    ],
)
@pytest.mark.parametrize("race", [None, race_card()])
def test_the_last_count_says_what_was_rendered_what_was_in_the_cache_and_whose_it_is(
    rendered: int, reused: int, said: str, race: RaceCard | None
) -> None:
    record = mission_record()
    totals = record.totals.model_copy(
        update={"rendered": rendered, "reused": reused, "failed": 0, "rendering_seconds": 50.0}
    )
    shown = record.model_copy(update={"totals": totals, "race": race})
    lines = terminal.summary(shown, "results.json", width=200)
    (line,) = [each for each in lines if "; the run took " in each]
    assert line.startswith(said if race is None else f"epoch-1@0.8, the race's videos of it included: {said}")


@pytest.mark.parametrize(("option", "said"), [("--update-baselines", "1"), ("--wanlora-scale=1", "4 to 8")])
def test_the_videos_of_a_baseline_are_those_that_were_rendered(option: str, said: str) -> None:
    known = epochs_record()
    places = {(each.candidate, each.scenario): each for each in known.videos}
    record = known.model_copy(
        update={"command": ("pytest", option), "videos": tuple(places.values()), "race": None}
    )
    assert f"suite tiny, {said} videos a scenario, on cpu" in terminal.summary(record, "results.json")[0]


class TestUndecided:
    """What would decide, in words that fit what the run did."""

    def _said(self, judged: Judgement, **suite: Any) -> str:  # noqa: ANN401 - fields of the suite
        record = run_record([judged], suite=suite_card(**suite))
        return " ".join(" ".join(terminal.summary(record, "run/results.json", width=200)).split())

    def _two_seeds(self) -> Judgement:
        lost = compared("test2_nature", "clip", 1.0, 0.5)
        lost = replace(lost, verdict=Verdict.UNDECIDED, code=ReasonCode.TOO_FEW_PAIRS, evidence=None, n=2)
        return replace(lost, reason=reason(lost))

    def test_too_few_seeds_say_how_many_prove_a_loss(self) -> None:
        said = self._said(self._two_seeds(), looks=(2,))
        assert "not proven: that takes 3 or more videos of a scenario" in said
        assert "the band alone decides" not in said
        assert (
            "undecided: if the changes stay as they are, about 1 more video may decide (the command renders "
            "up to 9, and 9 of the model without LoRA besides: about 13 min 45 s) next: " in said
        )
        assert "--wanlora-seeds 2:3" in said
        assert "10,000" not in said

    @pytest.mark.parametrize(
        ("enough", "n", "known", "said"),
        [
            # the whole gate goes on in all of its scenarios, and the base model with it
            (19, 8, {}, "up to 33, and 33 of the model without LoRA besides: about 50 min 25 s)"),
            (19, 8, {"noise": 32}, "up to 33: about 25 min 12 s)"),
            (19, 8, {"noise": 16}, "up to 33, and 9 of the model without LoRA besides: about 32 min 5 s)"),
            (19, 8, {"sha256": "ab" * 32}, "up to 33: about 25 min 12 s)"),
            # an item that is run alone needs its own scenario
            (6, 4, {}, "up to 2, and 2 of the model without LoRA besides: about 3 min 3 s)"),
        ],
    )
    def test_what_the_next_command_renders_is_counted(
        self, enough: int, n: int, known: dict[str, Any], said: str
    ) -> None:
        judged = compared("test2_nature", "fvd", 100.0, 140.0, n=n, width=0.5, enough=enough)
        assert judged.evidence is not None
        evidence = replace(judged.evidence, significant=False, weak=True, n_enough=enough)
        judged = replace(judged, verdict=Verdict.UNDECIDED, code=ReasonCode.UNDECIDED, evidence=evidence)
        roles: tuple[tuple[Role, str], ...] = (("candidate", "epoch-0"), ("baseline", "base"))
        videos = tuple(
            Video(role=role, candidate=name, scenario=scenario, seed=seed, scores={})
            for role, name in roles
            for scenario in SCENARIOS
            for seed in range(n)
        )
        record = run_record([judged], suite=suite_card(looks=(4, 8)), videos=videos)
        floor = NoiseFloor(
            scenario="test2_nature", metric="fvd", floor=0.1, n=known.get("noise", 0), fail=0.25, n_needed=4
        )
        update = {"noise": (floor,) if "noise" in known else (), "sha256": known.get("sha256")}
        assert record.baseline is not None
        record = record.model_copy(update={"baseline": record.baseline.model_copy(update=update)})
        lines = " ".join(" ".join(terminal.summary(record, "run/results.json", width=200)).split())
        assert f"about {enough - n} more videos may decide (the command renders {said}" in lines

    def test_no_run_is_offered_that_the_baseline_would_stop_again(self) -> None:
        judged = compared("test2_nature", "clip", 1.0, 0.5, n=2, width=0.9, enough=19)
        judged = replace(judged, verdict=Verdict.UNDECIDED, code=ReasonCode.UNDECIDED)
        record = run_record([judged], suite=suite_card(looks=(2, 8)))
        cap = Cap(stored=4, wanted=8, why="", next_command="pytest --update-baselines")
        assert record.baseline is not None
        capped = record.model_copy(update={"baseline": record.baseline.model_copy(update={"cap": cap})})
        offered = {
            of is capped: "next: pytest --lora" in "\n".join(terminal.summary(of, "run/results.json"))
            for of in (record, capped)
        }
        assert offered == {False: True, True: False}

    @pytest.mark.parametrize(
        ("enough", "n", "offered"),
        [
            (19, 8, "--wanlora-suite tiny --wanlora-seeds 4:19 epoch-0"),
            # a gate that stopped would stop there again
            (6, 4, "'wanlora::test_regression[epoch-0-test2_nature-clip]'"),
            (19, 4, "--wanlora-seeds 4:19 'wanlora::test_regression[epoch-0-test2_nature-clip]'"),
            (None, 8, ""),
        ],
    )
    def test_what_is_offered_decides(self, enough: int | None, n: int, offered: str) -> None:
        most = 8
        judged = compared("test2_nature", "clip", 1.0, 0.5, n=n, width=0.9, enough=enough)
        assert judged.evidence is not None
        evidence = replace(judged.evidence, significant=False, weak=True, n_enough=enough)
        judged = replace(judged, verdict=Verdict.UNDECIDED, code=ReasonCode.UNDECIDED, evidence=evidence)
        said = self._said(replace(judged, reason=reason(judged)), looks=(4, most))
        assert ("not even 10,000 videos of a scenario would decide" in said) is (enough is None)
        assert not offered or f"next: pytest --lora loras/epoch-0.safetensors {offered}" in said
        assert (f"the gate stopped before the {most} of a scenario" in said) is (n < most)
        keys = [
            step.key
            for step in next_steps(run_record([judged], suite=suite_card(looks=(4, most))), "epoch-0")
        ]
        assert ("allow_seeds" in keys) is (enough == 19)
        assert "category_slipped" not in keys


def test_that_the_lora_was_applied_is_said_unasked() -> None:
    lines = terminal.summary(run_record([file_judged()]), "run/results.json")
    assert "  80 of 80 targets patched (fused)" in lines


def _shown() -> dict[str, list[str]]:
    """Reports of all sorts, by what they show."""
    mission, epochs = mission_record(), epochs_record()
    why = "a loss beyond its fail band is certain in all scenarios, test1_korean_city, test2_nature"
    failed = [
        each.model_copy(update={"why": why}) if each.state == "failed" else each
        for each in race_card().entrants
    ]
    baseline = epochs.baseline
    assert baseline is not None
    cap = Cap(stored=3, wanted=8, why="mean difference 4.2 of 255", next_command=f"pytest {'x ' * 60}")
    added = {"added": {name: tuple(range(9)) for name in SCENARIOS}, "added_rendered": 9, "cap": cap}
    note = "epoch-1, epoch-2 and epoch-2-comfyui are one LoRA (equal weights), which nothing can tell apart"
    left = tuple(ItemOutcome(f"i{at}", "epoch-0", PytestOutcome.NOT_COLLECTED) for at in range(3))
    tests = (ItemOutcome("tests/test_own.py::test_a[epoch-0]", "epoch-0", PytestOutcome.FAILED, "why " * 30),)
    records = {
        "a run": mission,
        "epochs": epochs,
        "a race": epochs.model_copy(update={"race": race_card(entrants=tuple(failed))}),
        "a stopped race": epochs.model_copy(update={"race": race_card(stopped="its budget is spent")}),
        "a baseline with less": epochs.model_copy(update={"baseline": baseline.model_copy(update=added)}),
        "notes": epochs.model_copy(update={"notes": (note, "worker gw0 died"), "left_out": left}),
        "training data": epochs.model_copy(update={"training_data": training_data()}),
        "project tests": epochs.model_copy(update={"project_tests": tests}),
        "several workers": epochs.model_copy(
            update={
                "race": race_card(),
                "totals": Totals(rendered=240, reused=36, failed=4, seconds=1.0, rendering_seconds=1e5),
            }
        ),
    }
    found = {
        f"{name}{' in full' * full}": terminal.summary(record, "run/results.json", full=full)
        for name, record in records.items()
        for full in (False, True)
    }
    found["a failure"] = terminal.failure(
        replace(next(each for each in epochs.judgements if each.verdict.fails), reason="word " * 60),
        preview="preview.mp4",
        again=f"pytest {'x ' * 60}",
    ).splitlines()
    found["stored"] = terminal.stored_lines("b", ["s  clip  none -> 0.6"], [note], "root insisted " * 9)
    found["compared"] = compare.lines(records["notes"].model_copy(update={"project_tests": tests}))
    return found


@pytest.mark.parametrize("told", _shown())
def test_lines_fit_into_80_columns_apart_from_what_is_copied_or_searched_for(told: str) -> None:
    lines = [line for line in _shown()[told] if len(line) > 80]
    whole = ("next: ", "record: ", "note: ")
    # the table of `compare` has a column for each checkpoint
    prose = [line for line in lines if told != "compared" or "  " not in line.strip()]
    prose = [line for line in prose if ": left out: " not in line]
    assert [line for line in prose if not line.lstrip().startswith(whole)] == []
