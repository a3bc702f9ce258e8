"""What is stored as a baseline, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import baseline as baselines
from pytest_wanlora.errors import BaselineError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.session import Gate
from pytest_wanlora.run.update_baseline import store
from pytest_wanlora.verdict.judgement import ALL
from tests import unusual
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, CPU, NATURE, PROMPTS, SCALE

SEEDS = tuple(range(5, 17))


def test_the_base_is_stored_with_all_that_it_was_measured_by(measured: Path) -> None:
    found = baselines.load(measured / "baselines", "fake", "base")
    assert (found.candidate, found.scale) == (None, None)
    assert found.environment == CPU.record()
    assert {name: found.seeds(name) for name in PROMPTS} == dict.fromkeys(PROMPTS, SEEDS)
    assert found.features.keys() == {(name, seed) for name in PROMPTS for seed in SEEDS}
    assert {name: (of["n"], of["reference_n"]) for name, of in found.sets.items()} == {
        CITY: (12, 40),
        NATURE: (12, 48),
        ALL: (24, 88),
    }
    assert {floor.scenario for floor in found.noise} == {CITY, NATURE, ALL}


def test_an_accepted_checkpoint_is_stored_with_its_strength(open_gate: OpenGate, tmp_path: Path) -> None:
    gate = open_gate(
        update_baselines=True, baselines_dir=tmp_path / "baselines", update_target="release", force=True
    )
    stored = store(gate, gate.judge, gate.candidates[0])
    found = baselines.load(tmp_path / "baselines", "fake", "release")
    assert (stored.name, stored.place) == ("release", str(tmp_path / "baselines" / "fake" / "release"))
    assert found.scale == SCALE
    assert found.candidate is not None
    assert found.candidate["name"] == "good"
    results = gate.results(gate.jobs(gate.candidates[0], gate.scenarios, SEEDS))
    for result in results:
        assert found.scores[result.scenario][result.seed] == dict(result.scores)
        np.testing.assert_array_equal(found.features[result.scenario, result.seed], result.features["video"])
    # twelve seeds of each scenario, and one of the base that shows whether the LoRA does anything
    assert len(unusual.made(gate)) == 2 * 12 + 1


@pytest.mark.parametrize("bare", [True, False])
def test_a_video_that_cannot_be_scored_is_never_stored(
    open_gate: OpenGate, tmp_path: Path, bare: bool
) -> None:
    def black(job: Job, made: Produced) -> Produced:
        if (job.scenario, job.seed) == (NATURE, 16):
            return dataclasses.replace(made, scores={}, degenerate="it is black")
        return made

    place = tmp_path / "baselines"
    # also where somebody insists
    gate = open_gate(black, bare=bare, update_baselines=True, baselines_dir=place, force=not bare)
    with pytest.raises(BaselineError) as refused:
        store(gate, gate.judge, gate.base if bare else gate.candidates[0])
    name = "base" if bare else "good"
    target = "base" if bare else "accepted"
    assert refused.value.message == (
        f"refused, not stored as the baseline {target!r}; nothing was changed:\n"
        f"  {name}, test2_nature, seed 16: cannot be scored: it is black\n"
        "  allowed: a baseline that is whole and keeps the suite's limits"
    )
    assert (refused.value.next_command or "").startswith("pytest")
    assert not place.exists()


def test_a_checkpoint_that_breaks_a_limit_is_not_accepted(
    open_gate: OpenGate, measured: Path, tmp_path: Path
) -> None:
    shutil.copytree(measured / "baselines", tmp_path / "baselines")

    def worse(job: Job, made: Produced) -> Produced:
        return unusual.scored(made, clip=0.95) if job.candidate == "good" else made

    gate = open_gate(worse, update_baselines=True, baselines_dir=tmp_path / "baselines")
    with pytest.raises(BaselineError) as refused:
        store(gate, gate.judge, gate.candidates[0])
    line, insist = refused.value.message.splitlines()[1:]
    assert insist.startswith("  remove these reasons; --wanlora-force stores it in spite of them, and the")
    # what is printed behind `next:` is a command and nothing else
    assert refused.value.next_command == "pytest --wanlora-force"
    # the limit of this scenario alone, on all twelve seeds
    assert line.startswith("  test_limit[good-test2_nature-clip]: fail: ")
    assert "n = 12" in line
    assert not (tmp_path / "baselines" / "fake" / "accepted").exists()


@pytest.mark.parametrize("clip", [0.95, 1.05])
def test_a_limit_that_the_base_itself_breaks_is_noted(
    open_gate: OpenGate, tmp_path: Path, clip: float
) -> None:
    gate = open_gate(
        lambda _, made: unusual.scored(made, clip=clip),
        bare=True,
        update_baselines=True,
        baselines_dir=tmp_path / "baselines",
    )
    stored = store(gate, gate.judge, gate.base)
    told = [note for note in stored.notes if "the base model itself" in note]
    wanted = (
        "test2_nature clip: the base model itself does not keep the limit (0.5699; allowed: at least 0.59), "
        "so a LoRA that changes nothing fails there: look at the prompt, the caption and the limit"
    )
    assert told == ([wanted] if clip < 1.0 else [])


def test_what_changes_is_told(open_gate: OpenGate, measured: Path, tmp_path: Path) -> None:
    place = tmp_path / "baselines"
    shutil.copytree(measured / "baselines", place)
    gate = open_gate(
        lambda _, made: unusual.scored(made, color=0.9), bare=True, update_baselines=True, baselines_dir=place
    )
    stored = store(gate, gate.judge, gate.base)
    changed = [line for line in stored.changes if not line.endswith("unchanged")]
    assert [line.split()[:2] for line in changed] == [[CITY, "color"], [NATURE, "color"]]
    assert all(line.endswith("10.0% worse") for line in changed)


class TestForce:
    """What is stored only if somebody insists."""

    @pytest.fixture
    def place(self, measured: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(measured / "baselines", tmp_path / "baselines"))

    @staticmethod
    def _smaller(gate: Gate, seeds: int) -> None:
        fewer = gate.suite.seeds.model_copy(update={"first": 3, "most": seeds})
        gate.suite = gate.suite.model_copy(update={"seeds": fewer})

    @pytest.mark.parametrize("seeds", [11, 4])
    def test_a_smaller_baseline_needs_it_before_anything_is_rendered(
        self, open_gate: OpenGate, place: Path, seeds: int
    ) -> None:
        gate = open_gate(bare=True, update_baselines=True, baselines_dir=place)
        self._smaller(gate, seeds)
        with pytest.raises(BaselineError, match=rf"{CITY}: seeds 12 -> {seeds}\n") as refused:
            store(gate, gate.judge, gate.base)
        assert "--wanlora-force" in (refused.value.next_command or "")
        assert unusual.made(gate) == []
        assert baselines.load(place, "fake", "base").seeds(CITY) == SEEDS

    def test_a_scenario_that_would_go_needs_it(self, open_gate: OpenGate, place: Path) -> None:
        gate = open_gate(bare=True, update_baselines=True, baselines_dir=place)
        gate.scenarios = gate.scenarios[:1]
        with pytest.raises(BaselineError, match=f"{NATURE}: seeds 12 -> none"):
            store(gate, gate.judge, gate.base)

    def test_who_insists_on_a_smaller_one_is_in_it(
        self, open_gate: OpenGate, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GITHUB_ACTOR", "mira")
        gate = open_gate(bare=True, update_baselines=True, baselines_dir=place, force=True)
        self._smaller(gate, 4)
        stored = store(gate, gate.judge, gate.base)
        found = baselines.load(place, "fake", "base")
        assert found.seeds(CITY) == SEEDS[:4]
        assert found.insisted is not None
        assert (found.insisted.by, found.insisted.against[0]) == ("mira", f"{CITY}: seeds 12 -> 4")
        assert stored.insisted.startswith("the baseline 'base' was stored with --wanlora-force by mira")

    def test_a_larger_one_needs_nobody(self, open_gate: OpenGate, place: Path) -> None:
        gate = open_gate(bare=True, update_baselines=True, baselines_dir=place)
        stored = store(gate, gate.judge, gate.base)
        assert (stored.insisted, baselines.load(place, "fake", "base").insisted) == ("", None)
        assert "insisted" not in (place / "fake" / "base" / "baseline.json").read_text()

    @pytest.mark.parametrize("replaced", ["base", "accepted"])
    def test_a_checkpoint_that_is_worse_needs_it(
        self, open_gate: OpenGate, place: Path, replaced: str
    ) -> None:
        def worse(job: Job, made: Produced) -> Produced:
            return unusual.scored(made, color=0.5) if job.candidate == "good" else made

        def better(job: Job, made: Produced) -> Produced:
            return unusual.scored(made, color=2.0) if job.candidate == "good" else made

        settings = {"update_baselines": True, "baselines_dir": place}
        if replaced == "accepted":
            # as good as the base, but worse than what was accepted before
            first = open_gate(better, **settings, cache_dir=place.parent / "first")
            store(first, first.judge, first.candidates[0])
        gate = open_gate(worse if replaced == "base" else None, **settings)
        with pytest.raises(BaselineError, match=f"color\\], against '{replaced}': ") as refused:
            store(gate, gate.judge, gate.candidates[0])
        assert "what it would make worse, old -> new:" in refused.value.message or replaced == "base"
        insisting = open_gate(worse if replaced == "base" else None, **settings, force=True)
        stored = store(insisting, insisting.judge, insisting.candidates[0])
        assert "color" in stored.insisted
        assert baselines.load(place, "fake", "accepted").insisted is not None

    def test_what_cannot_be_scored_is_refused_although_somebody_insists(
        self, open_gate: OpenGate, place: Path
    ) -> None:
        def black(job: Job, made: Produced) -> Produced:
            return dataclasses.replace(made, scores={}, degenerate="it is black") if job.seed == 16 else made

        gate = open_gate(black, bare=True, update_baselines=True, baselines_dir=place, force=True)
        with pytest.raises(BaselineError, match="cannot be scored"):
            store(gate, gate.judge, gate.base)

    @pytest.mark.parametrize("harm", ["missing", "damaged"])
    def test_what_is_compared_with_no_base_is_refused_before_it_is_rendered(
        self, open_gate: OpenGate, place: Path, harm: str
    ) -> None:
        if harm == "missing":
            shutil.rmtree(place / "fake" / "base")
        else:
            (place / "fake" / "base" / "baseline.json").write_text("{}")
        gate = open_gate(update_baselines=True, baselines_dir=place)
        with pytest.raises(BaselineError, match="compared with no model without LoRA") as refused:
            store(gate, gate.judge, gate.candidates[0])
        assert "--wanlora-force" in refused.value.message
        asked = refused.value.next_command or ""
        assert ("--update-baselines" in asked and "--lora" not in asked) or harm == "damaged"
        assert unusual.made(gate) == []
        assert not (place / "fake" / "accepted").exists()
        insisting = open_gate(update_baselines=True, baselines_dir=place, force=True)
        stored = store(insisting, insisting.judge, insisting.candidates[0])
        assert "compared with no model without LoRA" in stored.insisted
        assert baselines.load(place, "fake", "accepted").insisted is not None

    def test_a_base_of_another_machine_is_no_base(self, open_gate: OpenGate, place: Path) -> None:
        other = dataclasses.replace(CPU, device_name="another CPU")
        gate = open_gate(update_baselines=True, baselines_dir=place, environment=other)
        with pytest.raises(
            BaselineError, match=r"(?s)compared with no model without LoRA: .* another environment"
        ):
            store(gate, gate.judge, gate.candidates[0])
