"""Records of earlier versions still open and say the same."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora.errors import RecordError
from pytest_wanlora.results.migration import OLDEST, SCHEMA_VERSION, migrated
from pytest_wanlora.results.run_record import RunRecord, load

# records of real gate runs, as each version wrote them
DATA = Path(__file__).parents[2] / "data"
VERSION_1, VERSION_2 = (DATA / f"record-version-{number}.json" for number in (1, 2))


@pytest.fixture
def old() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VERSION_1.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def second() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VERSION_2.read_text(encoding="utf-8"))
    return found


def kept_of(now: Any, old: Any) -> Any:  # noqa: ANN401  any part of a JSON document
    """The present document without the keys that came later; those hold nothing, or follow from the rest."""
    if isinstance(old, dict):
        for key in now.keys() - old.keys() - {"schema_version", "outcome"}:
            assert not now[key]
        return {key: kept_of(now[key], value) for key, value in old.items()}
    if isinstance(old, list):
        return [kept_of(one, other) for one, other in zip(now, old, strict=True)]
    return now


def test_a_record_of_version_1_opens_and_is_written_as_the_present_one(old: dict[str, Any]) -> None:
    assert old["schema_version"] == 1
    record = load(VERSION_1)
    assert (record.schema_version, record.training_data) == (SCHEMA_VERSION, None)
    assert RunRecord.from_json(record.to_json()) == record


def test_nothing_that_it_says_changes(old: dict[str, Any]) -> None:
    record = load(VERSION_1)
    now = json.loads(record.to_json())
    del old["schema_version"]
    assert kept_of(now, old) == old
    assert not record.decision("epoch-0").publishable
    assert record.decision("epoch-0").reason == record.candidates[0].reason


def test_a_record_of_version_2_opens_and_says_the_same(second: dict[str, Any]) -> None:
    assert second["schema_version"] == 2
    record = load(VERSION_2)
    assert record.schema_version == SCHEMA_VERSION
    assert record.candidates[0].publishable
    assert record.decision("epoch-1").publishable
    assert (record.project_tests, record.left_out, record.other_failures) == ((), (), None)
    now = json.loads(record.to_json())
    del second["schema_version"]
    assert kept_of(now, second) == second
    assert RunRecord.from_json(record.to_json()) == record


def test_what_an_earlier_version_did_not_know_is_not_held_against_it(second: dict[str, Any]) -> None:
    """Its gate ended with 1 and published all the same where a test of the project failed."""
    second["exit_status"] = 1
    record = RunRecord.from_json(json.dumps(second))
    assert record.candidates[0].publishable
    assert not record.receipts_refused


def test_an_edited_old_record_is_still_found_out(old: dict[str, Any]) -> None:
    old["candidates"][0]["publishable"] = True
    with pytest.raises(RecordError, match="not publishable by its own judgements"):
        RunRecord.from_json(json.dumps(old))


def test_a_key_that_no_version_has_is_refused(
    old: dict[str, Any],
) -> None:
    old["more"] = 1
    with pytest.raises(RecordError, match="more: Extra inputs"):
        RunRecord.from_json(json.dumps(old))


def test_migrating_leaves_what_it_was_given(old: dict[str, Any]) -> None:
    before = copy.deepcopy(old)
    assert migrated(old)["schema_version"] == SCHEMA_VERSION
    assert old == before


def test_the_present_version_is_left_as_it_is(old: dict[str, Any]) -> None:
    now = migrated(old)
    assert migrated(now) == now


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, SCHEMA_VERSION + 1])
def test_other_versions_are_refused_by_name(old: dict[str, Any], version: object) -> None:
    old["schema_version"] = version
    with pytest.raises(RecordError) as refused:
        RunRecord.from_json(json.dumps(old), source="results.json")
    assert refused.value.message == (
        f"results.json: schema_version is {version!r}; allowed: {OLDEST} to {SCHEMA_VERSION}"
    )
    newer = version == SCHEMA_VERSION + 1
    following = "pip install --upgrade pytest-wanlora" if newer else "python -m pytest_wanlora show"
    assert str(refused.value.next_command).startswith(following)
