"""The gate's tests, collected as `wanlora::...` wherever pytest runs with `--lora`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from pytest_wanlora.errors import JobError, RefusedError, WanloraError
from pytest_wanlora.results.parts import Part
from pytest_wanlora.run.session import Gate
from pytest_wanlora.verdict.judgement import ItemId, Judgement, Verdict

__all__ = [
    "HEADLINE",
    "NOT_MEASURED",
    "PROPERTY",
    "properties",
    "test_baseline",
    "test_checkpoint",
    "test_limit",
    "test_question",
    "test_regression",
    "test_videos",
]

#: Name under which what an item tells travels in its report's user properties.
PROPERTY = "wanlora"
#: Property of an item that could not be measured for a cause that is printed elsewhere.
NOT_MEASURED = f"{PROPERTY}_not_measured"
#: What is wrong with a failed item, in the fewest words.
HEADLINE: pytest.StashKey[str] = pytest.StashKey()


def test_checkpoint(request: pytest.FixtureRequest, wanlora_gate: Gate, wanlora_item: ItemId) -> None:
    """The file is healthy, every target of it is patched, and it changes the videos."""
    _judge(request, wanlora_gate, wanlora_item)


def test_videos(request: pytest.FixtureRequest, wanlora_gate: Gate, wanlora_item: ItemId) -> None:
    """No video of a scenario is far outside what the baseline's own seeds show."""
    _judge(request, wanlora_gate, wanlora_item)


def test_limit(request: pytest.FixtureRequest, wanlora_gate: Gate, wanlora_item: ItemId) -> None:
    """An absolute bound of the suite holds."""
    _judge(request, wanlora_gate, wanlora_item)


def test_regression(request: pytest.FixtureRequest, wanlora_gate: Gate, wanlora_item: ItemId) -> None:
    """A metric is not worse than the baseline's by more than its band."""
    _judge(request, wanlora_gate, wanlora_item)


def test_question(request: pytest.FixtureRequest, wanlora_gate: Gate, wanlora_item: ItemId) -> None:
    """What the suite asks of the LoRA besides its scores: whether it bleeds, learned, copies or collapsed."""
    _judge(request, wanlora_gate, wanlora_item)


def test_baseline(request: pytest.FixtureRequest, wanlora_gate: Gate, wanlora_item: str) -> None:
    """The measured scores are stored as a baseline, or the test fails with the reason."""
    from pytest_wanlora.run.update_baseline import store

    gate, problem = wanlora_gate, ""
    try:
        if gate.blocked:
            first = gate.blocked[0]
            request.node.user_properties.append((NOT_MEASURED, "listed at the end"))
            raise JobError(first.message, next_command=first.next_command)
        stored = store(gate, gate.judge, gate.candidate(wanlora_item))
        _tell(request, "stored", {"candidate": wanlora_item, **asdict(stored)})
    except WanloraError as error:
        problem, refused = str(error), isinstance(error, RefusedError)
        why = error.lines if isinstance(error, RefusedError) else (error.message.splitlines()[0],)
        told = {"refused": refused, "why": why, "next_command": error.next_command or ""}
        _tell(request, "not_stored", told)
        request.node.stash[HEADLINE] = f"{'refused' if refused else 'not stored'}: {why[0]}"
    # outside the handler, so that pytest does not print the error twice
    if problem:
        pytest.fail(problem, pytrace=False)


def _judge(request: pytest.FixtureRequest, gate: Gate, item: ItemId) -> None:
    judged = gate.judge.judgement(item)
    told = {"judgements": Part(judgements=(judged,)).model_dump(mode="json")}
    _tell(request, "judgement", {**told, "identity": gate.identity(judged.candidate)})
    request.node.user_properties += [(f"{PROPERTY}_{name}", text) for name, text in properties(judged)]
    same = gate.judge.same_cause(judged)
    if judged.verdict.unmeasured and (same or gate.blocked):
        where = f"the same cause as {same}" if same else "listed at the end"
        request.node.user_properties.append((NOT_MEASURED, where))
    if judged.verdict.fails:
        from pytest_wanlora.reports import terminal, terminal_tables
        from pytest_wanlora.reports.commands import item_again

        request.node.stash[HEADLINE] = terminal_tables.headline(judged)
        command = ["pytest", *map(str, request.config.invocation_params.args)]
        again = _decided_by(gate, judged) or item_again(
            command, request.node.nodeid, _seeds_that_decide(gate, judged)
        )
        pytest.fail(terminal.failure(judged, preview=gate.preview(judged), again=again), pytrace=False)


def _decided_by(gate: Gate, judged: Judgement) -> str:
    """What measures the baseline with the seeds that an undecided item needs and it lacks; else empty."""
    if judged.verdict is not Verdict.UNDECIDED or judged.kind != "regression":
        return ""
    from pytest_wanlora.reports.summary import seeds_to_decide

    enough = seeds_to_decide(judged, len(gate.scenarios))
    return "" if enough is None else gate.judge.standard.command_for(enough)


def _seeds_that_decide(gate: Gate, judged: Judgement) -> str:
    """What `--wanlora-seeds` takes so that an undecided item is decided; empty: what was typed."""
    from pytest_wanlora.reports.summary import seeds_to_decide

    seeds = gate.suite.seeds
    enough = seeds_to_decide(judged, len(gate.scenarios)) if judged.verdict is Verdict.UNDECIDED else None
    return f"{seeds.first}:{enough}" if enough is not None and enough > seeds.most else ""


def properties(judged: Judgement) -> Iterator[tuple[str, str]]:
    """Properties of an item, for test reports such as JUnit's.

    Numbers are written in full; what was not measured is left out.
    """
    evidence = judged.evidence
    yield "verdict", judged.verdict.value
    yield "candidate", judged.candidate
    known = {
        "scenario": judged.scenario or None,
        "metric": judged.metric or None,
        "value": judged.value,
        "baseline": judged.baseline,
        "change": judged.change,
        "minimum": judged.minimum,
        "maximum": judged.maximum,
        "warn": judged.warn,
        "fail": judged.fail,
        "n": judged.n or None,
        "reference_n": judged.reference_n,
        "interval_low": None if evidence is None else evidence.low,
        "interval_high": None if evidence is None else evidence.high,
        "interval_level": None if evidence is None else evidence.level,
        "weak": None if evidence is None else str(evidence.weak).lower(),
        "reason": judged.reason,
        "code": judged.code,
        "next": judged.next_command or None,
    }
    yield from ((name, str(value)) for name, value in known.items() if value is not None)


def _tell(request: pytest.FixtureRequest, name: str, value: object) -> None:
    """Have a value travel with the report, under xdist to the controller."""
    request.node.user_properties.append((PROPERTY, json.dumps({name: value})))
