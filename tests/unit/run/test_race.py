"""The race of a run: what it renders, who is gated, and how a budget ends it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wanlora import testing
from pytest_wanlora.errors import JobError, SettingsError
from pytest_wanlora.hooks.outcomes import Outcomes
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.option_values import Budget
from pytest_wanlora.phrases import LANGUAGES
from pytest_wanlora.reports.race import lines, rows
from pytest_wanlora.results.race import RaceCard
from pytest_wanlora.run.estimate import plan_lines
from pytest_wanlora.run.findings import Preflight
from pytest_wanlora.run.looks import Comparison, Settled
from pytest_wanlora.run.race import Course, beyond_budget, plan_line
from pytest_wanlora.run.session import Gate
from pytest_wanlora.verdict.judgement import PytestOutcome
from tests import unusual

OpenRace = Callable[..., tuple[Gate, Course, list[str]]]
STRENGTHS = (0.6, 0.8, 1.0)
#: Of each epoch: what its videos' sharpness and CLIP score are times those of the base.
EPOCHS = {"epoch-1": (0.8, 0.97), "epoch-2": (1.0, 1.0), "epoch-3": (0.6, 0.9)}


def change(job: Job, made: Produced) -> Produced:
    epoch = job.candidate.partition("@")[0]
    if epoch not in EPOCHS:
        return made
    sharpness, clip = (1.0 - (1.0 - factor) * job.scale for factor in EPOCHS[epoch])
    return unusual.scored(made, sharpness=sharpness, clip=clip)


@pytest.fixture
def race(measured: Path, tmp_path: Path) -> Iterator[OpenRace]:
    opened: list[Gate] = []
    files = tuple(
        testing.write_lora(tmp_path / f"{name}.safetensors", seed=i) for i, name in enumerate(EPOCHS)
    )

    def open_(
        change: unusual.Change | None = change, clock: Callable[[], float] = lambda: 0.0, **settings: object
    ) -> tuple[Gate, Course, list[str]]:
        known: dict[str, Any] = {"lora": files, "race": True, **settings}
        folders: dict[str, Any] = {"cache_dir": tmp_path / "cache", "output_dir": tmp_path / "runs"}
        chosen = unusual.settings_of(measured, scales=STRENGTHS, **folders, **known)
        gate = unusual.gate_of(chosen, change)
        gate.prepare()
        opened.append(gate)
        said: list[str] = []
        return gate, Course(gate, said.append, clock), said

    yield open_
    for gate in opened:
        gate.finish()


def test_the_losers_get_no_more_videos_and_the_winner_is_gated_alone(race: OpenRace) -> None:
    gate, course, said = race()
    outcome = course.run()
    assert outcome.winner is not None
    assert outcome.winner.startswith("epoch-2@")
    lost = [each.videos for each in outcome.entrants if each.checkpoint == "epoch-3"]
    assert lost == [2 * 3] * 3
    assert outcome.used < outcome.most / 2 == 9 * 2 * 12 / 2
    assert len(unusual.made(gate)) == outcome.used
    assert outcome.reused == 0
    gate.narrow(outcome)
    assert [each.name for each in gate.candidates] == [outcome.winner]
    assert {item.candidate for item in gate.items} == {outcome.winner}
    assert said[0].startswith("race: 3 seeds each: ")
    answer, meaning, *_, cost = lines(outcome, "en", str, str)
    assert answer.startswith(f"{outcome.winner} (")
    assert "not distinguishable from it at n = 3" in answer
    assert "epoch-3" not in answer
    assert "Best is the smallest mean loss" in meaning
    assert f"{outcome.used} videos of 216" in cost


def lopsided(job: Job, made: Produced) -> Produced:
    """A checkpoint that gains by most and loses by one, one that changes nothing, and one far behind."""
    epoch = job.candidate.partition("@")[0]
    wave = 1.0 + 0.06 * (-1) ** job.seed
    if epoch == "epoch-1":
        return unusual.scored(made, clip=1.03, color=1.03, sharpness=0.83 * wave)
    return unusual.scored(made, clip=0.8) if epoch == "epoch-3" else made


def test_of_those_not_told_apart_who_loses_least_where_it_is_worst_wins(race: OpenRace) -> None:
    gate, course, said = race(lopsided)
    outcome = course.run()
    (begun,) = [each for each in said if "tie-break of" in each]
    assert begun.startswith("race: tie-break of 6 that cannot be told apart: epoch-2@")
    own = {each.checkpoint: each for each in outcome.entrants}
    assert own["epoch-1"].loss is not None
    assert own["epoch-2"].loss is not None
    # by the mean alone the other one would have won
    assert own["epoch-1"].loss < own["epoch-2"].loss
    assert outcome.winner is not None
    assert outcome.winner.startswith("epoch-2@")
    assert {name.partition("@")[0] for name in outcome.not_told_apart} >= {"epoch-1"}
    assert own["epoch-1"].worst == pytest.approx(0.8, abs=0.2)
    assert len(unusual.made(gate)) == outcome.used
    answer, meaning, *_ = lines(outcome, "en", str, str)
    assert "+0.00 where it is worst at n = 12); not distinguishable from it at n = 3" in answer
    ends = [row[-1] for row in rows(outcome, "en", str, str)]
    assert ends[0] == "won"
    assert ends.count("in to the end, lost the tie-break") == sum(
        each.state == "in" and each.name != outcome.winner for each in outcome.entrants
    )
    assert meaning.endswith("the winner is the one that loses least where it is worst.")


def test_who_fails_in_the_tie_break_is_out(race: OpenRace) -> None:
    def breaks(job: Job, made: Produced) -> Produced:
        if job.candidate.startswith("epoch-2") and job.seed >= 5 + 3:
            raise JobError("it broke")
        if job.candidate.startswith("epoch-2"):
            # in one scenario alone: the mean is known well, the worst comparison is not
            swing = 0.35 * (-1) ** job.seed if job.scenario == unusual.CITY else 0.0
            return unusual.scored(made, sharpness=0.9 - swing)
        if job.candidate.startswith("epoch-1"):
            return unusual.scored(made, sharpness=0.87)
        return made if job.candidate == "base" else unusual.scored(made, clip=0.8)

    _, course, said = race(breaks)
    outcome = course.run()
    assert outcome.winner is not None
    assert outcome.winner.startswith("epoch-1")
    assert any("tie-break: epoch-2" in each and each.endswith("seeds: it fails") for each in said)
    assert "it broke" in "".join(each.why for each in outcome.entrants if each.checkpoint == "epoch-2")
    assert not any(name.startswith("epoch-2") for name in outcome.not_told_apart)


def test_equal_files_race_once_and_count_once(race: OpenRace, tmp_path: Path) -> None:
    for name in EPOCHS:
        shutil.copy(tmp_path / f"{name}.safetensors", tmp_path / f"{name}-copy.safetensors")
    files = [tmp_path / f"{name}{end}.safetensors" for end in ("", "-copy") for name in EPOCHS]
    gate, course, _ = race(lora=tuple(files), budget=Budget("72", videos=72))
    assert plan_line(gate).startswith(
        "race: 9 candidates on the same seeds, 3 to 12 of 2 scenarios: 54 videos at"
    )
    assert beyond_budget(gate) is None
    card = course.run()
    assert {each.name.partition("@")[0] for each in card.entrants} == set(EPOCHS)
    assert [line.partition(" are one LoRA ")[2] for line in gate.repeated] == [
        "(equal files), which nothing can tell apart: of equal files the first alone races"
    ] * 3
    # each is gated where nothing races
    gate, *_ = race(lora=tuple(files), race=False)
    assert len(gate.candidates) == 18
    assert gate.repeated[0].endswith("one is enough")


def test_the_plan_says_what_a_race_takes(race: OpenRace) -> None:
    gate, _, _ = race(budget=Budget("90", videos=90))
    assert plan_line(gate) == (
        "race: 9 candidates on the same seeds, 3 to 12 of 2 scenarios: 54 videos at the first look, 216 if "
        "nobody is dropped; budget 90"
    )


def noisy(job: Job, made: Produced) -> Produced:
    """Candidates that differ by nothing but noise of their own."""
    if job.candidate == "base":
        return made
    by = 1.0 + 0.15 * (zlib.crc32(f"{job.candidate} {job.seed}".encode()) % 1000 / 1000 - 0.5)
    return unusual.scored(made, clip=by, color=by)


def test_a_race_says_what_it_rendered_and_what_the_cache_had(race: OpenRace) -> None:
    gate, course, _ = race()
    # as an earlier run left them
    gate.results(gate.jobs(gate.candidates[0], gate.scenarios, gate.seeds(3)))
    gate.finish()
    again, course, _ = race()
    outcome = course.run()
    assert outcome.reused == 6
    assert len(unusual.made(again)) == outcome.used - 6
    *_, cost = lines(outcome, "en", str, str)
    assert f", {outcome.used - 6} rendered and 6 from the cache; " in cost
    repeated = race()[1].run()
    assert (repeated.used, repeated.reused) == (outcome.used, outcome.used)


@pytest.mark.parametrize("limit", ["videos", "seconds"])
def test_a_budget_ends_the_race_after_a_whole_look_and_leaves_room_for_the_gate(
    race: OpenRace, limit: str
) -> None:
    budget = Budget("80", videos=80) if limit == "videos" else Budget("45s", seconds=45.0)
    ticks = iter(range(10_000))
    clock = (lambda: 0.0) if limit == "videos" else (lambda: float(next(ticks)) * 3)
    _, course, _ = race(noisy, clock, budget=budget)
    outcome = course.run()
    assert outcome.stopped.startswith("its budget")
    assert re.search("예산은? ?", outcome.stopped_ko)
    assert max(each.n for each in outcome.entrants) < 12
    assert outcome.winner is not None
    assert 0 < outcome.used + 12 * 2 - outcome.entrant(outcome.winner).videos <= 80
    told = [*lines(outcome, "en", str, str)]
    assert any("could not be told apart yet" in each for each in told)
    # with as much it comes to its end
    (word,) = [each for each in outcome.next_command.split() if each.startswith("--wanlora-budget=")]
    enough = int(word.partition("=")[2])
    assert not race(noisy, budget=Budget(str(enough), videos=enough))[1].run().stopped
    assert next(rows(outcome, "en", str, str))[-1] == "ahead when it stopped"
    # it has not come to the end of its tie-break
    assert not any("the winner is the one that" in each for each in told)


def _until_ctrl_c(course: Course, monkeypatch: pytest.MonkeyPatch, looked: int) -> RaceCard:
    """Race until so many candidates were looked at, then Ctrl-C."""
    looks = course.gate.judge.looks
    look, left = looks.look, iter(range(looked))

    def counted(comparison: Comparison) -> Settled:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return look(comparison)

    monkeypatch.setattr(looks, "look", counted)
    with pytest.raises(KeyboardInterrupt) as raised:
        course.run()
    return course.ended(raised.value)


def mixed(job: Job, made: Produced) -> Produced:
    return change(job, made) if job.candidate.startswith("epoch-3") else noisy(job, made)


def test_a_race_that_ctrl_c_ends_says_what_was_decided_and_goes_on_from_there(
    race: OpenRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, course, _ = race(mixed, cache=False)
    # only who fails is out
    course.rules = course.race.rules = dataclasses.replace(course.rules, alpha=1e-6)
    card = _until_ctrl_c(course, monkeypatch, 9 + 2)
    gate.narrow(card)
    assert not gate.candidates
    assert not gate.items
    assert (card.gated, card.stopped) == ("", "by Ctrl-C")
    assert card.winner is not None
    out = [each for each in card.entrants if each.state in ("behind", "failed")]
    assert {each.state for each in out} == {"failed"}
    # the look that everybody had, and what there is of the next one
    assert card.used == len(unusual.made(gate)) > 9 * 2 * 3
    able = [each for each in card.entrants if each not in out]
    assert card.left == sum(24 - each.videos for each in able)
    assert card.next_command == gate.settings.again("--wanlora-cache")
    told = [*lines(card, "en", str, str)]
    assert told[0].startswith(f"{card.winner} (")
    count = f"{len(out)} of 9 candidates cannot win any more"
    assert told[1].startswith(f"stopped before its end, by Ctrl-C: {count}, and the others could")
    assert f"up to {card.left} more end it" in told[1]
    assert told[2] == "nobody was gated, so nothing may be published"
    assert "saved" not in told[-1]
    ends = [row[-1] for row in rows(card, "en", str, str)]
    assert ends[0] == "ahead when it stopped"
    assert ends.count("still in at n = 3") == 9 - 1 - len(out)


def test_a_race_that_ctrl_c_ends_before_its_first_look_decides_nothing(
    race: OpenRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = _until_ctrl_c(race(mixed)[1], monkeypatch, 2)
    assert (card.winner, card.gated, card.not_told_apart) == (None, "", ())
    assert card.left == card.most - card.used
    first, *_ = lines(card, "en", str, str)
    assert "not every candidate had the first look, 3 seeds of each scenario, so which is best" in first
    assert {row[-1] for row in rows(card, "en", str, str)} == {"no look yet"}
    korean = [*lines(card, "ko", str, str), *(row[-1] for row in rows(card, "ko", str, str))]
    assert not re.search("[a-z]{3}", "".join(korean).replace("Ctrl", ""))


def test_a_reason_of_all_candidates_is_told_once_and_proves_nothing_of_them(race: OpenRace) -> None:
    def breaks(job: Job, made: Produced) -> Produced:
        if job.candidate == "base":
            return made
        raise JobError("the model does not load")

    _, course, _ = race(breaks)
    told = [*lines(course.run(), "en", str, str)]
    assert told[0] == "no winner: none of 9 candidates could be measured; epoch-1@0.6 comes first"
    assert sum("the model does not load" in each for each in told) == 1
    assert "out: epoch-1@0.6, epoch-1@0.8, " in "".join(told)
    assert "saved" not in told[-1]


def test_a_reason_by_several_seeds_is_told_once_and_one_of_a_candidate_with_its_video(race: OpenRace) -> None:
    seeds: dict[str, int] = {}

    def breaks(job: Job, made: Produced) -> Produced:
        if job.candidate == "epoch-2@1" and job.seed == 5:
            raise JobError("no such layer")
        if job.candidate.startswith("epoch-1") and job.seed == 5 + len(seeds.keys() - {job.candidate}):
            seeds[job.candidate] = job.seed
            raise JobError(f"memory ran out\n{job.seed} GiB free", next_command="nvidia-smi")
        return change(job, made)

    _, course, _ = race(breaks)
    card = course.run()
    assert [*seeds.values()] == [5, 6, 7]
    names = ", ".join(seeds)
    for language in LANGUAGES:
        told = [line for line in lines(card, language, str, str) if "memory ran out" in line]
        assert len(told) == 1
        assert names in told[0]
        assert "5 GiB free" in told[0]
    assert card.entrant("epoch-2@1").why == "test1_city, seed 5: no such layer"


def test_why_somebody_failed_is_told_whole_in_korean(race: OpenRace) -> None:
    card = race()[1].run()
    failed = [
        each for each in card.entrants if "beyond its fail band is certain in all scenarios" in each.why
    ]
    assert failed
    assert all(each.why_ko.startswith("실패 허용폭을 넘는 악화가 확실함(전체 시나리오") for each in failed)
    assert failed[0].why not in " ".join(lines(card, "ko", str, str))


def test_who_fails_before_the_first_look_has_ended_is_out_at_its_seeds(
    race: OpenRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = _until_ctrl_c(race(mixed)[1], monkeypatch, 8)
    ends = [row[-1] for row in rows(card, "en", str, str)]
    assert [end for end in ends if end.startswith("out at n = 3: a loss beyond its fail band")]
    assert not any("n = 0" in end for end in ends)


def test_a_time_that_ends_before_the_first_look_asks_for_the_videos_that_are_enough(race: OpenRace) -> None:
    course = race(clock=iter(range(0, 10**6, 60)).__next__, budget=Budget("1m", seconds=60.0))[1]
    with pytest.raises(JobError, match="its budget of 1m is spent") as raised:
        course.run()
    # 9 candidates, 3 seeds of 2 scenarios, and the winner's gate up to 12 seeds
    assert raised.value.next_command is not None
    assert raised.value.next_command.endswith(f"--wanlora-budget={9 * 3 * 2 + 9 * 2}")


def test_who_waits_for_the_tie_break_of_a_race_that_stopped_is_not_out(race: OpenRace) -> None:
    card = race(noisy)[1].run()
    able = [each for each in card.entrants if each.state == "no_better"]
    assert able
    stopped = card.model_copy(update={"stopped": "by Ctrl-C"})
    for of, words in ((card, "out at n = "), (stopped, "at most 0.25 fail bands better than ")):
        ends = {row[0]: row[-1] for row in rows(of, "en", str, str)}
        assert all(ends[each.name].startswith(words) for each in able if each.name != card.winner)


def _keep_four(gate: Gate) -> Course:
    """Leave four seeds in the baseline, and race."""
    standard = gate.judge.standard
    whole = standard.baseline
    first = {name: {seed: of[seed] for seed in sorted(of)[:4]} for name, of in whole.scores.items()}
    standard.baseline = whole.model_copy(update={"scores": first})
    del standard.capped
    return Course(gate, lambda _: None, lambda: 0.0)


def test_a_budget_counts_what_the_baseline_lacks(race: OpenRace) -> None:
    # 72 videos of the candidates up to the second look, 18 more of the winner at most, 16 of the base in all
    for budget, short, taken in ((90, False, 4), (90, True, 3), (106, True, 4)):
        gate, course, _ = race(noisy, budget=Budget(str(budget), videos=budget))
        course = _keep_four(gate) if short else course
        # nobody is dropped
        course.rules = course.race.rules = dataclasses.replace(course.rules, alpha=1e-6)
        outcome = course.run()
        assert max(each.n for each in outcome.entrants) == taken, (budget, short)


def test_base_videos_that_the_baseline_lacks_are_rendered_once_for_all(race: OpenRace) -> None:
    gate, _, _ = race(noisy)
    course = _keep_four(gate)
    assert unusual.made(gate) == [("base", unusual.CITY, 5)]
    outcome = course.run()
    most = max(each.videos for each in outcome.entrants) // 2
    assert most > 4
    assert [each for each in unusual.made(gate) if each[0] == "base"] == [
        ("base", unusual.CITY, 5),
        *(("base", unusual.CITY, seed) for seed in range(9, 5 + most)),
        *(("base", unusual.NATURE, seed) for seed in range(9, 5 + most)),
    ]


def test_a_budget_below_the_first_look_is_refused(race: OpenRace) -> None:
    gate, course, _ = race(budget=Budget("20", videos=20))
    with pytest.raises(JobError, match=r"not every candidate had the first look: nothing is known") as raised:
        course.run()
    assert unusual.made(gate) == []
    assert "--wanlora-budget=72" in str(raised.value.next_command)
    # the plan knows it before the run
    known = beyond_budget(gate)
    assert known is not None
    assert str(known) == str(raised.value)
    gate.preflight = Preflight((), (), None)
    said = plan_lines(gate, 1)
    assert f"missing: budget; {known.message}" in said
    assert "missing: nothing" not in said
    # 54 videos of the candidates at the first look, 18 more of the winner up to the last
    for videos in (71, 72):
        gate.settings = dataclasses.replace(gate.settings, budget=Budget(str(videos), videos=videos))
        assert (beyond_budget(gate) is None) is (videos == 72)


def test_what_a_race_left_out_was_stopped_by_it(race: OpenRace) -> None:
    gate, _, _ = race(budget=Budget("20", videos=20))
    config: Any = SimpleNamespace(getoption=lambda _, default=None: default)
    outcomes = Outcomes(config, gate, None, named=False)
    assert {each.outcome for each in outcomes.left_out} == {PytestOutcome.NOT_COLLECTED}
    outcomes.stop("--wanlora-race: its budget is 20 videos")
    assert {(each.outcome, each.detail) for each in outcomes.left_out} == {
        (PytestOutcome.STOPPED, "--wanlora-race: its budget is 20 videos")
    }


def test_who_cannot_be_rendered_or_is_black_is_out(race: OpenRace) -> None:
    def broken(job: Job, made: Produced) -> Produced:
        if job.candidate == "epoch-2@1":
            raise JobError("it does not fit the GPU")
        if job.candidate == "epoch-2@0.8":
            return dataclasses.replace(made, scores={}, degenerate="every frame is black")
        return change(job, made)

    _, course, _ = race(broken)
    outcome = course.run()
    assert outcome.winner == "epoch-2@0.6"
    assert "it does not fit the GPU" in outcome.entrant("epoch-2@1").why
    assert "every frame is black" in outcome.entrant("epoch-2@0.8").why
    assert "epoch-2@1" not in outcome.not_told_apart


def test_where_all_fail_the_one_that_lost_least_is_gated_and_nobody_wins(race: OpenRace) -> None:
    def bad(job: Job, made: Produced) -> Produced:
        return made if job.candidate == "base" else unusual.scored(made, clip=0.7 - 0.1 * job.scale)

    _, course, _ = race(bad)
    outcome = course.run()
    assert outcome.winner is None
    assert outcome.gated.endswith("@0.6")
    assert all(each.why for each in outcome.entrants)
    assert next(lines(outcome, "en", str, str)).startswith(
        "no winner: each of 9 candidates fails for certain"
    )


def test_a_race_needs_three_seeds(race: OpenRace) -> None:
    with pytest.raises(SettingsError, match="2 seeds a scenario at most; allowed: 3 or more"):
        race(seeds=(2, 2))
