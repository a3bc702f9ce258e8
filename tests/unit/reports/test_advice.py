"""What the first screen says is what `verify` says: no "publish" beside a receipt that it refuses."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wanlora import cli
from pytest_wanlora.publishing import receipt
from pytest_wanlora.reports import figure, html, markdown, sentences, terminal, trend
from pytest_wanlora.reports.next_steps import next_steps
from pytest_wanlora.results.run_record import RunRecord
from tests.unit.reports import gated


def run(exit_status: int, scale: float) -> RunRecord:
    """Two checkpoints, of which the second fails where pytest ended with another code than 0."""
    own = gated.failing().judgements if exit_status else gated.judgements()
    other = gated.failing().candidates[0] if exit_status else gated.card()
    return gated.record(
        judgements=(*gated.judgements(), *(replace(each, candidate="epoch-9") for each in own)),
        candidates=(gated.card(scale=scale), other.model_copy(update={"name": "epoch-9"})),
        exit_status=exit_status,
    )


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("exit_status", [0, 1])
def test_publish_is_said_where_the_printed_command_verifies(
    tmp_path: Path, exit_status: int, scale: float
) -> None:
    record = run(exit_status, scale)
    file, written = gated.checkpoint_file(tmp_path), tmp_path / "receipt.json"
    written.write_bytes(receipt.canonical(receipt.statement(record, "epoch-2")))
    step = next_steps(record, "epoch-2")[0]
    *_, options = re.split(r"\.safetensors", step.command) if step.key == "publish" else ("", "")
    verifies = cli.main(["verify", str(written), str(file), *shlex.split(options)]) == 0
    assert verifies is (step.key == "publish") is (exit_status == 0)
    advice = sentences.best_advice(trend.best(record), "en", str)
    assert advice.startswith("Publish epoch-2") is verifies
    assert ("alone, then publish it." in advice) is not verifies
    assert ("0.7" in advice) is (scale != 1.0)
    views = {
        "page": html.page(record, tmp_path),
        "markdown": markdown.page(record, "en"),
        "terminal": "\n".join(terminal.summary(record, "results.json", full=True)),
    }
    for name, text in views.items():
        plain = re.sub(r"<[^>]*>|\\|&#8203;", "", text).replace("\u2068", "").replace("\u2069", "")
        assert ("Publish epoch-2" in plain.replace("`", "")) is verifies, name
    assert figure._title(record) == advice.rstrip(".")


@pytest.mark.parametrize("name", ["epoch-2", "epoch-2@0.7"])
def test_a_strength_other_than_1_is_said_once(name: str) -> None:
    said = sentences.at_strength(name, "0.7", "en", str)
    assert said.count("0.7") == 1
    assert sentences.at_strength(name, "1", "en", str) == name
