"""Whether a baseline is comparable, and the reference set."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_wanlora.baseline import Baseline
from pytest_wanlora.errors import IncomparableError, WanloraError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.comparison import Standard
from pytest_wanlora.run.inputs import prompts
from tests import unusual
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, CPU, GPU


class TestPrompts:
    def test_they_are_what_the_scenarios_say(self, open_gate: OpenGate, measured: Path) -> None:
        gate = open_gate()
        found = prompts(gate.suite, gate.scenarios)
        assert {name: (prompt.prompt, prompt.caption) for name, prompt in found.items()} == {
            name: (unusual.PROMPTS[name], unusual.CAPTIONS[name]) for name in unusual.PROMPTS
        }
        assert {name: prompt.input_image_sha256 for name, prompt in found.items()} == {
            name: hashlib.sha256((measured / unusual.IMAGES[name]).read_bytes()).hexdigest()
            for name in unusual.PROMPTS
        }

    @pytest.mark.parametrize("field", ["prompt", "caption", "input_image_sha256"])
    def test_a_baseline_of_another_one_is_incomparable(self, open_gate: OpenGate, field: str) -> None:
        gate = open_gate()
        standard = gate.judge.standard
        stored = standard.baseline.prompts
        other = stored[CITY].model_copy(update={field: "0" * 64})
        _replaced(standard, prompts={**stored, CITY: other})
        with pytest.raises(IncomparableError):
            standard.require(gate.scenarios)
        # where it does not differ it is the same baseline
        standard.require(gate.scenarios[1:])


def _replaced(standard: Standard, **fields: Any) -> Baseline:  # noqa: ANN401 - any field
    """Change the baseline that was read."""
    standard.baseline = standard.baseline.model_copy(update=fields)
    return standard.baseline


def test_the_reference_set_is_the_one_that_the_suite_states(open_gate: OpenGate) -> None:
    gate = open_gate()
    assert gate.judge.standard.reference.sets.keys() == {"city", "nature"}
    other = open_gate()
    scoring = other.suite.scoring.model_copy(update={"reference_sha256": "0" * 64})
    other.suite = other.suite.model_copy(update={"scoring": scoring})
    with pytest.raises(WanloraError, match="0" * 64):
        _ = other.judge.standard.reference


NEWER = dataclasses.replace(CPU, torch="9.0.0")


class TestOtherVersions:
    """A base video that is rendered here must give back what the baseline has for it."""

    def _noted(self, open_gate: OpenGate, change: unusual.Change | None = None) -> tuple[str, ...]:
        gate = open_gate(change, environment=NEWER)
        gate.judge.standard.require(gate.scenarios)
        return gate.judge.standard.notes

    def test_the_same_scores_prove_them_equal(self, open_gate: OpenGate) -> None:
        first, proof = self._noted(open_gate)
        assert first == "torch: baseline 2.0.0, here 9.0.0"
        assert proof.startswith("one base video, rendered here, gives its scores back to 0.0e+00")

    @pytest.mark.parametrize("factor", [1.0005, 0.9995])
    def test_rounding_is_let_pass_and_told(self, open_gate: OpenGate, factor: float) -> None:
        assert "to 5.0e-04" in self._noted(open_gate, lambda _, made: unusual.scored(made, color=factor))[-1]

    @pytest.mark.parametrize("factor", [1.002, 0.998])
    def test_a_score_that_differs_either_way_is_refused(self, open_gate: OpenGate, factor: float) -> None:
        with pytest.raises(IncomparableError, match="base, test1_city, seed 5 has color"):
            self._noted(open_gate, lambda _, made: unusual.scored(made, color=factor))

    @pytest.mark.parametrize(("factor", "refused"), [(1.02, True), (1.005, False)])
    def test_features_that_differ_are_refused(
        self, open_gate: OpenGate, factor: float, refused: bool
    ) -> None:
        def moved(_: Job, made: Produced) -> Produced:
            return dataclasses.replace(
                made, features={name: array * np.float32(factor) for name, array in made.features.items()}
            )

        if refused:
            with pytest.raises(IncomparableError, match="the video features of test1_city differ by 2"):
                self._noted(open_gate, moved)
        else:
            assert self._noted(open_gate, moved)

    def test_who_allows_them_renders_nothing(self, open_gate: OpenGate) -> None:
        gate = open_gate(environment=NEWER, allow_environment=True)
        gate.judge.standard.require(gate.scenarios)
        assert unusual.made(gate) == []

    @pytest.mark.parametrize(
        "elsewhere", [{"environment": GPU.record()}, {"fingerprint": {"other": 1}}], ids=["where", "how"]
    )
    def test_a_base_that_was_measured_elsewhere_proves_nothing(
        self, open_gate: OpenGate, elsewhere: dict[str, Any]
    ) -> None:
        gate = open_gate(environment=NEWER)
        standard = gate.judge.standard
        _replaced(standard, candidate={"name": "accepted"}, **elsewhere)
        with pytest.raises(IncomparableError, match="the base baseline was measured elsewhere"):
            standard._base_of_baseline(["torch"])

    def test_an_accepted_checkpoint_is_proven_by_the_base(self, open_gate: OpenGate) -> None:
        gate = open_gate(environment=NEWER)
        standard = gate.judge.standard
        _replaced(standard, candidate={"name": "accepted"})
        assert standard._base_of_baseline(["torch"]).name == "base"
        gate.settings = dataclasses.replace(gate.settings, baselines_dir=Path("none"))
        with pytest.raises(IncomparableError, match="there is no base baseline"):
            standard._base_of_baseline(["torch"])


def test_another_gpu_is_incomparable(open_gate: OpenGate) -> None:
    gate = open_gate(environment=GPU)
    with pytest.raises(IncomparableError, match="device_name: baseline cpu, here NVIDIA H100"):
        gate.judge.standard.require(gate.scenarios)
    assert unusual.made(gate) == []
