"""The receipt: what it binds, that its bytes are stable, and that its schema is what is published."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.errors import RecordError
from pytest_wanlora.publishing import receipt
from pytest_wanlora.publishing.predicate import Predicate, StatementV1
from tests.unit.reports import gated
from tools import write_schema

VERSION_1 = Path(__file__).parents[2] / "data" / "receipt-version-1.json"


def made(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a record
    return receipt.statement(gated.record(**fields), "epoch-2")


class TestStatement:
    def test_it_is_an_in_toto_statement_about_the_files_bytes(self) -> None:
        found = made()
        assert found["_type"] == "https://in-toto.io/Statement/v1"
        assert found["subject"] == [{"name": "epoch-2.safetensors", "digest": {"sha256": gated.SHA}}]
        assert found["predicateType"] == "pytest-wanlora:receipt/v2"

    def test_it_binds_everything_that_led_to_the_verdict(self) -> None:
        record, said = gated.record(), made()["predicate"]
        assert said["suite"]["name"] == "fake"
        assert said["suite"]["digest"] == {"sha256": gated.SUITE_SHA}
        assert said["suite"]["limits"][0] == {"metric": "clip", "min": 0.3, "max": None, "scenario": "each"}
        assert said["suite"]["tolerances"]["sharpness"]["fail"] == 0.15
        assert said["fingerprint"] == record.suite.fingerprint
        assert said["environment"]["device_name"] == "NVIDIA H100"
        assert said["versions"] == {"pytest-wanlora": "0.1.0", "torch": "2.14.1"}
        assert said["baseline"]["digest"] == {"sha256": "ef" * 32}
        assert said["seeds"] == {"test1_city": [0, 1], "test2_nature": [0, 1]}
        assert said["checkpoint"]["scale"] == 1.0
        assert len(said["items"]) == len(said["expected"]) == len(record.judgements)
        assert said["verdict"] == {"publishable": True, "reason": "all 13 items pass"}
        assert said["runs"] == 1
        assert said["run"]["id"] == record.run_id
        assert said["run"]["record"]["sha256"] == hashlib.sha256(record.to_json().encode()).hexdigest()

    def test_it_tells_of_one_checkpoint_alone(self) -> None:
        found = receipt.statement(gated.several("epoch-1", "epoch-2"), "epoch-1")
        assert {item["candidate"] for item in found["predicate"]["items"]} == {"epoch-1"}
        assert {item["candidate"] for item in found["predicate"]["expected"]} == {"epoch-1"}

    def test_what_was_demanded_stays_demanded_when_it_was_not_judged(self) -> None:
        record = gated.record()
        refused = gated.card(publishable=False, reason="1 of 13 were not measured")
        said = made(judgements=record.judgements[:-1], expected=record.expected, candidates=(refused,))[
            "predicate"
        ]
        assert (len(said["items"]), len(said["expected"])) == (12, 13)

    def test_seeds_are_those_of_the_checkpoint_not_of_a_baseline_of_its_name(self) -> None:
        videos = tuple(
            video.model_copy(update={"candidate": "epoch-2", "seed": video.seed + 7})
            if video.role == "baseline"
            else video
            for video in gated.videos()
        )
        assert made(videos=videos)["predicate"]["seeds"] == {"test1_city": [0, 1], "test2_nature": [0, 1]}

    def test_it_tells_the_strength_that_was_gated(self) -> None:
        assert made(candidates=(gated.card(scale=0.8),))["predicate"]["checkpoint"]["scale"] == 0.8

    def test_it_says_so_when_a_checkpoint_may_not_be_published(self) -> None:
        found = receipt.statement(gated.failing(), "epoch-2")
        assert found["predicate"]["verdict"]["publishable"] is False

    def test_it_holds_the_project_tests_and_the_exit_code(self) -> None:
        said = receipt.statement(gated.tested(), "epoch-2")["predicate"]
        assert [test["name"] for test in said["project_tests"]] == [test.name for test in gated.TESTS]
        assert said["run"]["exit_status"] == 0
        assert said["verdict"]["reason"] == "all 13 items and 2 project tests pass"

    def test_it_holds_those_about_its_checkpoint_alone(self) -> None:
        several = gated.several("epoch-1", "epoch-2").model_copy(update={"project_tests": gated.TESTS})
        said = receipt.statement(several, "epoch-1")["predicate"]
        assert [test["name"] for test in said["project_tests"]] == [gated.TESTS[1].name]

    def test_the_model_without_lora_has_none(self) -> None:
        base = gated.card("base", publishable=False, reason="the model without LoRA").model_copy(
            update={"sha256": None, "checkpoint": None}
        )
        with pytest.raises(RecordError, match="'base' is no checkpoint of this run"):
            receipt.statement(gated.record(candidates=(base,)), "base")

    def test_a_run_without_baseline_says_so(self) -> None:
        assert made(baseline=None)["predicate"]["baseline"] is None


class TestBytes:
    def test_they_are_canonical_and_the_same_each_time(self) -> None:
        data = receipt.canonical(made())
        assert data == receipt.canonical(made())
        assert data == rfc8785.dumps(json.loads(data))
        assert not data.endswith(b"\n")

    def test_they_come_back_as_they_were(self) -> None:
        data = receipt.canonical(made())
        found = receipt.parse(data)
        assert receipt.canonical(found.model_dump(mode="json", by_alias=True)) == data

    def test_the_digest_is_of_all_but_itself(self) -> None:
        document = json.loads(receipt.canonical(made()))
        said = document["predicate"].pop("digest")
        assert said["sha256"] == hashlib.sha256(rfc8785.dumps(document)).hexdigest()

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "half \ud800 of a pair"])
    def test_what_is_no_such_json_is_refused(self, value: object) -> None:
        with pytest.raises(RecordError, match="no canonical JSON"):
            receipt.canonical({"a": value})


class TestParse:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b'{"a": NaN}', "NaN is no JSON"),
            (b"[]", "it is a JSON list"),
            (
                b"{}",
                "predicateType is 'None'; allowed: pytest-wanlora:receipt/v1, pytest-wanlora:receipt/v2",
            ),
            (b'{"predicateType": ["pytest-wanlora:receipt/v2"]}', "predicateType is "),
            (
                b'{"predicateType": "pytest-wanlora:receipt/v3"}',
                "predicateType is 'pytest-wanlora:receipt/v3'",
            ),
            (b'{"predicateType": "https://slsa.dev/provenance/v1"}', "predicateType is 'https://slsa"),
            (b'{"predicateType": "pytest-wanlora:receipt/v1"}', "_type: Field required"),
        ],
    )
    def test_what_is_no_receipt_is_refused(self, data: bytes, words: str) -> None:
        with pytest.raises(RecordError, match=words) as refused:
            receipt.parse(data, source="r.json")
        assert str(refused.value).startswith("r.json: ")
        assert "\n" not in refused.value.message

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: data + b"\n",
            lambda data: b"\xef\xbb\xbf" + data,
            lambda data: json.dumps(json.loads(data)).encode(),
            lambda data: json.dumps(json.loads(data), indent=1).encode(),
            lambda data: data.replace(b'"runs":1', b'"runs":1.0'),
            lambda data: data.replace(b'"runs":1', b'"runs":3,"runs":1'),
            lambda data: data.replace(b"NVIDIA", b"\\u004eVIDIA"),
        ],
    )
    def test_other_bytes_of_the_same_meaning_are_refused(self, spoil: Any) -> None:  # noqa: ANN401 - a lambda
        data = receipt.canonical(made())
        spoilt = spoil(data)
        assert spoilt != data
        with pytest.raises(RecordError):
            receipt.parse(spoilt)

    @given(st.sampled_from(["runs", "versions", "environment", "fingerprint", "seeds"]), st.integers(2, 9))
    def test_a_changed_value_does_not_fit_the_digest(self, key: str, value: int) -> None:
        document = json.loads(receipt.canonical(made()))
        document["predicate"][key] = value if key == "runs" else {}
        with pytest.raises(RecordError, match="its digest does not fit"):
            receipt.parse(rfc8785.dumps(document))


class TestSchema:
    def test_the_published_one_is_current(self) -> None:
        stored = resources.files("pytest_wanlora.reports") / "receipt.schema.json"
        assert stored.read_text(encoding="utf-8") == write_schema.of_receipt(), (
            "run: python -m tools.write_schema"
        )

    def test_it_takes_receipts_and_nothing_else(self) -> None:
        schema = json.loads(write_schema.of_receipt())
        jsonschema_rs.meta.validate(schema)
        check = jsonschema_rs.Draft202012Validator(schema)
        for record in (gated.record(), gated.failing(), gated.record(baseline=None), gated.tested()):
            check.validate(json.loads(receipt.canonical(receipt.statement(record, "epoch-2"))))
        document = json.loads(receipt.canonical(made()))
        for spoilt in (
            {**document, "more": 1},
            {**document, "subject": []},
            {**document, "predicate": {**document["predicate"], "runs": 0}},
            {**document, "predicateType": "pytest-wanlora:receipt/v1"},
        ):
            assert not check.is_valid(spoilt)


class TestVersion1:
    """A receipt of a real run, as the version before wrote it."""

    @pytest.fixture
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(VERSION_1.read_bytes())
        return found

    def test_it_is_read_and_written_to_the_byte(self) -> None:
        data = VERSION_1.read_bytes()
        found = receipt.parse(data)
        assert isinstance(found, StatementV1)
        assert not isinstance(found.predicate, Predicate)
        assert receipt.canonical(found.model_dump(mode="json", by_alias=True)) == data

    def test_the_schema_takes_it(self, document: dict[str, Any]) -> None:
        jsonschema_rs.Draft202012Validator(json.loads(write_schema.of_receipt())).validate(document)

    @pytest.mark.parametrize(
        "add",
        [
            lambda said: said.update(project_tests=[]),
            lambda said: said["run"].update(exit_status=0),
        ],
    )
    def test_it_has_none_of_the_new_fields(self, document: dict[str, Any], add: Any) -> None:  # noqa: ANN401 - a lambda
        add(document["predicate"])
        with pytest.raises(RecordError, match="Extra inputs are not permitted"):
            receipt.parse(receipt.canonical(receipt._sealed(document)))

    @pytest.mark.parametrize(
        "drop",
        [lambda said: said.pop("project_tests"), lambda said: said["run"].pop("exit_status")],
    )
    def test_version_2_needs_them(self, drop: Any) -> None:  # noqa: ANN401 - a lambda
        found = made()
        drop(found["predicate"])
        with pytest.raises(RecordError, match="Field required"):
            receipt.parse(receipt.canonical(receipt._sealed(found)))
