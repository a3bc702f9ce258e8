"""Nothing but the same bytes, a passing verdict and the limits asked for lets a file through."""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import cli, results, testing
from pytest_wanlora.errors import CheckpointError, RecordError, SettingsError
from pytest_wanlora.files import file_sha256
from pytest_wanlora.publishing import receipt, ssh_signature
from pytest_wanlora.publishing.bounds import Bound, parse_bound
from pytest_wanlora.publishing.verify import Demands, signature_path, verify
from pytest_wanlora.results.parts import Paths
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.suite import packaged, schema
from pytest_wanlora.verdict.judgement import ItemOutcome, PytestOutcome, Verdict
from tests import loras
from tests.unit.reports import gated

VERSION_1 = Path(__file__).parents[2] / "data" / "receipt-version-1.json"
PASSING = receipt.canonical(receipt.statement(gated.record(), "epoch-2"))


class Desk:
    """A folder with a receipt and the file it is for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = gated.checkpoint_file(folder)
        self.receipt = folder / "receipt.json"
        self.receipt.write_bytes(PASSING)

    def about(self, record: RunRecord) -> Desk:
        self.receipt.write_bytes(receipt.canonical(receipt.statement(record, "epoch-2")))
        return self

    def forged(self, change: Callable[[dict[str, Any]], object]) -> Desk:
        """A receipt that was edited by someone who knows how to seal it again."""
        document = json.loads(PASSING)
        change(document["predicate"])
        self.receipt.write_bytes(receipt.canonical(receipt._sealed(document)))
        return self

    def problems(self, **demands: Any) -> tuple[str, ...]:  # noqa: ANN401 - any demand
        found = verify(self.receipt, self.checkpoint, Demands(**demands))
        assert found.verified is (not found.problems)
        return found.problems

    def main(self, *arguments: str) -> int:
        return cli.main(["verify", str(self.receipt), str(self.checkpoint), *arguments])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def bounds(*texts: str) -> tuple[Bound, ...]:
    return tuple(map(parse_bound, texts))


class TestBytes:
    def test_the_same_bytes_with_a_passing_verdict_are_verified(self, desk: Desk) -> None:
        assert desk.problems() == ()

    def test_a_renamed_file_is_the_same_file(self, desk: Desk) -> None:
        desk.checkpoint = desk.checkpoint.rename(desk.folder / "other-name.safetensors")
        assert desk.problems() == ()

    def test_another_file_is_refused(self, desk: Desk) -> None:
        desk.checkpoint.write_bytes(gated.BYTES + b"!")
        (problem,) = desk.problems()
        assert "these are other bytes" in problem
        assert gated.SHA in problem

    def test_alphas_beside_the_file_are_part_of_what_was_gated(self, desk: Desk) -> None:
        path = testing.write_lora(desk.folder / "adapter" / "adapter_model.safetensors")
        known = checkpoints.read(path)

        def of_that_file(alpha_source: str, identity: str) -> None:
            described = {
                **(gated.card().checkpoint or {}),
                "identity": identity,
                "alpha_source": alpha_source,
            }
            desk.about(gated.record(candidates=(gated.card(sha256=known.sha256, checkpoint=described),)))

        desk.checkpoint = path
        of_that_file("adapter_config.json", known.identity)
        assert desk.problems() == ()
        of_that_file("adapter_config.json", "00" * 32)
        (problem,) = desk.problems()
        assert "gives other alphas than the gate saw" in problem

    def test_a_receipt_for_these_bytes_and_about_another_lora_contradicts_itself(self, desk: Desk) -> None:
        desk.checkpoint = testing.write_lora(desk.folder / "epoch-0.safetensors")
        document = json.loads(PASSING)
        document["subject"][0]["digest"]["sha256"] = file_sha256(desk.checkpoint)
        desk.receipt.write_bytes(receipt.canonical(receipt._sealed(document)))
        (problem,) = desk.problems()
        assert "the receipt is for its bytes and about another LoRA" in problem

    def test_one_file_with_the_loras_of_two_experts_is_what_both_do(self, desk: Desk) -> None:
        one, both = desk.folder / "one.safetensors", desk.folder / "both.safetensors"
        testing.write_lora(one)
        tensors = load_file(one)
        save_file(
            {
                f"{expert}.{key.removeprefix('diffusion_model.')}": tensor
                for expert in ("transformer_1", "transformer_2")
                for key, tensor in tensors.items()
            },
            both,
        )
        (asked,) = checkpoints.asked([str(both)], by_name=True)
        pair = asked.read("epoch-2")
        assert pair.experts.keys() == {"high", "low"}
        desk.checkpoint = both
        desk.about(gated.record(candidates=(gated.card(sha256=pair.sha256, checkpoint=pair.describe()),)))
        assert desk.problems() == ()

    @pytest.mark.parametrize(
        ("place", "value"),
        [("checkpoint.scale", "1"), ("run.exit_status", False), ("runs", "1"), ("run.partial", 0)],
    )
    def test_a_value_of_another_type_is_no_receipt(self, desk: Desk, place: str, value: object) -> None:
        def change(said: dict[str, Any]) -> None:
            *folders, key = place.split(".")
            for each in folders:
                said = said[each]
            said[key] = value

        (problem,) = desk.forged(change).problems()
        assert place in problem

    @pytest.mark.parametrize(
        ("missing", "error"), [("receipt", RecordError), ("checkpoint", CheckpointError)]
    )
    def test_a_missing_file_is_no_answer(self, desk: Desk, missing: str, error: type[Exception]) -> None:
        getattr(desk, missing).unlink()
        with pytest.raises(error, match="cannot be read: No such file"):
            desk.problems()
        assert desk.main() == 4

    def test_an_endless_receipt_is_not_read_to_its_end(self, desk: Desk) -> None:
        desk.receipt.unlink()
        desk.receipt.symlink_to("/dev/zero")
        with pytest.raises(RecordError, match="not a regular file"):
            desk.problems()


class TestRecord:
    """The record of the run, where it lies beside the receipt."""

    @pytest.fixture
    def desk(self, tmp_path: Path) -> Desk:
        results.write(gated.record(), tmp_path / "results.json")
        return Desk(tmp_path)

    def test_the_receipt_is_held_to_it(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        assert desk.problems() == ()
        assert desk.main() == 0
        printed = capsys.readouterr().out
        assert f"in the receipt; all of it against {desk.folder / 'results.json'}\n" in printed
        assert (
            "checked against nothing else: scores, seeds, environment, versions, names and times\n" in printed
        )
        assert desk.main("--json") == 0
        assert json.loads(capsys.readouterr().out)["held_to"] == str(desk.folder / "results.json")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                lambda said: said["environment"].update(device_name="H200"),
                "environment.device_name is",
            ),
            (lambda said: said["versions"].update(torch="9"), "predicate.versions.torch is '9'"),
            (
                lambda said: said["items"][0].update(value=0.5),
                "items[0].value is '0.5', and '1.0' in",
            ),
            (lambda said: said["items"][0].update(reason="good"), "predicate.items[0].reason is 'good'"),
            (lambda said: said["run"].update(finished="2031-01-01T00:00:00+00:00"), "predicate.run.finished"),
            (lambda said: said.update(runs=7), "predicate.runs is '7', and '1' in"),
            (lambda said: said["verdict"].update(reason="all good"), "predicate.verdict.reason is"),
            (
                lambda said: said["run"]["record"].update(sha256="0" * 64),
                "and not the one that",
            ),
        ],
    )
    def test_a_changed_value_is_refused(
        self, desk: Desk, change: Callable[[dict[str, Any]], object], words: str
    ) -> None:
        problems = desk.forged(change).problems()
        assert words in problems[0]
        assert "results.json" in problems[0]
        assert problems[0].endswith("one of both was changed")

    def test_a_changed_record_is_refused(self, desk: Desk) -> None:
        path = desk.folder / "results.json"
        path.write_text(path.read_text(encoding="utf-8").replace("0.61", "0.62"), encoding="utf-8")
        (problem,) = desk.problems()
        assert "not the one that the receipt names by its SHA-256" in problem

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{broken", "no record of a run: it was changed or cut off"),
            ("[]", "no record of a run: it was changed or cut off"),
            ('{"schema_version": 6}', "no record of a run: it was changed or cut off"),
            ('{"run_id": "another", "schema_version": 6}', "the record of run another, not of the receipt's"),
            (None, "cannot be read: Is a directory"),
        ],
    )
    def test_what_is_not_its_record_is_refused(
        self, desk: Desk, text: str | None, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = desk.folder / "results.json"
        path.unlink()
        if text is None:
            path.mkdir()
        else:
            path.write_text(text, encoding="utf-8")
        (problem,) = desk.problems()
        assert problem == (
            f"{path}: {words}; allowed: the record of run {gated.record().run_id}, as the gate wrote it, "
            "or no results.json here"
        )
        assert desk.main() == 1
        assert "\nnext: pytest --lora " in capsys.readouterr().err

    def test_a_link_to_nothing_is_no_missing_record(self, desk: Desk) -> None:
        path = desk.folder / "results.json"
        path.unlink()
        path.symlink_to("gone")
        (problem,) = desk.problems()
        assert "cannot be read: No such file or directory" in problem

    def test_without_its_record_it_is_held_to_nothing_else(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (desk.folder / "results.json").unlink()
        assert desk.problems() == ()
        assert desk.main() == 0
        assert "does not lie beside the receipt" in capsys.readouterr().out

    @pytest.mark.parametrize("version", [3, 4, 5])
    def test_one_of_an_earlier_version_holds_it_too(self, desk: Desk, version: int) -> None:
        """Who seals a receipt again could give the record another version besides."""
        path = desk.folder / "results.json"
        document = json.loads(path.read_bytes())
        del document["race"]
        path.write_text(json.dumps(document | {"schema_version": version}), encoding="utf-8")
        record = {"sha256": file_sha256(path)}
        assert desk.forged(lambda said: said["run"].update(record=record)).problems() == ()

        def better(said: dict[str, Any]) -> None:
            said["run"].update(record=record)
            said["items"][0].update(value=0.5)

        (problem,) = desk.forged(better).problems()
        assert problem.startswith("predicate.items[0].value is '0.5', and '1.0' in ")

    def test_one_of_a_later_version_is_refused(self, desk: Desk) -> None:
        path = desk.folder / "results.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"schema_version": 99}), encoding="utf-8")
        record = {"sha256": file_sha256(path)}
        (problem,) = desk.forged(lambda said: said["run"].update(record=record)).problems()
        assert problem.startswith(f"{path}: schema_version is 99; allowed: 1 to ")

    def test_what_was_left_out_of_both_is_said_not_to_be_checked(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def without_limits(said: dict[str, Any]) -> None:
            said["suite"]["limits"] = []
            for key in ("expected", "items"):
                said[key] = [item for item in said[key] if item["kind"] != "limit"]
            count = len(said["items"])
            said["verdict"]["reason"] = f"all {count} items pass"

        (desk.folder / "results.json").unlink()
        assert desk.forged(without_limits).problems() == ()
        assert desk.main() == 0
        assert (
            "  not checked: whether the suite demands more than the receipt says" in capsys.readouterr().out
        )
        assert desk.main("--json") == 0
        (unchecked,) = json.loads(capsys.readouterr().out)["not_checked"]
        assert "--require, --band or --policy" in unchecked
        # which finds it out
        assert desk.main("--require", "clip>=0.3") == 1
        assert "no limit on clip was in force" in capsys.readouterr().err


class TestMutations:
    """Not one byte may differ; each refusal is one message."""

    @given(
        place=st.integers(0, len(PASSING) - 1),
        how=st.sampled_from(["change", "insert", "delete"]),
        byte=st.integers(0, 255),
    )
    @example(place=len(PASSING) - 1, how="insert", byte=10)
    @settings(max_examples=600, deadline=None)
    def test_any_changed_inserted_or_deleted_byte_is_refused(self, place: int, how: str, byte: int) -> None:
        new = bytes([byte])
        # of an inserted byte, `place` may be the end
        at = place + 1 if how == "insert" else place
        rest = PASSING[at:] if how == "insert" else PASSING[at + 1 :]
        spoilt = PASSING[:at] + (b"" if how == "delete" else new) + rest
        if spoilt == PASSING:
            return
        with pytest.raises(RecordError) as refused:
            receipt.parse(spoilt, source="receipt.json")
        assert refused.value.message.startswith("receipt.json: ")
        assert len(refused.value.message.splitlines()) == 1

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_the_command_refuses_it_with_one_message(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        desk = Desk(tmp_path_factory.mktemp("desk"))
        place = data.draw(st.integers(0, len(PASSING) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda value: value != PASSING[place]))
        desk.receipt.write_bytes(PASSING[:place] + bytes([byte]) + PASSING[place + 1 :])
        assert len(desk.problems()) == 1
        assert desk.main() == 1

    @given(st.integers(0, len(gated.BYTES) - 1), st.integers(1, 255))
    @settings(max_examples=50, deadline=None)
    def test_any_changed_byte_of_the_checkpoint_is_refused(
        self, tmp_path_factory: pytest.TempPathFactory, place: int, change: int
    ) -> None:
        desk = Desk(tmp_path_factory.mktemp("desk"))
        spoilt = bytearray(gated.BYTES)
        spoilt[place] ^= change
        desk.checkpoint.write_bytes(spoilt)
        assert desk.main() == 1

    @given(st.integers(0, len(PASSING) - 1))
    @settings(max_examples=50, deadline=None)
    def test_a_receipt_that_was_cut_is_refused(self, length: int) -> None:
        with pytest.raises(RecordError):
            receipt.parse(PASSING[:length])


def _left_out(said: dict[str, Any], metric: str) -> None:
    """Let neither what was judged nor what was demanded have a metric."""
    for name in ("items", "expected"):
        said[name] = [each for each in said[name] if each["metric"] != metric]


class TestDecision:
    def test_a_failing_checkpoint_is_refused(self, desk: Desk) -> None:
        (problem,) = desk.about(gated.failing()).problems()
        assert problem == "not publishable: 1 of 13 items fails in test1_city (sharpness)"

    def test_a_partial_run_is_refused(self, desk: Desk) -> None:
        card = gated.card(publishable=False, reason="a partial run publishes nothing")
        problems = desk.about(gated.record(partial=True, candidates=(card,))).problems()
        assert problems == (
            "not publishable: a partial run publishes nothing",
            "the run was partial, or stored a baseline: nothing is publishable by it",
        )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda said: said["items"].pop(), "its own judgements do not: 1 of 13 was not measured"),
            (lambda said: said["items"].append(said["items"][0]), "judged more than once"),
            (lambda said: said["items"][5].update(verdict="error"), "its own judgements do not: 1 of 13"),
            (lambda said: said["expected"].clear(), "the suite and the selection leave no item"),
            (lambda said: said["run"].update(partial=True), "the run was partial"),
            (lambda said: said["verdict"].update(publishable=False), "not publishable"),
            (lambda said: said["items"][1].update(value=0.2), "the limit clip>=0.3@each of its suite is not"),
            (lambda said: said["items"][1].update(value=None), "the limit clip>=0.3@each of its suite"),
            (lambda said: said["suite"]["limits"][1].update(max=900), "the limit fvd<=900@all of its suite"),
            (
                lambda said: _left_out(said, "clip"),
                "the limit clip>=0.3@each of its suite was not measured in test1_city",
            ),
            (
                lambda said: said["items"].append({**said["items"][1], "value": 0.2}),
                "the limit clip>=0.3@each of its suite is not kept in test1_city",
            ),
            (lambda said: said["items"][4].update(change=0.5, evidence=None), "fails by its own numbers"),
            (lambda said: said["checkpoint"].update(name="epoch-0"), "judges something else"),
        ],
    )
    def test_a_receipt_that_contradicts_itself_is_refused(
        self, desk: Desk, change: Callable[[dict[str, Any]], object], words: str
    ) -> None:
        problems = desk.forged(change).problems()
        assert any(words in problem for problem in problems), problems

    @pytest.mark.parametrize("outcome", [each for each in PytestOutcome if each is not PytestOutcome.PASSED])
    def test_a_project_test_that_did_not_pass_is_refused_by_name(
        self, desk: Desk, outcome: PytestOutcome
    ) -> None:
        bad = ItemOutcome("tests/test_own.py::test_bad[epoch-2]", "epoch-2", outcome, "assert 1 == 2")
        said, test, code = desk.about(gated.tested(bad)).problems()
        words = outcome.replace("_", " ")
        assert said == (
            "not publishable: 1 of 3 project tests did not pass, the first "
            f"tests/test_own.py::test_bad[epoch-2] ({words})"
        )
        assert (
            test
            == f"the project test tests/test_own.py::test_bad[epoch-2] did not pass ({words}): assert 1 == 2"
        )
        assert code.startswith(
            "the pytest run ended with exit code 1, and 0 is needed; gate this checkpoint alone, "
        )

    def test_project_tests_that_pass_are_no_obstacle(self, desk: Desk) -> None:
        assert desk.about(gated.tested()).problems() == ()

    @pytest.mark.parametrize("exit_status", [1, 2, 3, 4, 5, 6, -9, 99])
    def test_another_exit_code_than_0_is_refused(self, desk: Desk, exit_status: int) -> None:
        (problem,) = desk.forged(lambda said: said["run"].update(exit_status=exit_status)).problems()
        assert problem.startswith(f"the pytest run ended with exit code {exit_status}, and 0 is needed; ")

    def test_what_its_own_items_keep_from_passing_is_not_to_be_gated_alone(self, desk: Desk) -> None:
        undecided = gated.changed(
            gated.judgements(), "regression", "test1_city", "clip", verdict=Verdict.UNDECIDED
        )
        card = gated.card(publishable=False, reason="1 of 13 items is undecided")
        record = gated.record(judgements=undecided, candidates=(card,), exit_status=1)
        said, code = desk.about(record).problems()
        assert said == "not publishable: 1 of 13 items is undecided"
        assert code == (
            "the pytest run ended with exit code 1, and 0 is needed; what is listed above keeps it from that"
        )
        partial = desk.forged(lambda p: p["run"].update(partial=True, exit_status=1)).problems()
        assert partial[-1] == code

    def test_a_limit_that_was_not_measured_is_not_called_broken(self, desk: Desk) -> None:
        problems = desk.forged(lambda p: (p["run"].update(partial=True), p["items"].pop(1))).problems()
        limits = [problem for problem in problems if problem.startswith("the limit")]
        assert limits == ["the limit clip>=0.3@each of its suite was not measured in test1_city"]

    @pytest.mark.parametrize(
        ("tests", "words"),
        [
            (
                [{"candidate": "epoch-2", "outcome": "failed"}],
                "the project test t.py::a did not pass (failed)",
            ),
            ([{"candidate": None, "outcome": "not_run"}], "the project test t.py::a did not pass (not run)"),
            ([{"candidate": "epoch-9", "outcome": "passed"}], "holds project tests of another checkpoint"),
        ],
    )
    def test_whatever_it_says_of_itself(self, desk: Desk, tests: list[dict[str, Any]], words: str) -> None:
        of = [{"name": "t.py::a", "detail": "", **test} for test in tests]
        problems = desk.forged(lambda said: said.update(project_tests=of)).problems()
        assert any(words in problem for problem in problems), problems

    def test_a_warning_on_weak_evidence_passes_as_it_did_in_the_gate(self, desk: Desk) -> None:
        given = gated.changed(
            gated.judgements(),
            "regression",
            "test1_city",
            "sharpness",
            verdict=Verdict.WARN,
            change=0.2,
        )
        assert desk.about(gated.record(judgements=given)).problems() == ()
        strict = gated.record().suite.model_copy(update={"weak": "fail"})
        (problem,) = desk.about(gated.record(judgements=given, suite=strict)).problems()
        assert "fails by its own numbers" in problem


class TestVersion1:
    """What an earlier version wrote is judged by its rules: it knew no project tests and no exit code."""

    def problems(self, receipt_path: Path) -> tuple[str, ...]:
        return verify(receipt_path, VERSION_1.with_suffix(".safetensors"), Demands()).problems

    def test_a_good_one_is_verified(self) -> None:
        assert self.problems(VERSION_1) == ()

    def test_it_is_held_to_the_record_of_its_run(self, tmp_path: Path) -> None:
        forged, record = tmp_path / "receipt.json", tmp_path / "results.json"
        record.write_bytes(VERSION_1.with_name("record-version-2.json").read_bytes())
        forged.write_bytes(VERSION_1.read_bytes())
        found = verify(forged, VERSION_1.with_suffix(".safetensors"), Demands())
        assert (found.problems, found.record) == ((), record)
        document = json.loads(VERSION_1.read_bytes())
        document["predicate"]["versions"]["torch"] = "9"
        forged.write_bytes(receipt.canonical(receipt._sealed(document)))
        (problem,) = self.problems(forged)
        assert problem.startswith("predicate.versions.torch is '9', and '")

    def test_its_decision_is_still_taken_anew(self, tmp_path: Path) -> None:
        document = json.loads(VERSION_1.read_bytes())
        document["predicate"]["items"][3]["verdict"] = "fail"
        forged = tmp_path / "receipt.json"
        forged.write_bytes(receipt.canonical(receipt._sealed(document)))
        (problem,) = self.problems(forged)
        assert "its own judgements do not: 1 of 24 items fails" in problem


class TestDemands:
    @pytest.mark.parametrize(
        "text",
        ["clip>=0.3", "clip>=0.25", "clip >= 0.3", "clip>=0.3@each", "clip>=0.3@test1_city", "fvd<=1140@all"],
    )
    def test_limits_at_least_as_strict_as_asked_are_enough(self, desk: Desk, text: str) -> None:
        assert desk.problems(bounds=bounds(text)) == ()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("clip>=0.31", "in force is clip>=0.3@each: not as strict in test1_city, test2_nature"),
            ("clip>=0.3@all", "not as strict in all scenarios together"),
            ("fvd<=1000", "in force is fvd<=1140@all"),
            ("fvd<=1140@each", "not as strict in test1_city, test2_nature"),
            ("fvd>=1", "in force is fvd<=1140@all: not as strict"),
            ("clip<=2", "in force is clip>=0.3@each: not as strict"),
            ("motion>=0.1", "no limit on motion was in force"),
            ("clip>=0.3@test9", "the suite has no scenario test9; it has test1_city, test2_nature"),
        ],
    )
    def test_laxer_limits_are_refused(self, desk: Desk, text: str, words: str) -> None:
        problems = desk.problems(bounds=bounds(text))
        assert any(words in problem for problem in problems), problems

    @pytest.mark.parametrize(
        ("metric", "text", "place"),
        [
            ("fvd", "fvd<=1140", "all scenarios together"),
            ("clip", "clip>=0.3@test2_nature", "test2_nature"),
            ("clip", "clip>=0.3", "test1_city"),
        ],
    )
    def test_what_was_not_measured_keeps_nothing(
        self, desk: Desk, metric: str, text: str, place: str
    ) -> None:
        problems = desk.forged(lambda said: _left_out(said, metric)).problems(bounds=bounds(text))
        demanded = bounds(text)[0].text
        assert f"required: {demanded}; {metric} was not measured in {place}" in problems

    def test_a_score_at_the_bound_keeps_it(self, desk: Desk) -> None:
        given = gated.changed(gated.judgements(), "limit", "test1_city", "clip", value=0.3)
        assert desk.about(gated.record(judgements=given)).problems(bounds=bounds("clip>=0.3")) == ()
        given = gated.changed(given, "limit", "all", "fvd", value=1140.0)
        assert desk.about(gated.record(judgements=given)).problems(bounds=bounds("fvd<=1140")) == ()

    def test_every_score_of_the_place_must_meet_what_is_asked(self, desk: Desk) -> None:
        given = gated.changed(
            gated.judgements(), "regression", "test2_nature", "clip", value=0.25, change=0.01
        )
        # the limit was judged on the first look and kept; the comparison saw more videos
        (problem,) = desk.about(gated.record(judgements=given)).problems(bounds=bounds("clip>=0.3"))
        assert problem == "required: clip>=0.3; measured: 0.25 in test2_nature"

    @pytest.mark.parametrize(
        ("demands", "words"),
        [
            ({"suite": "wan"}, "gated on suite fake, required: wan"),
            ({"suite_sha256": "00" * 32}, f"has SHA-256 {gated.SUITE_SHA}, required: 00"),
            ({"max_runs": 2}, "run 3 of these bytes, required: <= 2"),
        ],
    )
    def test_other_demands(self, desk: Desk, demands: dict[str, Any], words: str) -> None:
        desk.about(gated.record(candidates=(gated.card(runs=3),)))
        (problem,) = desk.problems(**demands)
        assert words in problem
        kept = {"suite": "fake", "suite_sha256": gated.SUITE_SHA.upper(), "max_runs": 3}
        assert desk.problems(**{name: kept[name] for name in demands}) == ()

    @pytest.mark.parametrize(
        "text", ["", "clip", "clip>0.3", "clip=0.3", ">=0.3", "clip>=", "clip>=1e", "clip>=0.3@", "clip>=nan"]
    )
    def test_what_is_no_bound_is_a_usage_error(self, text: str) -> None:
        with pytest.raises(SettingsError, match="allowed: 'METRIC>=NUMBER'"):
            parse_bound(text)

    def test_an_unknown_metric_is_a_usage_error(self) -> None:
        with pytest.raises(SettingsError, match="'clap' is no metric; allowed: clip, "):
            parse_bound("clap>=0.3")

    @given(
        st.sampled_from([">=", "<="]), st.floats(-1e6, 1e6), st.sampled_from(["", "@all", "@each", "@x-1.y"])
    )
    def test_bounds_are_read_as_they_are_written(self, sign: str, value: float, place: str) -> None:
        found = parse_bound(f"fvd{sign}{value!r}{place}")
        assert (found.minimum if sign == ">=" else found.maximum) == value
        assert (found.maximum if sign == ">=" else found.minimum) is None
        assert found.place == (place[1:] or "all")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys `mine`, `other` and `locked`, and a file of allowed signers with the first."""
    folder = tmp_path_factory.mktemp("keys")
    for name, passphrase in {"mine": "", "other": "", "locked": "a passphrase"}.items():
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-C",
            name,
            "-N",
            passphrase,
            "-f",
            str(folder / name),
        ]
        subprocess.run(command, check=True, capture_output=True)
    public = (folder / "mine.pub").read_text()
    (folder / "signers").write_text(f'release@example.org namespaces="{ssh_signature.NAMESPACE}" {public}')
    return folder


class TestSignature:
    def _signed(self, desk: Desk, keys: Path, key: str = "mine") -> Desk:
        signature_path(desk.receipt).write_bytes(ssh_signature.sign(desk.receipt.read_bytes(), keys / key))
        return desk

    def test_a_good_one_is_verified(self, desk: Desk, keys: Path) -> None:
        self._signed(desk, keys)
        found = verify(
            desk.receipt,
            desk.checkpoint,
            Demands(allowed_signers=keys / "signers", signer="release@example.org"),
        )
        assert found.verified
        assert found.signed

    def test_without_asking_no_signature_counts(self, desk: Desk, keys: Path) -> None:
        self._signed(desk, keys)
        assert not verify(desk.receipt, desk.checkpoint, Demands()).signed

    @pytest.mark.parametrize("signer", ["someone@example.org", "-h", ""])
    def test_another_signer_is_refused(self, desk: Desk, keys: Path, signer: str) -> None:
        self._signed(desk, keys)
        (problem,) = desk.problems(allowed_signers=keys / "signers", signer=signer)
        assert "not a good signature of" in problem

    def test_a_key_that_is_not_allowed_is_refused(self, desk: Desk, keys: Path) -> None:
        self._signed(desk, keys, "other")
        (problem,) = desk.problems(allowed_signers=keys / "signers", signer="release@example.org")
        assert "not a good signature of release@example.org" in problem

    def test_a_forged_receipt_is_refused(self, desk: Desk, keys: Path) -> None:
        self._signed(desk.about(gated.failing()), keys)
        desk.receipt.write_bytes(PASSING)
        (problem,) = desk.problems(allowed_signers=keys / "signers", signer="release@example.org")
        assert "not a good signature" in problem
        # what the signature is for: without one, only an accident is found
        assert desk.problems() == ()

    def test_one_made_for_another_purpose_is_refused(self, desk: Desk, keys: Path) -> None:
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(keys / "mine"), str(desk.receipt)]
        subprocess.run(command, check=True, capture_output=True)
        assert desk.problems(allowed_signers=keys / "signers", signer="release@example.org")

    def test_a_missing_one_is_refused(self, desk: Desk, keys: Path) -> None:
        (problem,) = desk.problems(allowed_signers=keys / "signers", signer="release@example.org")
        assert "no such file; a signature of release@example.org is required" in problem

    def test_a_damaged_one_is_refused(self, desk: Desk, keys: Path) -> None:
        self._signed(desk, keys)
        path = signature_path(desk.receipt)
        path.write_bytes(path.read_bytes().replace(b"\n", b"\nAAAA", 1))
        (problem,) = desk.problems(allowed_signers=keys / "signers", signer="release@example.org")
        assert "not a good signature" in problem

    def test_a_file_of_another_format_allows_nobody(self, desk: Desk, keys: Path) -> None:
        self._signed(desk, keys)
        (desk.folder / "signers").write_text("nobody knows\n")
        assert desk.problems(allowed_signers=desk.folder / "signers", signer="release@example.org")

    def test_asking_by_half_is_a_usage_error(self, desk: Desk, keys: Path) -> None:
        with pytest.raises(SettingsError, match="one without the other"):
            desk.problems(signer="release@example.org")
        with pytest.raises(SettingsError, match="one without the other"):
            desk.problems(allowed_signers=keys / "signers")
        with pytest.raises(SettingsError, match="no such file"):
            desk.problems(allowed_signers=desk.folder / "none", signer="release@example.org")

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            (
                "locked",
                r"incorrect passphrase(.|\n)*next: ssh-add .*locked$",
            ),
            ("none", r"ssh-keygen cannot sign with it: .*No such file(.|\n)*next: ssh-keygen -y -f"),
            ("signers", r"ssh-keygen cannot sign with it"),
        ],
    )
    def test_a_key_that_cannot_sign_says_so(self, keys: Path, key: str, words: str) -> None:
        with pytest.raises(SettingsError) as refused:
            ssh_signature.check_key(keys / key)
        assert str(refused.value).startswith("--wanlora-sign-key (ini: wanlora_sign_key): ")
        assert re.search(words, str(refused.value))

    def test_a_locked_key_never_waits_for_someone_to_type(
        self, keys: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setenv("SSH_ASKPASS", "/bin/cat")
        failed = threading.Event()

        def try_it() -> None:
            with pytest.raises(SettingsError):
                ssh_signature.check_key(keys / "locked")
            failed.set()

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join(timeout=30)
        assert failed.is_set()

    def test_ssh_keygen_is_told_never_to_ask(
        self, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A window may open under Wayland too, which no DISPLAY speaks of."""
        program = tmp_path / "ssh-keygen"
        program.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\nexit 1\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setenv("SSH_ASKPASS", "/bin/cat")
        with pytest.raises(SettingsError):
            ssh_signature.check_key(keys / "mine")
        told = (tmp_path / "environment").read_text(encoding="utf-8").splitlines()
        assert "SSH_ASKPASS_REQUIRE=never" in told
        assert not [line for line in told if line.startswith(("DISPLAY=", "SSH_ASKPASS="))]

    def test_without_ssh_keygen_it_says_what_to_install(
        self, keys: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(SettingsError, match="ssh-keygen is not installed"):
            ssh_signature.check_key(keys / "mine")


class TestCommand:
    def test_what_is_verified_is_said(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        assert desk.main("--require", "clip>=0.3", "fvd<=1140", "--suite", "fake", "--max-runs", "1") == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        for words in (
            f"verified: epoch-2.safetensors, SHA-256 {gated.SHA}",
            "all 13 items pass; run 1 of these bytes, at strength 1",
            "kept: clip>=0.3",
            "checked: the file and the receipt against their digests; the verdicts against the numbers",
            "versions, names and times, since results.json of the run does not lie beside the receipt",
            "no signature was looked at: anyone can write a receipt that fits, so it proves nothing of who",
        ):
            assert words in printed.out

    def test_every_refusal_is_one_line(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        desk.about(gated.failing())
        assert desk.main("--require", "clip>=0.4", "--suite", "wan") == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert [line.partition(":")[0] for line in printed.err.splitlines()] == ["refused"] * 3 + ["next"]

    @pytest.mark.parametrize(
        ("gated_at", "asked", "options"),
        [
            (1.0, ("--scale", "0.6"), "--wanlora-scale 0.6"),
            (0.6, (), "--wanlora-scale 1"),
            (1.0, ("--suite", "tiny"), "--wanlora-suite tiny"),
            (1.0, ("--suite", "my"), "--wanlora-suite my"),
            (1.0, ("--min-seeds", "999"), "--wanlora-seeds 999:999"),
            (1.0, ("--min-seeds", "9"), "--wanlora-seeds 9:9"),
            (1.0, ("--min-seeds", "9999"), ""),
        ],
    )
    def test_the_next_command_gates_as_asked_for(
        self,
        desk: Desk,
        gated_at: float,
        asked: tuple[str, ...],
        options: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        desk.forged(lambda said: said["checkpoint"].update(scale=gated_at))
        assert desk.main(*asked) == 1
        following = capsys.readouterr().err.splitlines()[-1]
        assert following == f"next: pytest --lora {desk.checkpoint} {options}".rstrip()

    @pytest.mark.parametrize(
        ("asked", "limits", "tolerances"),
        [
            (("--require", "clip>=9", "fvd<=1140"), ["- {metric: clip, min: 9, scenario: each}"], ""),
            (
                ("--require", "fvd<=9@all", "clip>=0.5@all"),
                ["- {metric: fvd, max: 9, scenario: all}", "- {metric: clip, min: 0.5, scenario: all}"],
                "",
            ),
            (("--band", "fvd<=0.01"), [], "fvd: {warn: 0.01, fail: 0.01}"),
            (
                ("--require", "clip>=9", "--band", "fvd<=0.05"),
                ["- {metric: clip, min: 9, scenario: each}"],
                "fvd: {warn: 0.02, fail: 0.05}",
            ),
            # not compared at all
            (("--band", "motion<=0.5"), [], "motion: {warn: 0.1, fail: 0.5}"),
            (("--band", "motion<=2"), [], "motion: {warn: 0.1, fail: 1}"),
        ],
    )
    def test_what_only_another_suite_can_meet_is_to_be_written_into_it(
        self,
        desk: Desk,
        asked: tuple[str, ...],
        limits: list[str],
        tolerances: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert desk.main(*asked) == 1
        following = capsys.readouterr().err.splitlines()[-1]
        words = [" and ".join(f"'{limit}'" for limit in limits) + " below limits"] * bool(limits)
        words += [f"'{tolerances}' below tolerances"] * bool(tolerances)
        gate = f"pytest --lora {desk.checkpoint}"
        assert following == f"next: write {', '.join(words)} of the suite, then {gate}"
        # a suite takes them so
        text = "\n".join(
            ["limits:", *limits] * bool(limits) + ["tolerances:", f"  {tolerances}"] * bool(tolerances)
        )
        for key, value in yaml.safe_load(text).items():
            kind = schema.Limit if key == "limits" else schema.Tolerance
            for each in value if key == "limits" else value.values():
                kind.model_validate(each)

    def test_nobody_writes_into_a_packaged_suite(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tiny = {"name": "tiny", "digest": {"sha256": file_sha256(packaged()["tiny"])}}
        desk.forged(lambda said: said["suite"].update(tiny))
        assert desk.main("--band", "clip<=0.01") == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            "next: write 'clip: {warn: 0.01, fail: 0.01}' below tolerances of a copy of suite tiny, which "
            f"python -m pytest_wanlora init writes, then pytest --lora {desk.checkpoint}"
        )

    def test_no_suite_has_a_band_of_nothing(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        assert desk.main("--band", "clip<=0") == 4
        assert "allowed: a number above 0" in capsys.readouterr().err

    @pytest.mark.parametrize("edited", [False, True])
    @pytest.mark.parametrize("digest", ["", "packaged", "file", "another"])
    def test_a_suite_that_is_called_as_a_packaged_one_is_not_it(
        self,
        desk: Desk,
        edited: bool,
        digest: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(desk.folder)
        file = Path("s.yaml")
        file.write_bytes(packaged()["tiny"].read_bytes() + b"# mine")
        record = gated.record()
        suite = record.suite.model_copy(update={"name": "tiny", "sha256": file_sha256(file)})
        paths = Paths(run="runs/latest", suite="s.yaml", checkpoints={})
        record = record.model_copy(update={"suite": suite, "paths": paths})
        results.write(record, desk.folder / "results.json")
        desk.about(record)
        if edited:
            file.write_bytes(file.read_bytes() + b"\n# twice")
        wanted = {"packaged": packaged()["tiny"], "file": file, "another": desk.checkpoint}
        asked = ["--suite-sha256", file_sha256(wanted[digest]).upper()] if digest else []
        assert desk.main("--min-seeds", "9", *asked) == 1
        suite_option = {"": " --wanlora-suite s.yaml", "packaged": " --wanlora-suite tiny"}
        suite_option["file"] = suite_option[""]
        following = capsys.readouterr().err.splitlines()[-1]
        gate = f"pytest --lora {desk.checkpoint}{suite_option.get(digest, '')} --wanlora-seeds 9:9"
        assert following == f"next: {gate}"
        if digest == "file":
            assert desk.main("--band", "clip<=0.01", *asked) == 1
            assert " below tolerances of suite s.yaml, then pytest --lora" in capsys.readouterr().err
        # without the record pytest's settings name it
        (desk.folder / "results.json").unlink()
        assert desk.main("--min-seeds", "9", *asked) == 1
        named = " --wanlora-suite tiny" if digest == "packaged" else ""
        following = capsys.readouterr().err.splitlines()[-1]
        assert following == f"next: pytest --lora {desk.checkpoint}{named} --wanlora-seeds 9:9"

    def test_a_receipt_and_a_lora_that_are_swapped(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["verify", str(desk.checkpoint), str(desk.receipt)]) == 4
        said, following = capsys.readouterr().err.splitlines()
        assert "a LoRA in the place of the receipt" in said
        assert cli.main(following.removeprefix("next: python -m pytest_wanlora ").split()) == 0

    def test_json(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        assert desk.main("--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["verified"] is True
        assert found["problems"] == []
        assert found["receipt"]["subject"][0]["digest"]["sha256"] == gated.SHA
        desk.receipt.write_bytes(PASSING[:-1])
        assert desk.main("--json") == 1
        found = json.loads(capsys.readouterr().out)
        assert found["verified"] is False
        assert len(found["problems"]) == 1
        assert found["receipt"] is None

    def test_a_signature(self, desk: Desk, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
        elsewhere = desk.folder / "elsewhere.sig"
        elsewhere.write_bytes(ssh_signature.sign(PASSING, keys / "mine"))
        asked = ["--allowed-signers", str(keys / "signers"), "--signer", "release@example.org"]
        assert desk.main(*asked) == 1
        assert desk.main(*asked, "--signature", str(elsewhere)) == 0
        assert "signed by release@example.org" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--require", "clip"),
            ("--max-runs", "0"),
            ("--max-runs", "many"),
            ("--suite-sha256", "abc"),
            ("--signer", "me"),
            ("--signature", "x.sig"),
            ("--nonsense",),
        ],
    )
    def test_wrong_use_is_4(
        self, desk: Desk, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert desk.main(*arguments) == 4
        assert capsys.readouterr().out == ""

    def test_what_a_receipt_says_cannot_move_the_cursor(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        desk.forged(lambda said: said["verdict"].update(reason="\x1b[2J\nall\u202e pass"))
        assert desk.main() == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert "\u202e" not in printed


class TestWhole:
    """A receipt that was sealed again must still hold all that its own suite demands."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda p: p.update(seeds={}), "videos of 0 seeds; its suite demands 2"),
            (lambda p: p["seeds"].pop(p["suite"]["scenarios"][-1]), "videos of 0 seeds"),
            (lambda p: p["seeds"].update({p["suite"]["scenarios"][0]: [0]}), "videos of 1 seed"),
            (lambda p: p["seeds"].update({p["suite"]["scenarios"][0]: [0, 0]}), "videos of 1 seed"),
            (lambda p: [item.update(n=0) for item in p["items"]], "rests on 0 videos"),
            (lambda p: [item.update(n=1) for item in p["items"] if item["metric"] == "fvd"], "rests on 1 v"),
            (lambda p: p.update(baseline=None), "it names no baseline"),
            (lambda p: p["suite"].update(scenarios=[]), "no scenarios or no looks"),
            (lambda p: p["suite"].update(looks=[]), "no scenarios or no looks"),
            (
                lambda p: p.update(
                    items=[item for item in p["items"] if item["kind"] != "regression"],
                    expected=[item for item in p["expected"] if item["kind"] != "regression"],
                ),
                "items in all that it leaves out",
            ),
            (
                lambda p: p.update(
                    items=[item for item in p["items"] if item["kind"] != "checkpoint"],
                    expected=[item for item in p["expected"] if item["kind"] != "checkpoint"],
                ),
                r"demands test_checkpoint\[epoch-2\]",
            ),
        ],
    )
    def test_what_its_suite_demands_must_be_in_it(
        self, desk: Desk, change: Callable[[dict[str, Any]], object], words: str
    ) -> None:
        assert any(re.search(words, problem) for problem in desk.forged(change).problems())


def of(said: dict[str, Any], metric: str, scenario: str = "test1_city") -> dict[str, Any]:
    """A comparison of a receipt."""
    place = ("regression", scenario, metric)
    return next(item for item in said["items"] if (item["kind"], item["scenario"], item["metric"]) == place)


class TestNumbers:
    """A verdict that was edited, and one of its numbers that was not, contradict each other."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda p: of(p, "clip").update(value=0.3),
            lambda p: of(p, "clip").update(baseline=1.2),
            lambda p: of(p, "fvd").update(value=1500.0),
            lambda p: of(p, "sharpness").update(change=0.3),
            lambda p: of(p, "sharpness")["evidence"].update(change=0.3, high=0.4),
            lambda p: (of(p, "fvd").update(value=1500.0), of(p, "fvd")["evidence"].update(band=0.3)),
            lambda p: (
                of(p, "fvd").update(change=0.0),
                of(p, "fvd")["evidence"].update(change=0.0, baseline_floor=920.0, value_floor=920.0),
            ),
            lambda p: (
                p["suite"].update(weak="warn"),
                of(p, "clip").update(change=0.3, verdict="warn"),
                of(p, "clip")["evidence"].update(p_value=0.001, p_adjusted=0.001),
            ),
        ],
    )
    def test_a_comparison_that_fails_by_any_of_its_numbers(
        self, desk: Desk, change: Callable[[dict[str, Any]], object]
    ) -> None:
        desk.forged(lambda p: (p["suite"].update(weak="fail"), change(p)))
        (problem,) = desk.problems()
        assert "fails by its own numbers" in problem

    @pytest.mark.parametrize(
        ("changed", "problems"),
        [({}, 0), ({"value": None}, 1), ({"value": None, "verdict": "warn"}, 0), ({"metric": "bleed"}, 1)],
    )
    def test_of_the_questions_copies_alone_need_no_test(
        self, desk: Desk, changed: dict[str, Any], problems: int
    ) -> None:
        def ask(p: dict[str, Any]) -> None:
            empty = dict.fromkeys(("baseline", "change", "evidence", "fail", "warn"))
            item = {**of(p, "clip"), **empty, "kind": "question", "metric": "copies", "value": 0.7, **changed}
            p["items"].append(item)
            p["expected"].append({key: item[key] for key in ("candidate", "kind", "metric", "scenario")})
            p["suite"]["questions"] = {item["metric"]: ["test1_city"]}

        found = desk.forged(ask).problems()
        assert [problem.split(" is judged")[1] for problem in found] == [
            " pass without the numbers that it follows from"
        ] * problems

    @pytest.mark.parametrize(
        ("estimates", "problems"), [((10.0, 11.0), 0), ((10.0, 14.0), 1), ((None, None), 0)]
    )
    def test_a_distance_is_recomputed_from_the_estimates_that_its_change_is_of(
        self, desk: Desk, estimates: tuple[float | None, float | None], problems: int
    ) -> None:
        def state(p: dict[str, Any]) -> None:
            p["suite"].update(weak="fail")
            item = of(p, "fvd")
            # all floor but for a trace: no ratio of these two says anything
            floors = item["baseline"] - (1.0 if estimates[0] is None else 1e-3), item["value"] - 1.1
            item["change"] = item["evidence"]["change"] = 0.1
            item["evidence"].update(
                high=0.2,
                baseline_floor=floors[0],
                value_floor=floors[1],
                baseline_estimate=estimates[0],
                value_estimate=estimates[1],
            )

        assert len(desk.forged(state).problems()) == problems

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda p: of(p, "clip").update(n=9), "rests on 9 videos, and the receipt names the seeds of 2"),
            (
                lambda p: of(p, "fvd", "all").update(n=9),
                "rests on 9 videos, and the receipt names the seeds of 4",
            ),
            (lambda p: of(p, "fvd")["evidence"].update(n=16), "rests on 2 videos, and its evidence on 16"),
            (
                lambda p: of(p, "clip")["evidence"].update(high=0.01),
                "its change of 0.015 is not in its interval",
            ),
            (
                lambda p: (
                    p["items"][3].update(value=600.0),
                    of(p, "fvd", "all")["evidence"].update(value_floor=500.0, baseline_floor=400.0),
                ),
                "all-fvd]: 515 above its floor, and test_limit[epoch-2-all-fvd] has 600",
            ),
            (
                lambda p: of(p, "clip").update(fail=9.0),
                "clip] states a fail band of 9.0; by its suite it is 0.",
            ),
            (lambda p: of(p, "clip").update(fail=None), "states a fail band of None"),
            (
                lambda p: p["items"][1].update(minimum=0.1),
                "is held to a minimum of 0.1 and a maximum of None; its suite demands 0.3 and None",
            ),
            (lambda p: p["items"][3].update(maximum=None), "a maximum of None; its suite demands None and"),
            (lambda p: p["suite"]["limits"].pop(), "all-fvd] is of a limit that its suite does not have"),
            (lambda p: p["run"].update(finished="2025-01-02T03:04:05+00:00"), "before it began, 2026-01-02"),
            (lambda p: p["run"].update(started="2026-01-02T03:04:05"), "not two times of ISO 8601"),
            (lambda p: p["run"].update(finished="soon"), "ended 'soon': not two times"),
            (
                lambda p: of(p, "fvd")["evidence"].update(baseline_estimate=100.0, value_estimate=99.0),
                "fvd] states a change of 0.015; by its estimates it is -0.01",
            ),
        ],
    )
    def test_numbers_that_are_not_of_one_measurement(
        self, desk: Desk, change: Callable[[dict[str, Any]], object], words: str
    ) -> None:
        problems = desk.forged(change).problems()
        assert any(words in problem for problem in problems), problems

    def test_the_sentence_that_is_printed_is_the_decision_taken_again(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        desk.forged(lambda p: p["verdict"].update(reason="all 99 items pass"))
        assert desk.main() == 0
        said = capsys.readouterr().out
        assert "all 13 items" in said
        assert "99" not in said

    @pytest.mark.parametrize(
        ("weak", "verdict", "n", "problems"),
        [("warn", "warn", 2, 0), ("fail", "warn", 2, 1), ("warn", "pass", 2, 1), ("warn", "warn", 3, 1)],
    )
    def test_what_so_few_videos_cannot_prove_may_warn_where_the_suite_says_so(
        self, desk: Desk, weak: str, verdict: str, n: int, problems: int
    ) -> None:
        def state(p: dict[str, Any]) -> None:
            p["suite"].update(weak=weak)
            p["seeds"]["test1_city"] = [0, 1, 2]
            of(p, "fvd").update(value=1500.0, change=0.5, evidence=None, verdict=verdict, n=n)

        found = desk.forged(state).problems()
        assert ["fails by its own numbers" in each for each in found] == [True] * problems

    @pytest.mark.parametrize("key", ["value", "baseline", "change"])
    def test_a_comparison_without_a_number(self, desk: Desk, key: str) -> None:
        (problem,) = desk.forged(lambda p: of(p, "sharpness").update({key: None})).problems()
        assert "without the numbers that it follows from" in problem

    def test_only_a_distance_has_a_band_of_its_own(self, desk: Desk) -> None:
        (problem,) = desk.forged(lambda p: of(p, "clip")["evidence"].update(band=5.0)).problems()
        assert "has a band of its own, 5, which only distances may have" in problem
        desk.forged(lambda p: of(p, "fvd")["evidence"].update(band=5.0))
        assert desk.problems() == ()
        (problem,) = desk.problems(bands={"fvd": 0.15})
        assert "was judged by a fail band of 5, since its 2 videos cannot tell less" in problem

    def test_a_lora_that_is_not_known_to_be_applied(self, desk: Desk) -> None:
        (problem,) = desk.forged(lambda p: p["items"][0].update(value=None)).problems()
        assert "says nothing of how it was applied" in problem

    def test_a_metric_that_the_suite_does_not_compare(self, desk: Desk) -> None:
        def widened(said: dict[str, Any]) -> None:
            del said["suite"]["tolerances"]["sharpness"]

        assert any("does not compare" in problem for problem in desk.forged(widened).problems())

    def test_single_videos_and_version_2_can_be_demanded(self, desk: Desk) -> None:
        (problem,) = desk.problems(single_videos=True)
        assert "its suite demands test_videos[epoch-2-test1_city] and 2 items" in problem
        old = verify(VERSION_1, VERSION_1.with_suffix(".safetensors"), Demands(strict=True))
        assert any("a receipt of version 1" in problem for problem in old.problems)


SCENARIO = json.loads(PASSING)["predicate"]["suite"]["scenarios"][0]
BASELINE = json.loads(PASSING)["predicate"]["baseline"]["digest"]["sha256"]
DEVICE = json.loads(PASSING)["predicate"]["environment"]


class TestCircumstances:
    """What changes the meaning of a pass can be demanded, on the command line and in a policy file."""

    @pytest.mark.parametrize(
        ("demands", "words"),
        [
            ({"scale": 0.8}, "gated at strength 1, required: 0.8"),
            ({"min_seeds": 64}, f"{SCENARIO}: videos of "),
            ({"baseline_sha256": "0" * 64}, "compared with the baseline "),
            ({"bands": {"clip": 0.001}}, "the fail band of clip was "),
            ({"bands": {"drift": 0.1}}, "the fail band of drift was none, required: <= 0.1"),
            ({"environment": {"device": "tpu"}}, "required: tpu"),
            ({"environment": {"no such key": "x"}}, "gated where no such key is None, required: x"),
        ],
    )
    def test_what_does_not_hold_is_refused(self, desk: Desk, demands: dict[str, Any], words: str) -> None:
        problems = desk.problems(**demands)
        assert problems
        assert all(words in problem or "videos of" in problem for problem in problems)

    def test_a_demanded_baseline_is_the_only_one_that_was_compared_with(self, desk: Desk) -> None:
        desk.forged(lambda p: p["baseline"].update(added={SCENARIO: [7, 8]}))
        assert desk.problems() == ()
        (problem,) = desk.problems(baseline_sha256=BASELINE)
        assert problem.startswith("compared with 2 base videos that the baseline ")

    def test_what_holds_is_verified(self, desk: Desk) -> None:
        assert desk.problems(baseline_sha256=BASELINE.upper(), min_seeds=2, bands={"clip": 1.0}) == ()
        key, value = next((k, v) for k, v in DEVICE.items() if isinstance(v, str))
        assert desk.problems(environment={key: value}) == ()

    def test_another_strength_than_1_must_be_asked_for(self, desk: Desk) -> None:
        desk.forged(lambda p: p["checkpoint"].update(scale=1e-6))
        assert desk.problems() == ("gated at strength 0.000001, required: 1",)
        assert desk.main("--scale", "1e-6") == 0

    def test_a_policy_file_is_the_same_demands(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        policy = desk.folder / "policy.yaml"
        policy.write_text(
            f"require: ['clip>=0.3']\nsuite: {json.loads(PASSING)['predicate']['suite']['name']}\n"
            f"scale: 1.0\nmin_seeds: 2\nbaseline_sha256: '{BASELINE}'\nbands: {{clip: 1.0}}\n"
        )
        assert desk.main("--policy", str(policy)) == 0
        policy.write_text(policy.read_text().replace("min_seeds: 2", "min_seeds: 65"))
        assert desk.main("--policy", str(policy)) == 1
        assert "required: >= 65" in capsys.readouterr().err
        assert desk.main("--policy", str(policy), "--min-seeds", "1") == 4
        assert f"--min-seeds: the policy {policy} has it too" in capsys.readouterr().err
        # each option is named by itself
        policy.write_text("require: ['clip>=0.3']\nbands: {fvd: 0.5}\nenvironment: {device: cpu}\n")
        for option, value, key in (("--band", "fvd<=0.4", "fvd"), ("--environment", "device=x", "device")):
            assert desk.main("--policy", str(policy), option, value) == 4
            assert f"{option}: {key}: the policy {policy} has it too" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "it requires nothing"),
            ("[]", "it requires nothing"),
            ("seeds: 4", "seeds: Extra inputs are not permitted"),
            ("min_seeds: 0", "min_seeds: "),
            ("bands: {nothing: 0.1}", "bands.nothing: no such metric"),
            ("suite_sha256: abc", "suite_sha256: "),
            ("{", "not YAML"),
            ("[" * 5000, "not YAML"),
            ("scale: .nan", "scale: "),
        ],
    )
    def test_a_policy_that_is_none_is_a_usage_error(
        self, desk: Desk, capsys: pytest.CaptureFixture[str], text: str, words: str
    ) -> None:
        (desk.folder / "policy.yaml").write_text(text)
        assert desk.main("--policy", str(desk.folder / "policy.yaml")) == 4
        assert words in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--scale", "one"),
            ("--scale", "nan"),
            ("--min-seeds", "0"),
            ("--baseline-sha256", "abc"),
            ("--band", "fvd>=1"),
            ("--band", "none<=1"),
            ("--band", "fvd<=x"),
            ("--environment", "device"),
            ("--policy", "/dev/zero"),
        ],
    )
    def test_a_demand_that_is_none_is_a_usage_error(
        self, desk: Desk, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
    ) -> None:
        assert desk.main(*arguments) == 4
        error = capsys.readouterr().err
        assert arguments[0] in error
        assert "next: " in error


def test_a_pair_is_named_as_it_was_gated(tmp_path: Path) -> None:
    folder = tmp_path
    for seed, name in enumerate(("x_high", "x_low")):
        testing.write_lora(folder / f"{name}.safetensors", seed=seed)
    (asked,) = checkpoints.asked(
        [f"high={folder}/x_high.safetensors,low={folder}/x_low.safetensors"], by_name=True
    )
    pair = asked.read("epoch-2")
    record = gated.record()
    (card,) = (each for each in record.candidates if each.name == "epoch-2")
    own = card.model_copy(update={"sha256": pair.sha256, "checkpoint": pair.describe()})
    others = tuple(own if each is card else each for each in record.candidates)
    path = folder / "receipt.json"
    made = receipt.statement(record.model_copy(update={"candidates": others}), "epoch-2")
    path.write_bytes(receipt.canonical(made))

    def problems(high: str, low: str) -> str:
        given = Path(f"high={folder}/{high}.safetensors,low={folder}/{low}.safetensors")
        return "; ".join(verify(path, given, Demands()).problems)

    assert problems("x_high", "x_low") == ""
    assert "the halves are swapped" in problems("x_low", "x_high")
    weaker = Path(f"high={folder}/x_high.safetensors@0.5,low={folder}/x_low.safetensors")
    assert "the strengths or the alphas" in "; ".join(verify(path, weaker, Demands()).problems)
    assert "the low-noise half" in "; ".join(verify(path, folder / "x_high.safetensors", Demands()).problems)


class TestPairs:
    """Which files are wrong, and what to type: the receipt has one digest of both halves."""

    @pytest.fixture
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A receipt of a pair in one folder, its halves in another, with a third LoRA elsewhere."""
        monkeypatch.chdir(tmp_path)
        for seed, name in enumerate(("pair/x_high", "pair/x_low", "other")):
            testing.write_lora(tmp_path / f"{name}.safetensors", seed=seed)
        self._gate(tmp_path, "high=pair/x_high.safetensors,low=pair/x_low.safetensors")
        return tmp_path

    def _gate(self, folder: Path, argument: str, *, halves: bool = True, scale: float = 1.0) -> None:
        """The receipt and the record of a run that let it pass; without `halves` as before they were told."""
        (asked,) = checkpoints.asked([argument], by_name=False)
        found = asked.read("epoch-2")
        own = gated.card(sha256=found.sha256, checkpoint=found.describe(), scale=scale)
        record = gated.record(candidates=(own,))
        (folder / "results.json").write_text(record.to_json(), encoding="utf-8")
        made = receipt.statement(record, "epoch-2")
        if not halves:
            made["predicate"]["checkpoint"].pop("halves", None)
        (folder / "receipt.json").write_bytes(receipt.canonical(receipt._sealed(made)))

    def _refused(self, given: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
        """What is said of these files, and the next command."""
        said, *_, following = self._all_of(given, capsys, *options)
        return said, following

    def _all_of(self, given: str, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
        assert cli.main(["verify", "receipt.json", given, *options]) == 1
        *said, following = capsys.readouterr().err.splitlines()
        return [*said, following.removeprefix("next: ")]

    def _verifies(self, command: str) -> bool:
        return cli.main(shlex.split(command.removeprefix("python -m pytest_wanlora "))) == 0

    def test_a_folder_of_exactly_what_was_gated_verifies_as_the_gate_takes_it(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self._verifies("verify receipt.json pair")
        (files / "one").mkdir()
        (files / "other.safetensors").rename(files / "one" / "other.safetensors")
        assert "other.safetensors: its SHA-256 is " in self._refused("one", capsys)[0]
        testing.write_lora(files / "pair" / "y.safetensors", seed=5)
        capsys.readouterr()
        assert cli.main(["verify", "receipt.json", "pair"]) == 4
        said = capsys.readouterr().err
        assert "pair: 2 checkpoints; allowed: one, such as " in said
        assert said.endswith("next: ls -l pair\n")

    @pytest.mark.parametrize("told_by", ["receipt", "record", "files"])
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (
                "high=pair/x_low.safetensors,low=pair/x_high.safetensors",
                "the halves are swapped: x_high.safetensors is the high-noise half of the receipt and",
            ),
            ("pair/x_high.safetensors", "x_high.safetensors: it is the high-noise half of the receipt"),
            ("low=pair/x_low.safetensors", "the high-noise half, pair/x_high.safetensors with SHA-256 "),
            ("high=pair/x_low.safetensors", "it is the low-noise half of the receipt, given as high"),
            (
                "high=pair/x_high.safetensors,low=other.safetensors",
                "other.safetensors: its SHA-256 is {other}, that of the receipt's low-noise half "
                "(x_low.safetensors) is {low}",
            ),
        ],
    )
    def test_what_is_wrong_is_said_and_the_command_with_the_right_files(
        self, files: Path, given: str, words: str, told_by: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = "high=pair/x_high.safetensors,low=pair/x_low.safetensors"
        self._gate(files, pair, halves=told_by == "receipt")
        if told_by != "record":
            (files / "results.json").unlink()
        said, following = self._refused(given, capsys, "--require", "clip>=0.3")
        digests = {"other": files / "other.safetensors", "low": files / "pair" / "x_low.safetensors"}
        assert words.format(**{name: file_sha256(path) for name, path in digests.items()}) in said
        assert following == (
            "python -m pytest_wanlora verify receipt.json "
            "high=pair/x_high.safetensors,low=pair/x_low.safetensors --require 'clip>=0.3'"
        )
        assert self._verifies(following)

    def test_half_of_a_pair_leads_to_both_at_the_strength_of_the_receipt(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = "high=pair/x_high.safetensors,low=pair/x_low.safetensors"
        self._gate(files, pair, scale=0.12345678)
        other, strength, following = self._all_of("pair/x_high.safetensors", capsys)
        low = file_sha256(files / "pair/x_low.safetensors")
        name = "pair/x_low.safetensors with SHA-256"
        assert f"the low-noise half, {name} {low}, was not given" in other
        assert strength == "refused: gated at strength 0.12345678, required: 1"
        assert following.endswith(f"verify receipt.json {pair} --scale 0.12345678")
        assert self._verifies(following)
        # a strength that was demanded stays
        *_, following = self._all_of("pair/x_high.safetensors", capsys, "--scale", "1")
        assert following.endswith(f"verify receipt.json {pair} --scale 1")

    @pytest.mark.parametrize(
        "words",
        [
            "pair/x_high.safetensors pair/x_low.safetensors",
            "pair/x_low.safetensors pair/x_high.safetensors",
            "low=pair/x_low.safetensors high=pair/x_high.safetensors",
        ],
    )
    def test_two_files_lead_to_the_pair(
        self, files: Path, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = "high=pair/x_high.safetensors,low=pair/x_low.safetensors"
        self._gate(files, pair)
        assert cli.main(["verify", "receipt.json", *words.split(), "--scale", "1"]) == 4
        said, following = capsys.readouterr().err.splitlines()
        assert f"{words.split()[1]}: a second file; allowed: one file, or both halves of a pair" in said
        assert following == f"next: python -m pytest_wanlora verify receipt.json {pair} --scale 1"
        assert self._verifies(following.removeprefix("next: "))

    def test_a_half_that_is_not_found_has_a_name_and_a_digest(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = "high=pair/x_high.safetensors,low=pair/x_low.safetensors"
        self._gate(files, pair, halves=False)
        low = (files / "pair" / "x_low.safetensors").rename(files / "elsewhere.safetensors")
        said, following = self._refused("pair/x_high.safetensors", capsys)
        assert f"x_low.safetensors with SHA-256 {file_sha256(low)}, was not given, and was not found" in said
        assert following.endswith("verify receipt.json high=pair/x_high.safetensors,low=FILE")
        assert self._verifies(following.replace("FILE", "elsewhere.safetensors"))
        # without the run's record nothing has the digest of one half
        (files / "results.json").unlink()
        said, following = self._refused("pair/x_high.safetensors", capsys)
        assert "the other half is missing (FILE)" in said
        assert self._verifies(following.replace("FILE", "elsewhere.safetensors"))
        said, following = self._refused("low=other.safetensors", capsys)
        assert "whether this is one cannot be told" in said
        assert following.endswith("high=FILE,low=other.safetensors")
        given = "high=pair/x_high.safetensors,low=other.safetensors"
        said, following = self._refused(given, capsys)
        assert "which half is another file cannot be told" in said
        assert following == f"pytest --lora {given}"
        # a pair in the place of one file
        self._gate(files, "elsewhere.safetensors")
        said, following = self._refused("high=pair/x_high.safetensors,low=other.safetensors", capsys)
        assert "cannot be told" not in said

    def test_strengths_stay_with_their_files(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pair = "high=pair/x_high.safetensors,low=pair/x_low.safetensors"
        self._gate(files, pair, halves=False)
        given = "high=pair/x_low.safetensors@0.5,low=pair/x_high.safetensors"
        _, following = self._refused(given, capsys)
        assert following.endswith("high=pair/x_high.safetensors,low=pair/x_low.safetensors@0.5")

    @pytest.mark.parametrize(
        ("gated_as", "given"),
        [
            ("high=pair/x_high.safetensors", "pair/x_high.safetensors"),
            ("high=pair/x_high.safetensors", "low=pair/x_high.safetensors"),
            ("high=pair/x_high.safetensors", "high=pair/x_high.safetensors,low=other.safetensors"),
            ("high=other.safetensors,low=other.safetensors", "other.safetensors"),
            ("other.safetensors", "high=other.safetensors"),
            ("other.safetensors", "high=pair/x_high.safetensors,low=other.safetensors"),
        ],
    )
    def test_what_was_gated_as_something_else_is_named(
        self, files: Path, gated_as: str, given: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._gate(files, gated_as)
        _, following = self._refused(given, capsys)
        assert following.endswith(f"verify receipt.json {gated_as}")
        assert self._verifies(following)

    def test_a_record_with_other_digests_of_the_halves_is_not_believed(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._gate(files, "high=pair/x_high.safetensors,low=pair/x_low.safetensors", halves=False)
        path = files / "results.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        document["candidates"][0]["checkpoint"]["experts"]["low"]["sha256"] = "00" * 32
        path.write_text(json.dumps(document), encoding="utf-8")
        (files / "pair" / "x_low.safetensors").unlink()
        assert cli.main(["verify", "receipt.json", "pair/x_high.safetensors"]) == 1
        assert "00" * 32 not in capsys.readouterr().err

    def test_a_half_of_a_pair_is_gated_as_one(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._gate(files, "other.safetensors")
        low = testing.write_lora(files / "y_low.safetensors", seed=7)
        _, following = self._refused(low.name, capsys, "--suite", "tiny-pair")
        assert following == "pytest --lora high=FILE,low=y_low.safetensors --wanlora-suite tiny-pair"
        testing.write_lora(files / "y_high.safetensors", seed=8)
        _, following = self._refused(low.name, capsys, "--suite", "tiny-pair")
        assert "--lora high=y_high.safetensors,low=y_low.safetensors " in following

    @pytest.mark.parametrize(
        "given", ["high=pair/*.safetensors,low=pair", "high=nothing,low=other.safetensors"]
    )
    def test_what_is_no_pair_is_4(self, files: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["verify", "receipt.json", given]) == 4
        assert "pytest --lora" not in capsys.readouterr().err

    def test_several_pairs_are_4(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for folder, name in itertools.product(("one", "two"), ("a", "b")):
            testing.write_lora(files / folder / f"{name}.safetensors")
        assert cli.main(["verify", "receipt.json", "high=one,low=two"]) == 4
        assert "2 pairs; allowed: one, such as high=one/a.safetensors,low=two/a.safetensors" in (
            capsys.readouterr().err
        )


def test_a_receipt_of_a_pair_tells_its_halves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(("x_high", "x_low")):
        testing.write_lora(tmp_path / f"{name}.safetensors", seed=seed)
    argument = f"high={tmp_path}/x_high.safetensors@0.05,low={tmp_path}/x_low.safetensors@0.5"
    (asked,) = checkpoints.asked([argument], by_name=True)
    pair = asked.read("epoch-2")
    record = gated.record(candidates=(gated.card(sha256=pair.sha256, checkpoint=pair.describe()),))
    made = receipt.statement(record, "epoch-2")
    halves = made["predicate"]["checkpoint"]["halves"]
    assert halves == {
        expert: {
            "name": each.path.name,
            "digest": {"sha256": each.sha256},
            "strength": pair.strengths[expert],
        }
        for expert, each in pair.experts.items()
    }
    path = tmp_path / "receipt.json"
    path.write_bytes(receipt.canonical(made))
    path.with_name("results.json").write_text(record.to_json(), encoding="utf-8")
    assert cli.main(["verify", str(path), argument]) == 0
    assert "at strength high 0.05, low 0.5" in capsys.readouterr().out
    # one half alone: the command that was typed, with both
    assert cli.main(["verify", str(path), f"{tmp_path}/x_low.safetensors", "--min-seeds", "1"]) == 1
    assert f"next: python -m pytest_wanlora verify {path} {argument} --min-seeds 1" in capsys.readouterr().err
    weaker = argument.replace("@0.05", "")
    assert cli.main(["verify", str(path), weaker]) == 1
    assert f"next: pytest --lora {weaker}" in capsys.readouterr().err

    def problems(said: dict[str, Any]) -> str:
        path.write_bytes(receipt.canonical(receipt._sealed(said)))
        return "; ".join(verify(path, Path(argument), Demands()).problems)

    # one of before they were told stays valid, beside its record too
    before = copy.deepcopy(made)
    del before["predicate"]["checkpoint"]["halves"]
    assert problems(before) == ""
    made["predicate"]["checkpoint"]["halves"]["high"]["strength"] = 1.0
    assert "checkpoint.halves" in problems(made)
    path.with_name("results.json").unlink()
    assert "checkpoint.halves are not what its identity is of" in problems(made)


def test_a_file_with_both_experts_at_other_strengths_is_named_as_it_was_gated(tmp_path: Path) -> None:
    plain = loras.random_lora(seed=0)
    both = {f"transformer_{number}.{key}": value for number in (1, 2) for key, value in plain.items()}
    loras.write(tmp_path / "both.safetensors", both)
    argument = f"high={tmp_path}/both.safetensors@0.5,low={tmp_path}/both.safetensors"
    (asked,) = checkpoints.asked([argument], by_name=True)
    pair = asked.read("epoch-2")
    record = gated.record(candidates=(gated.card(sha256=pair.sha256, checkpoint=pair.describe()),))
    path = tmp_path / "receipt.json"
    path.write_bytes(receipt.canonical(receipt.statement(record, "epoch-2")))
    assert verify(path, Path(argument), Demands()).problems == ()
    said = "; ".join(verify(path, tmp_path / "both.safetensors", Demands()).problems)
    assert "high 0.5, low 1; allowed: high=both.safetensors@0.5,low=both.safetensors" in said
    assert "changed" not in said
