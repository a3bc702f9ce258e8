"""Runs side by side: what may be compared, what may not, and that nothing gets lost on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_wanlora.errors import IncomparableError
from pytest_wanlora.reports import compare
from pytest_wanlora.reports.next_steps import next_steps
from pytest_wanlora.results.parts import Paths
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import Verdict
from tests.unit.reports import gated


def run(name: str, sha256: str = "11" * 32, **fields: Any) -> RunRecord:  # noqa: ANN401 - any field of a record
    """A run of its own of one checkpoint."""
    known: dict[str, Any] = {
        "run_id": f"run-{name}",
        "judgements": gated.judgements(name),
        "candidates": (gated.card(name, sha256=sha256),),
        "videos": gated.videos(name),
        **fields,
    }
    return gated.record(**known)


def _placed(record: RunRecord, folder: str) -> RunRecord:
    """A run of a folder of its own, its checkpoints in another."""
    files = {card.name: f"out/{folder}/{card.name}.safetensors" for card in record.candidates}
    return record.model_copy(update={"paths": Paths(run=f"runs/{folder}", suite="s", checkpoints=files)})


def with_suite(record: RunRecord, **fields: Any) -> RunRecord:  # noqa: ANN401 - any field of a suite's card
    return record.model_copy(update={"suite": record.suite.model_copy(update=fields)})


class TestCombine:
    def test_one_run_is_itself(self) -> None:
        assert compare.combine([gated.record()]) == gated.record()

    def test_checkpoints_keep_their_order_decisions_and_scores(self) -> None:
        failing = gated.failing()
        found = compare.combine([run("epoch-0"), failing, run("epoch-1")])
        assert [card.name for card in found.candidates] == ["epoch-0", "epoch-2", "epoch-1"]
        assert [card.publishable for card in found.candidates] == [True, False, True]
        for name in ("epoch-0", "epoch-1"):
            assert found.decision(name).publishable
        assert not found.decision("epoch-2").publishable
        assert len(found.judgements) == 3 * len(gated.judgements())
        assert len([v for v in found.videos if v.role == "candidate"]) == 12
        assert len([v for v in found.videos if v.role == "baseline"]) == 4
        # it is still a record that agrees with itself
        assert RunRecord.from_json(found.to_json()).to_json() == found.to_json()

    def test_one_name_in_two_runs_is_two_checkpoints(self) -> None:
        found = compare.combine([run("epoch-2"), run("epoch-2", "22" * 32), run("epoch-3")])
        assert [card.name for card in found.candidates] == ["epoch-2 #1", "epoch-2 #2", "epoch-3"]
        assert {judged.candidate for judged in found.judgements} == {"epoch-2 #1", "epoch-2 #2", "epoch-3"}
        assert {item.candidate for item in found.expected} == {"epoch-2 #1", "epoch-2 #2", "epoch-3"}
        assert {v.candidate for v in found.videos if v.role == "candidate"} == {
            *("epoch-2 #1", "epoch-2 #2", "epoch-3")
        }

    def test_commands_are_those_of_the_run_in_which_a_checkpoint_was_gated(self) -> None:
        """Two runs of one checkpoint each, the second with a name that the first has too, and one of two."""
        two = gated.several("epoch-4", "epoch-5")
        records = [
            _placed(run("epoch-2"), "a"),
            _placed(run("epoch-2", "22" * 32), "b"),
            _placed(run("epoch-3", command=("pytest", "--wanlora-suite", "s.yaml")), "c"),
            _placed(two, "d"),
        ]
        found = compare.combine(records)
        commands = [step.command for card in found.candidates for step in next_steps(found, card.name)]
        verify = "python -m pytest_wanlora verify runs"
        assert [each for each in commands if each.startswith(verify)] == [
            f"{verify}/a/receipt.json out/a/epoch-2.safetensors",
            f"{verify}/b/receipt.json out/b/epoch-2.safetensors",
            f"{verify}/c/receipt.json out/c/epoch-3.safetensors",
            f"{verify}/d/receipt-epoch-4.json out/d/epoch-4.safetensors",
            f"{verify}/d/receipt-epoch-5.json out/d/epoch-5.safetensors",
        ]
        # put together once more, as a watch does, they are the same
        again = compare.combine([compare.combine(records[2:]), records[0]])
        assert again.runs == (records[2], records[3], records[0])
        (publish,) = next_steps(again, "epoch-2")
        assert publish.command == f"{verify}/a/receipt.json out/a/epoch-2.safetensors"

    def test_a_lost_category_is_balanced_toward_the_candidates_own_run(self) -> None:
        found = compare.combine([_placed(run("epoch-0"), "a"), _placed(gated.failing(), "b")])
        (lost,) = [step for step in next_steps(found, "epoch-2") if step.key == "category_regressed"]
        assert "--toward runs/b --samples" in lost.command
        assert "--candidate" not in lost.command

    def test_a_partial_run_stays_unpublishable(self) -> None:
        card = gated.card("epoch-0", publishable=False, reason="partial")
        found = compare.combine([run("epoch-0", partial=True, candidates=(card,)), run("epoch-1")])
        assert [each.publishable for each in found.candidates] == [False, True]
        assert "run-epoch-0 was partial: nothing of it may be published" in found.notes

    def test_what_is_worth_knowing_is_noted(self) -> None:
        elsewhere = run("epoch-1", environment={"device_name": "NVIDIA A100", "torch": "2.14.1"})
        other_file = with_suite(run("epoch-3"), sha256="99" * 32)
        notes = "\n".join(compare.combine([run("epoch-0"), elsewhere, other_file]).notes)
        assert "device_name: NVIDIA H100 in run-epoch-0, NVIDIA A100 in run-epoch-1" in notes
        assert "run-epoch-3 was gated by another version of the suite's file" in notes

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                lambda r: with_suite(
                    r, fingerprint={**r.suite.fingerprint, "sampling": {"steps": 30, "cfg_scale": 3.0}}
                ),
                "fingerprint.sampling.steps is 20 and 30",
            ),
            (
                lambda r: with_suite(r, fingerprint={"sampling": r.suite.fingerprint["sampling"]}),
                r"fingerprint\.model is \{.* and None",
            ),
            (lambda r: with_suite(r, metrics={**r.suite.metrics, "clip": 2}), "metrics.clip is 1 and 2"),
            (
                lambda r: with_suite(
                    r,
                    prompts={
                        name: prompt.model_copy(update={"prompt": "another"})
                        for name, prompt in r.suite.prompts.items()
                    },
                ),
                "scenario test1_city has another prompt in each",
            ),
            (
                lambda r: r.model_copy(
                    update={"baseline": r.baseline.model_copy(update={"digest": "12" * 32})}
                ),
                "their baselines differ: base of 2026-01-01",
            ),
        ],
    )
    def test_what_was_measured_in_other_ways_is_refused(
        self, change: Callable[[RunRecord], RunRecord], words: str
    ) -> None:
        with pytest.raises(
            IncomparableError, match=f"run-epoch-0 and run-epoch-1 cannot be compared: {words}"
        ):
            compare.combine([run("epoch-0"), change(run("epoch-1"))])

    def test_the_command_gates_both_on_the_suite_of_the_first(self) -> None:
        first = _placed(run("epoch-0", command=("pytest", "--lora", "x", "--wanlora-suite", "one.yaml")), "a")
        other = _placed(run("epoch-1", command=("pytest", "--lora", "y", "--wanlora-suite", "two.yaml")), "b")
        faster = {**other.suite.fingerprint, "sampling": {"steps": 4}}
        with pytest.raises(IncomparableError) as raised:
            compare.combine([first, with_suite(other, fingerprint=faster)])
        assert raised.value.next_command == (
            "pytest --lora out/a/epoch-0.safetensors --lora out/b/epoch-1.safetensors "
            "--wanlora-suite one.yaml"
        )
        (card,) = other.candidates
        # with all digits: six would be another strength
        for scale in (0.8, 0.123456789):
            weaker = other.model_copy(update={"candidates": (card.model_copy(update={"scale": scale}),)})
            with pytest.raises(IncomparableError, match=rf"--wanlora-scale {re.escape(str(scale))},1$"):
                compare.combine([first, with_suite(weaker, fingerprint=faster)])

    def test_no_suite_gates_loras_of_different_models(self) -> None:
        first, other = _placed(run("epoch-0"), "a"), _placed(run("epoch-1"), "b")
        pair = {**other.suite.fingerprint, "model": {"experts": {}}}
        with pytest.raises(IncomparableError, match="so no suite can gate both") as raised:
            compare.combine([first, with_suite(other, fingerprint=pair)])
        assert raised.value.next_command == (
            "python -m pytest_wanlora show runs/a && python -m pytest_wanlora show runs/b"
        )


class TestLines:
    def test_a_line_for_each_metric_and_scenario_a_column_for_each_checkpoint(self) -> None:
        lines = compare.lines(compare.combine([run("epoch-0"), gated.failing()]))
        head = next(line for line in lines if line.startswith("metric"))
        assert head.split() == ["metric", "scenario", "baseline", "epoch-0", "epoch-2", "course"]
        assert len([line for line in lines if "test1_city" in line]) == 3
        (row,) = [line for line in lines if "250.0" in line]
        assert row.split() == ["test1_city", "500.0", "492.5", "250.0", "FAIL", "worsening"]
        (decision,) = [line for line in lines if line.startswith("decision")]
        assert decision.split() == ["decision", "may", "be", "published", "no"]
        assert "run 1: run-epoch-0" in lines

    def test_the_best_is_named_with_the_reason(self) -> None:
        better = gated.changed(
            gated.judgements("epoch-1"),
            "regression",
            "test1_city",
            "sharpness",
            change=-0.3,
            verdict=Verdict.BETTER,
        )
        found = compare.combine([run("epoch-0"), run("epoch-1", judgements=better)])
        assert compare.best_line(found).startswith("Publish epoch-1. ")
        assert compare.best_line(gated.record()).startswith("Publish epoch-2. ")
        assert compare.best_line(gated.failing()).startswith("The only checkpoint, epoch-2, may not be")

    def test_distances_of_different_numbers_of_videos_say_so(self) -> None:
        more = gated.changed(gated.judgements("epoch-1"), "regression", "all", "fvd", n=16)
        lines = compare.lines(compare.combine([run("epoch-0"), run("epoch-1", judgements=more)]))
        (row,) = [line for line in lines if "n = 16" in line]
        assert "1015.00 (n = 4, 1.5% worse)" in row
        assert "1015.00 (n = 16, 1.5% worse)" in row

    def test_baselines_of_other_seeds_are_not_shown_as_one(self) -> None:
        other = gated.changed(
            gated.judgements("epoch-1"),
            "regression",
            "test1_city",
            "sharpness",
            baseline=800.0,
            change=0.384,
            verdict=Verdict.FAIL,
        )
        card = gated.card("epoch-1", publishable=False, reason="1 of 13 items fails")
        second = run("epoch-1", judgements=other, candidates=(card,))
        lines = compare.lines(compare.combine([run("epoch-0"), second]))
        (row,) = [line for line in lines if "38.4%" in line]
        assert row.split()[:6] == ["test1_city", "-", "492.5", "(1.5%", "worse)", "492.5"]
        assert "492.5 (38.4% worse) FAIL" in row
        assert len([line for line in lines if "1.5% worse" in line]) == 1

    def test_what_was_not_measured_is_no_number(self) -> None:
        lost = gated.changed(
            gated.judgements(),
            "regression",
            "test1_city",
            "sharpness",
            verdict=Verdict.ERROR,
            value=None,
            baseline=None,
            change=None,
        )
        card = gated.card(publishable=False, reason="1 of 13 items fail")
        lines = compare.lines(
            compare.combine([run("epoch-0"), gated.record(judgements=lost, candidates=(card,))])
        )
        (row,) = [line for line in lines if "- ERROR" in line]
        assert row.split()[-1] == "unknown"

    def test_a_suite_without_comparisons_still_has_a_decision(self) -> None:
        limits = tuple(judged for judged in gated.judgements() if judged.kind != "regression")
        lines = compare.lines(gated.record(judgements=limits, expected=gated.items(limits)))
        assert any(line.startswith("decision") for line in lines)
        assert any(line.startswith("Publish epoch-2") for line in lines)

    def test_the_model_without_lora_is_no_checkpoint(self) -> None:
        base = gated.card().model_copy(update={"sha256": None, "checkpoint": None, "publishable": False})
        assert compare.lines(gated.record(candidates=(base,))) == [
            "20260102-030405-1-epoch-2: no checkpoint was gated"
        ]


def test_the_document_holds_what_the_table_shows() -> None:
    found = compare.document(compare.combine([run("epoch-0"), gated.failing()]))
    assert found["runs"] == ["run-epoch-0", "20260102-030405-1-epoch-2"]
    assert [(each["name"], each["publishable"]) for each in found["checkpoints"]] == [
        ("epoch-0", True),
        ("epoch-2", False),
    ]
    (course,) = [
        each for each in found["trend"] if (each["metric"], each["scenario"]) == ("sharpness", "test1_city")
    ]
    assert course["direction"] == "worsening"
    assert [each["verdict"] for each in course["values"]] == ["pass", "fail"]
    assert found["best"]["checkpoint"] == "epoch-0"
    assert found["best"]["reason"] == "only"
