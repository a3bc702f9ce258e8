"""What `inspect --for` says; `tests/integration/test_programs.py` compares it with real loaders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import programs
from pytest_wanlora.checkpoint.reads_in import readings, summary
from tests.many_loras import FILES

SIGNS = {"works": "+", "in part": "~", "nothing": "-"}
# by file: comfyui, diffusers, diffsynth, wan2gp, musubi; read from their sources, which the rules name
SAID = {
    "diffsynth": "--++-",
    "diffsynth, one block": "--++-",
    "diffsynth, another adapter": "--+--",
    "diffsynth, alpha": "--++-",
    "another adapter, alpha": "--~--",
    "bare": "--++-",
    "bare, alpha": "--++-",
    "bare down": "--++-",
    "bare halves": "-----",
    "bare diffusers": "-----",
    "pipe.dit": "-----",
    "comfyui": "++++-",
    "comfyui, alpha": "++++-",
    "comfyui down": "++++-",
    "comfyui, some alphas": "++++-",
    "comfyui, one block": "++++-",
    "comfyui, queries": "++++-",
    "comfyui, outside the blocks": "++++-",
    "comfyui, head": "++++-",
    "comfyui, head with alpha": "+-++-",
    "comfyui, only outside": "+-++-",
    "comfyui, biases": "++~+-",
    "comfyui, norms": "+~~+-",
    "comfyui, a weight": "+~~+-",
    "comfyui, modulation": "+~~~-",
    "comfyui, diff_m": "~~~--",
    "comfyui, head as a difference": "++~+-",
    "comfyui, head without its bias": "+-~+-",
    "comfyui, bias of an embedding": "+-~+-",
    "comfyui, bias of the projection": "+~~+-",
    "comfyui, LoKr": "+-~+-",
    "comfyui, LoKr decomposed": "+-~--",
    "comfyui, LoHa": "+-~--",
    "comfyui, default adapter": "+-++-",
    "comfyui, diffusers' names": "-----",
    "comfyui, older halves": "+----",
    "comfyui, linear layers": "+----",
    "comfyui, bare halves": "+----",
    "kohya": "++-++",
    "kohya without alpha": "+--++",
    "kohya, one block": "++-++",
    "kohya, the other block": "+--++",
    "kohya, queries": "+--++",
    "kohya, head": "+---+",
    "kohya, dots": "---+-",
    "wan-fun": "+--+-",
    "lycoris": "-----",
    "diffusers": "-+---",
    "diffusers, one block": "-+---",
    "diffusers, outside the blocks": "-+---",
    "diffusers, metadata": "-+---",
    "diffusers, alpha": "-----",
    "diffusers, lora_alpha": "-~---",
    "diffusers, old halves": "-+---",
    "diffusers, older halves": "-~---",
    "diffusers, linear layers": "-----",
    "diffusers, down": "-----",
    "diffusers, default adapter": "-----",
    "diffusers, bare halves": "-----",
    "diffusers, Wan's names": "---+-",
    "diffusers, a difference": "-----",
    "peft": "-----",
    "peft of diffusers": "-----",
    "peft around comfyui": "-----",
}


def test_every_file_is_in_the_table() -> None:
    assert SAID.keys() == FILES.keys()
    assert len(SAID) >= 40


@pytest.mark.parametrize("what", list(SAID))
def test_where_a_file_works(tmp_path: Path, what: str) -> None:
    found = checkpoint.read(FILES[what].write(tmp_path))
    said = readings(found)
    assert [each.program for each in said] == list(programs.PROGRAMS)
    assert "".join(SIGNS[each.state] for each in said) == SAID[what]
    for each in said:
        # whatever does not work has a reason, and every statement a source with a line
        assert bool(each.why) is (each.state != "works")
        assert re.search(r"\.py(:[0-9]|$)", each.source)
        assert each.version
        assert (each.read == 0) is (each.state == "nothing")
        assert len(each.dropped) <= len(found.keys)
    assert found.describe()["reads_in"] == [each.card() for each in said]


def test_every_rule_names_file_and_line() -> None:
    known = [programs.COMFYUI, programs.DIFFSYNTH, programs.WAN2GP, programs.MUSUBI]
    known += [programs.DIFFUSERS_OF_COMFYUI, programs.DIFFUSERS_OF_KOHYA, programs.DIFFUSERS_OWN]
    for program in known:
        for rule in (*program.modules, *program.endings, *program.alphas):
            assert re.search(r"\.py:[0-9]+", rule.source), rule


def test_another_strength_is_told(tmp_path: Path) -> None:
    (said,) = readings(checkpoint.read(FILES["diffusers, lora_alpha"].write(tmp_path)), ["diffusers"])
    assert (
        "20 of 20 targets are applied at another strength: blocks.0.cross_attn.k at 1 instead of 0.5"
        in said.why
    )
    assert said.scales == (1.0,)


def test_a_record_with_anything_else_has_no_line() -> None:
    cards = [
        {"program": "a", "state": "works"},
        {"program": "b", "state": "nothing"},
        7,
        {"state": "in part"},
    ]
    assert summary(cards) == "read by: a; read in part by: None; not read by: b"
    assert summary("comfyui") == summary(None) == summary([]) == summary([{"state": 3}]) == ""
