from __future__ import annotations

import importlib.resources as resources
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pytest_wanlora import environment
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.metrics import BUILT_IN
from pytest_wanlora.suite import (
    DEFAULT_TOLERANCES,
    Limit,
    Scenario,
    Seeds,
    Suite,
    Tolerance,
    check_digests,
    load,
    option_value,
    packaged,
    references,
)
from pytest_wanlora.suite.fingerprint import fingerprint

WriteSuite = Callable[..., Path]

# line numbers in the tables below count from here
SUITE = """\
name: mine
schema_version: 1
model:
  name: Mine
  dit: dit.safetensors
  text_encoder: text.safetensors
  vae: vae.safetensors
  tokenizer: tokenizer
  architecture: {dim: 224, ffn_dim: 896, blocks: 6}
sampling:
  height: 96
  width: 160
  frames: 9
  steps: 20
  cfg_scale: 5.0
  shift: 5
scoring:
  clip:
    model: clip.json
    weights: clip.safetensors
  video_features:
    kind: module
    module: mine.features:Network
    weights: features.safetensors
  reference: reference.safetensors
  sharpness_reference: 100
limits:
  - {metric: clip, min: 0.3}
  - {metric: fvd, max: 1140}
tolerances:
  clip: {warn: 0.02, fail: 0.06}
seeds: {first: 4, most: 16}
scenarios:
  - id: street
    category: urban
    prompt: a street
  - id: meadow
    category: nature
    prompt: a meadow
categories:
  urban: {en: [street, house], ko: [거리]}
  nature: {en: [meadow]}
"""
_UP_TO_PROMPT = "scenarios:\n  - id: street\n    category: urban\n    prompt:"


@pytest.fixture
def write_suite(tmp_path: Path) -> WriteSuite:
    def write(*changes: tuple[str, str], text: str = SUITE, name: str = "s.yaml") -> Path:
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is in the suite {text.count(old)} times"
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path) -> list[str]:
    """The lines of the error that loading raises, without the path in front."""
    with pytest.raises(SuiteError) as caught:
        load(path)
    assert caught.value.next_command
    return [line.removeprefix(f"{path}:") for line in caught.value.message.splitlines()]


def test_a_suite_is_read(write_suite: WriteSuite) -> None:
    suite = load(write_suite())
    assert suite.name == "mine"
    assert suite.model.architecture.blocks == 6
    assert suite.sampling.shift == 5.0
    assert [scenario.id for scenario in suite.scenarios] == ["street", "meadow"]
    assert suite.seeds == Seeds(first=4, most=16, start=0)
    assert suite.categories["urban"]["ko"] == ("거리",)
    assert re.fullmatch("[0-9a-f]{64}", suite.sha256)


def test_what_is_left_out_has_defaults(write_suite: WriteSuite) -> None:
    tail = SUITE[SUITE.index("limits:") : SUITE.index("scenarios:")]
    suite = load(write_suite(("name: mine\n", ""), (tail, ""), name="folder-name.yaml"))
    assert suite.name == "folder-name"
    assert suite.tolerances == DEFAULT_TOLERANCES
    assert suite.seeds == Seeds(first=3, most=16, start=0)
    assert suite.limits == ()
    assert suite.undecided == "block"
    assert suite.device == "auto"
    assert suite.sampling.lora_mode == "fused"


def test_default_tolerances_are_those_of_the_design() -> None:
    assert {name: (band.warn, band.fail) for name, band in DEFAULT_TOLERANCES.items()} == {
        "clip": (0.01, 0.05),
        "fvd": (0.05, 0.25),
        "temporal": (0.005, 0.05),
        "sharpness": (0.02, 0.15),
        "color": (0.05, 0.25),
        "motion": (0.10, 0.40),
        "overall": (0.01, 0.10),
    }
    assert {band.better for band in DEFAULT_TOLERANCES.values()} == {0.20}
    assert set(BUILT_IN) - set(DEFAULT_TOLERANCES) == {"kvd", "drift", "clip_cosine", "sharpness_pct"}


def test_tolerances_lie_over_the_defaults_and_can_be_switched_off(write_suite: WriteSuite) -> None:
    path = write_suite(("clip: {warn: 0.02, fail: 0.06}", "clip: {warn: 0.02, fail: 0.06}\n  motion: off"))
    tolerances = load(path).tolerances
    assert tolerances["clip"] == Tolerance(warn=0.02, fail=0.06)
    assert tolerances["fvd"] == DEFAULT_TOLERANCES["fvd"]
    assert "motion" not in tolerances


def test_limits_are_judged_where_their_metric_lives(write_suite: WriteSuite) -> None:
    assert [limit.scenario for limit in load(write_suite()).limits] == ["each", "all"]


def test_a_bare_text_stands_for_a_list_of_one(write_suite: WriteSuite) -> None:
    path = write_suite(("dit: dit.safetensors", "dit: [a.safetensors, b.safetensors]"))
    assert [Path(text).name for text in load(path).model.dit] == ["a.safetensors", "b.safetensors"]


def test_relative_files_start_at_the_suite_file(
    write_suite: WriteSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_suite(("reference: reference.safetensors", "reference: baselines:reference.safetensors"))
    monkeypatch.chdir(tmp_path.parent)
    suite = load(path.relative_to(tmp_path.parent), baselines=tmp_path / "stored")
    assert suite.model.vae == str(tmp_path / "vae.safetensors")
    assert suite.scoring.clip.model == str(tmp_path / "clip.json")
    assert suite.scoring.reference == str(tmp_path / "stored" / "mine" / "reference.safetensors")


def test_names_of_open_clip_stay_names(write_suite: WriteSuite) -> None:
    suite = load(write_suite(("model: clip.json", "model: ViT-B-32-quickgelu")))
    assert suite.scoring.clip.model == "ViT-B-32-quickgelu"
    assert not suite.scoring.clip.model_is_file


def test_byte_order_mark_and_yaml_1_2_words(write_suite: WriteSuite) -> None:
    text = "\ufeff" + SUITE.replace("category: nature", "category: no").replace("nature: {", "no: {")
    suite = load(write_suite(("warn: 0.02", "warn: 1e-3"), text=text))
    assert suite.scenarios[1].category == "no"
    assert suite.tolerances["clip"].warn == 0.001


@dataclass(frozen=True)
class Bad:
    old: str
    new: str
    line: int
    text: str


ALL_METRICS = ", ".join(BUILT_IN)
SAMPLING_KEYS = (
    "height, width, frames, steps, cfg_scale, shift, negative_prompt, dtype, tiled, cfg_merge, lora_mode, "
    "batch, compile, torch_norm, real_rope, text_once, attention"
)

REJECTED = {
    # unknown, missing and repeated keys
    "unknown key with a near miss": Bad(
        "  steps: 20",
        "  steps: 20\n  heigth: 96",
        15,
        f"sampling.heigth: unknown key; did you mean height? allowed: {SAMPLING_KEYS}",
    ),
    "unknown key of a list item": Bad(
        "    category: urban",
        "    category: urban\n    promt: a road",
        36,
        "scenarios[0].promt: unknown key; did you mean prompt? "
        "allowed: id, category, prompt, caption, input_image, input_image_sha256, target",
    ),
    "unknown key in a mapping of models": Bad(
        "{warn: 0.02, fail: 0.06}",
        "{warn: 0.02, fail: 0.06, worse: 1}",
        31,
        "tolerances.clip.worse: unknown key; allowed: warn, fail, better",
    ),
    "the python name of an aliased key": Bad(
        "  name: Mine",
        "  name: Mine\n  registration: a:b",
        5,
        "model.registration: unknown key; did you mean register? "
        "allowed: name, dit, experts, boundary, resident_experts, text_encoder, vae, "
        "image_encoder, tokenizer, sha256, register, architecture, vram_limit, least_gpu_memory",
    ),
    "a key that only the loader sets": Bad(
        "name: mine",
        "name: mine\npath: elsewhere",
        2,
        "path: unknown key; allowed: name, schema_version, device, model, stack, sampling, scoring, limits, "
        "tolerances, undecided, objective, subject, demands, bleed, scenarios, seeds, categories",
    ),
    "a key of an earlier version": Bad(
        "name: mine",
        "name: mine\nweak: fail",
        2,
        "weak: 'fail': the key is now undecided; allowed: undecided: block (a loss that is not proven keeps "
        "the checkpoint from being published, the default) or undecided: warn",
    ),
    "another device": Bad(
        "name: mine", "name: mine\ndevice: gpu", 2, "device: 'gpu'; allowed: 'auto', 'cpu' or 'cuda'"
    ),
    "one GPU of a machine": Bad(
        "name: mine", "name: mine\ndevice: cuda:1", 2, "device: 'cuda:1'; allowed: 'auto', 'cpu' or 'cuda'"
    ),
    "missing key": Bad("  width: 160\n", "", 10, "sampling.width: missing; it has no default"),
    "missing section": Bad(
        SUITE[SUITE.index("sampling:") : SUITE.index("scoring:")],
        "",
        1,
        "sampling: missing; it has no default",
    ),
    "key written twice": Bad(
        "  steps: 20",
        "  steps: 20\n  height: 64",
        15,
        "sampling.height: written twice, first in line 11; allowed: each key once",
    ),
    "key that is no text": Bad(
        "  steps: 20",
        "  steps: 20\n  5: 6",
        15,
        "sampling: the key '5' is not text; allowed: text, in quotes if need be",
    ),
    # types
    "text for a number": Bad(
        "steps: 20", "steps: many", 14, "sampling.steps: 'many'; allowed: a whole number"
    ),
    "number in quotes": Bad("steps: 20", "steps: '20'", 14, "sampling.steps: '20'; allowed: a whole number"),
    "fraction for a whole number": Bad(
        "steps: 20", "steps: 20.5", 14, "sampling.steps: 20.5; allowed: a whole number"
    ),
    "yes for true": Bad(
        "shift: 5", "shift: 5\n  tiled: yes", 17, "sampling.tiled: 'yes'; allowed: true or false"
    ),
    "true for a number": Bad("shift: 5", "shift: true", 16, "sampling.shift: true; allowed: a number"),
    "number for a text": Bad(
        "name: mine", "name: 5", 1, "name: 5; allowed: text, in quotes if it looks like a number"
    ),
    "nothing for a mapping": Bad(
        "seeds: {first: 4, most: 16}", "seeds:", 32, "seeds: nothing; allowed: a mapping of keys and values"
    ),
    "mapping for a list": Bad(
        SUITE[SUITE.index("limits:") : SUITE.index("tolerances:")],
        "limits: {metric: clip}\n",
        27,
        "limits: a mapping; allowed: a list",
    ),
    "list for a mapping": Bad(
        "{first: 4, most: 16}", "[4, 16]", 32, "seeds: a list of 2; allowed: a mapping of keys and values"
    ),
    "one of several words": Bad(
        "shift: 5",
        "shift: 5\n  dtype: float16",
        17,
        "sampling.dtype: 'float16'; allowed: 'bfloat16' or 'float32'",
    ),
    "newer schema": Bad("schema_version: 1", "schema_version: 2", 2, "schema_version: 2; allowed: 1"),
    # ranges
    "too small": Bad("steps: 20", "steps: 0", 14, "sampling.steps: 0; allowed: 1 or more"),
    "too large": Bad("steps: 20", "steps: 1001", 14, "sampling.steps: 1001; allowed: 1000 or less"),
    "not positive": Bad("shift: 5", "shift: 0", 16, "sampling.shift: 0; allowed: more than 0"),
    "not a number": Bad("min: 0.3", "min: .nan", 28, "limits[0].min: nan; allowed: a finite number"),
    "infinite": Bad("max: 1140", "max: .inf", 29, "limits[1].max: inf; allowed: a finite number"),
    "overflow": Bad("max: 1140", "max: 1e999", 29, "limits[1].max: inf; allowed: a finite number"),
    "tolerance in per cent": Bad("fail: 0.06", "fail: 6", 31, "tolerances.clip.fail: 6; allowed: 1 or less"),
    # sizes that the model would round
    "height": Bad(
        "height: 96",
        "height: 100",
        11,
        "sampling.height: 100: no multiple of 32, the model would render another size; allowed: 96 or 128",
    ),
    "width below the smallest": Bad(
        "width: 160",
        "width: 20",
        12,
        "sampling.width: 20: no multiple of 32, the model would render another size; allowed: 32",
    ),
    "frames": Bad(
        "frames: 9",
        "frames: 16",
        13,
        "sampling.frames: 16: not 4k+1, the model would render more; allowed: 13 or 17",
    ),
    "too few frames": Bad("frames: 9", "frames: 1", 13, "sampling.frames: 1; allowed: 5 or more"),
    # several keys together
    "warn above fail": Bad(
        "warn: 0.02, fail: 0.06",
        "warn: 0.2, fail: 0.06",
        31,
        "tolerances.clip.warn: 0.2: above fail, 0.06; allowed: 0 to fail",
    ),
    "min above max": Bad(
        "min: 0.3", "min: 0.3, max: 0.2", 28, "limits[0].min: 0.3: above max, 0.2; allowed: min up to max"
    ),
    "limit without a bound": Bad(
        "{metric: clip, min: 0.3}",
        "{metric: clip}",
        28,
        "limits[0]: neither min nor max; allowed: one of them or both",
    ),
    "first above most": Bad(
        "first: 4", "first: 17", 32, "seeds.first: 17: more than most, 16; allowed: 1 to most"
    ),
    "a baseline of fewer than most": Bad(
        "most: 16",
        "most: 16, baseline: 15",
        32,
        "seeds.baseline: 15: fewer than most, 16; allowed: most or more, up to 1000, or the key left out",
    ),
    "a baseline of no seeds": Bad(
        "most: 16",
        "most: 16, baseline: 0",
        32,
        "seeds.baseline: 0: fewer than most, 16; allowed: most or more, up to 1000, or the key left out",
    ),
    "a baseline of fewer than no seeds": Bad(
        "most: 16",
        "most: 16, baseline: -1",
        32,
        "seeds.baseline: -1: fewer than most, 16; allowed: most or more, up to 1000, or the key left out",
    ),
    "a baseline of too many seeds": Bad(
        "most: 16", "most: 16, baseline: 1001", 32, "seeds.baseline: 1001; allowed: 1000 or less"
    ),
    "a baseline of part of a seed": Bad(
        "most: 16", "most: 16, baseline: 16.5", 32, "seeds.baseline: 16.5; allowed: a whole number"
    ),
    "no seed at the first look": Bad("first: 4", "first: 0", 32, "seeds.first: 0; allowed: 1 or more"),
    "no seed at the last look": Bad("most: 16", "most: 0", 32, "seeds.most: 0; allowed: 1 or more"),
    "a first seed below none": Bad(
        "most: 16", "most: 16, start: -1", 32, "seeds.start: -1; allowed: 0 or more"
    ),
    "a digest of nothing": Bad(
        "  sharpness_reference:",
        "  reference_sha256: ''\n  sharpness_reference:",
        26,
        "scoring.reference_sha256: ''; allowed: 64 hexadecimal digits, or the key left out",
    ),
    "a question without a value": Bad(
        "seeds:", "bleed:\nseeds:", 32, "bleed: nothing; allowed: a value, or the key left out"
    ),
    "a key of a list's element without a value": Bad(
        "metric: clip,",
        "metric: clip, max: ,",
        28,
        "limits[0].max: nothing; allowed: a value, or the key left out",
    ),
    "unknown metric of a limit": Bad(
        "metric: fvd",
        "metric: fdv",
        29,
        f"limits[1].metric: 'fdv': unknown metric; did you mean fvd? allowed: {ALL_METRICS}",
    ),
    "unknown metric of a tolerance": Bad(
        "  clip: {warn",
        "  sharpnes: {warn",
        31,
        f"tolerances.sharpnes: 'sharpnes': unknown metric; did you mean sharpness? allowed: {ALL_METRICS}",
    ),
    "unknown metric of a target": Bad(
        "prompt: a street",
        "prompt: a street\n    target: {fid: 3}",
        37,
        f"scenarios[0].target.fid: 'fid': unknown metric; did you mean fvd? allowed: {ALL_METRICS}",
    ),
    "bleed about an unknown category": Bad(
        "scenarios:",
        "bleed: {about: [towns]}\nscenarios:",
        33,
        "bleed.about[0]: 'towns': unknown category; allowed: urban, nature",
    ),
    "a trigger in what stands without it": Bad(
        _UP_TO_PROMPT,
        "subject: {trigger: sks dog, without: a sks dog, references: r}\n" + _UP_TO_PROMPT + " a {trigger}",
        33,
        "subject.without: 'a sks dog': has the trigger, so that nothing would be without it; "
        "allowed: other words, or left out",
    ),
    "a trigger with its place in it": Bad(
        _UP_TO_PROMPT,
        "subject: {trigger: 'a {trigger}', references: r}\n" + _UP_TO_PROMPT + " a {trigger}",
        33,
        "subject.trigger: 'a {trigger}': has {trigger}; allowed: what takes its place",
    ),
    "bleed about everything": Bad(
        "scenarios:",
        "bleed: {about: [urban, nature]}\nscenarios:",
        33,
        "bleed.about: every scenario is of them, so nothing is left to ask; allowed: one category fewer",
    ),
    "bands of bleed in the wrong order": Bad(
        "scenarios:",
        "bleed: {warn: 0.9}\nscenarios:",
        33,
        "bleed.warn: 0.9: above fail, 0.7; allowed: above 0, up to fail",
    ),
    "limit of an unknown scenario": Bad(
        "min: 0.3",
        "min: 0.3, scenario: steet",
        28,
        "limits[0].scenario: 'steet': unknown scenario; did you mean street? "
        "allowed: all, each, street, meadow",
    ),
    "two limits of one metric": Bad(
        "metric: fvd, max: 1140",
        "metric: clip, max: 2",
        29,
        "limits[1].metric: 'clip': limits[0] has it for the same scenario; allowed: one limit each",
    ),
    "unknown category": Bad(
        "category: urban",
        "category: uban",
        35,
        "scenarios[0].category: 'uban': unknown category; did you mean urban? allowed: urban, nature",
    ),
    # scenarios
    "no scenarios": Bad(
        SUITE[SUITE.index("scenarios:") : SUITE.index("categories:")],
        "scenarios: []\n",
        33,
        "scenarios: a list of 0; allowed: at least 1",
    ),
    "same id": Bad(
        "id: meadow",
        "id: STREET",
        37,
        "scenarios[1].id: 'STREET': scenarios[0] has it too; allowed: each id once, in any case",
    ),
    "id that leaves the folder": Bad(
        "id: meadow",
        "id: ../meadow",
        37,
        "scenarios[1].id: '../meadow'; allowed: letters, digits, _ . - and no . or - in front",
    ),
    "id with a blank": Bad(
        "id: meadow",
        "id: a meadow",
        37,
        "scenarios[1].id: 'a meadow'; allowed: letters, digits, _ . - and no . or - in front",
    ),
    "id that is a word of limits": Bad(
        "id: meadow",
        "id: each",
        37,
        "scenarios[1].id: 'each': a word of limits; allowed: any id but all, each",
    ),
    "id that is too long": Bad(
        "id: meadow", f"id: {'m' * 65}", 37, f"scenarios[1].id: '{'m' * 56}...; allowed: up to 64 characters"
    ),
    "empty prompt": Bad(
        "prompt: a meadow", "prompt: ' '", 39, "scenarios[1].prompt: ' '; allowed: a text that is not empty"
    ),
    "prompt that CLIP cannot read": Bad(
        "prompt: a meadow",
        "prompt: 草地",
        37,
        "scenarios[1].caption: missing; CLIP does not read this prompt, which has the letter '草', not a "
        "Latin one; allowed: a short English one",
    ),
    "caption that CLIP cannot read": Bad(
        "prompt: a meadow",
        "prompt: a meadow\n    caption: 草地",
        40,
        "scenarios[1].caption: '草地': CLIP does not read it, it has the letter '草', not a Latin one; "
        "allowed: a short English one",
    ),
    # files
    "pickle": Bad(
        "vae: vae.safetensors",
        "vae: vae.pth",
        7,
        "model.vae: 'vae.pth': not a kind of file that is read; allowed: .safetensors",
    ),
    "half a hub reference": Bad(
        "vae: vae.safetensors",
        "vae: hub:owner/name",
        7,
        "model.vae: 'hub:owner/name': not of the form; allowed: hub:OWNER/NAME:FILE, or "
        "hub:OWNER/NAME@COMMIT:FILE (40 digits)",
    ),
    "package file outside the package": Bad(
        "vae: vae.safetensors",
        "vae: package:../vae.safetensors",
        7,
        "model.vae: 'package:../vae.safetensors': outside of its folder; allowed: package:PATH without ..",
    ),
    "image of the hub": Bad(
        "prompt: a street",
        "prompt: a street\n    input_image: hub:a/b:c.png",
        37,
        "scenarios[0].input_image: 'hub:a/b:c.png': an image is not fetched from the hub; "
        "allowed: a path, package:FILE",
    ),
    "digest that is none": Bad(
        "  tokenizer: tokenizer",
        "  tokenizer: tokenizer\n  sha256: {vae.safetensors: abc}",
        9,
        "model.sha256.vae.safetensors: 'abc'; allowed: 64 hexadecimal digits",
    ),
    "digest of a scorer that is none": Bad(
        "    weights: clip.safetensors",
        "    weights: clip.safetensors\n    sha256: abc",
        21,
        "scoring.clip.sha256: 'abc'; allowed: 64 hexadecimal digits",
    ),
    "digest of a file that is not named": Bad(
        "  tokenizer: tokenizer",
        f"  tokenizer: tokenizer\n  sha256: {{vea.safetensors: {'0' * 64}}}",
        9,
        "model.sha256.vea.safetensors: unknown file; did you mean vae.safetensors? "
        "allowed: dit.safetensors, text.safetensors, vae.safetensors",
    ),
    "entry that is none": Bad(
        "module: mine.features:Network",
        "module: mine.features",
        23,
        "scoring.video_features.module: 'mine.features'; allowed: package.module:name",
    ),
    "module without its class": Bad(
        "    module: mine.features:Network\n",
        "",
        21,
        "scoring.video_features.module: missing; kind module needs it, as package.module:Class",
    ),
}


@pytest.mark.parametrize("bad", REJECTED.values(), ids=REJECTED.keys())
def test_a_bad_suite_is_refused_with_line_key_value_and_what_is_allowed(
    write_suite: WriteSuite, bad: Bad
) -> None:
    assert refusal(write_suite((bad.old, bad.new))) == [f"{bad.line}: {bad.text}"]


def test_torchscript_must_state_its_digest_and_have_nine_frames(write_suite: WriteSuite) -> None:
    changes = (("kind: module", "kind: torchscript"), ("frames: 9", "frames: 5"))
    missing = (
        "scoring.video_features.sha256: missing; a TorchScript file is a program, "
        "so its digest must be stated"
    )
    others = [
        "13: sampling.frames: 5: I3D cannot score fewer than 9 frames; allowed: 9, 13, 17, ...",
        "23: scoring.video_features.module: not used by kind torchscript; allowed: kind module, or no module",
    ]
    assert refusal(write_suite(*changes))[1:] == [others[0], f"21: {missing}", others[1]]
    weights = "    weights: features.safetensors\n"
    empty = write_suite(*changes, (weights, f'{weights}    sha256: ""\n'))
    assert refusal(empty)[1:] == [*others, f"25: {missing}"]


def test_all_errors_come_at_once_in_the_order_of_lines(write_suite: WriteSuite) -> None:
    path = write_suite(("steps: 20", "steps: 0"), ("min: 0.3", "mni: 0.3"), ("id: meadow", "id: street"))
    assert refusal(path) == [
        " 3 errors",
        "14: sampling.steps: 0; allowed: 1 or more",
        "28: limits[0].mni: unknown key; did you mean min? allowed: metric, min, max, scenario",
        "37: scenarios[1].id: 'street': scenarios[0] has it too; allowed: each id once, in any case",
    ]


def test_many_errors_are_cut_at_twenty_and_counted(write_suite: WriteSuite) -> None:
    unknown = "\n".join(f"  unknown_{number:02}: 1" for number in range(25))
    lines = refusal(write_suite(("  steps: 20", f"  steps: 20\n{unknown}")))
    assert len(lines) == 1 + 20 + 1
    assert lines[0].endswith("25 errors")
    assert lines[-1] == "... and 5 more"


def test_a_suite_that_gates_nothing_is_refused(write_suite: WriteSuite) -> None:
    off = "\n".join(f"  {name}: off" for name in DEFAULT_TOLERANCES)
    path = write_suite(
        (SUITE[SUITE.index("limits:") : SUITE.index("tolerances:")], ""),
        ("  clip: {warn: 0.02, fail: 0.06}", off),
    )
    assert refusal(path) == [
        "27: tolerances: all are off and there are no limits; allowed: at least one of either"
    ]


def test_compiled_blocks_cannot_wait_outside_the_gpu(write_suite: WriteSuite) -> None:
    path = write_suite(
        ("  tokenizer: tokenizer", "  tokenizer: tokenizer\n  vram_limit: 8"),
        ("  steps: 20", "  steps: 20\n  compile: true"),
    )
    assert refusal(path) == [
        "16: sampling.compile: not with model.vram_limit, which moves the weights about; "
        "allowed: false, or no vram_limit"
    ]


def test_sizes_of_the_other_vae(write_suite: WriteSuite) -> None:
    path = write_suite(("blocks: 6", "blocks: 6, size_multiple: 16"), ("height: 96", "height: 112"))
    assert load(path).sampling.height == 112


def test_the_error_says_how_to_check_again(write_suite: WriteSuite) -> None:
    path = write_suite(("steps: 20", "steps: 0"))
    with pytest.raises(SuiteError) as caught:
        load(path)
    command = f"sed -n 14p {path}"
    assert caught.value.next_command == command


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "tinny",
            f"tinny: no such suite; did you mean tiny? allowed: {', '.join(packaged())}, "
            "or the path of a .yaml file",
        ),
        ("nowhere/s.yaml", "nowhere/s.yaml: no such file"),
    ],
)
def test_a_suite_that_is_not_there(name: str, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(name)
    assert caught.value.message == said


def test_a_suite_that_is_not_there_and_those_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SuiteError) as caught:
        load("nosuch")
    assert caught.value.next_command == "python -m pytest_wanlora doctor"
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.yaml").touch()
    with pytest.raises(SuiteError, match=r"did you mean suites/mine\.yaml\?") as caught:
        load("mein")
    assert caught.value.next_command == "ls suites/*.yaml"
    (tmp_path / "other.yaml").touch()
    with pytest.raises(SuiteError) as caught:
        load("nosuch")
    assert caught.value.next_command == "ls suites/*.yaml *.yaml"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["mine.yaml", "./mine"])
def test_a_suite_that_is_a_link_to_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).symlink_to("nowhere")
    with pytest.raises(SuiteError, match=r"mine.*: is a link to `nowhere`, which is not there") as caught:
        load(name)
    assert caught.value.next_command == f"ls -l {Path(name)}"


def test_models_are_frozen_and_strict(write_suite: WriteSuite) -> None:
    suite = load(write_suite())
    with pytest.raises(ValidationError, match="frozen"):
        suite.name = "other"
    with pytest.raises(ValidationError, match="valid integer"):
        Seeds(first="4")  # type: ignore[arg-type]  # that it is strict is the test
    assert Limit(metric="fvd", max=1.0).scenario == "all"


def test_clip_compares_with_the_caption_or_else_the_prompt() -> None:
    assert Scenario(id="a", category="b", prompt="a street").clip_caption == "a street"
    assert Scenario(id="a", category="b", prompt="거리", caption="a street").clip_caption == "a street"


def test_where_names_the_nearest_line(write_suite: WriteSuite) -> None:
    path = write_suite()
    suite = load(path)
    assert suite.where("scenarios[1].prompt") == f"{path}:39"
    assert suite.where("model.dit[0]") == f"{path}:5"
    assert suite.where("sampling.tiled") == f"{path}:10"
    assert suite.where("undecided") == f"{path}:1"


# enough videos for what is gated

ONE = ("{first: 4, most: 16}", "{first: 1, most: 16}")
NO_FVD = ("  clip: {warn: 0.02, fail: 0.06}", "  fvd: off")
NO_LIMIT = ("  - {metric: fvd, max: 1140}\n", "")
ONE_SCENARIO = ("  - id: meadow\n    category: nature\n    prompt: a meadow\n", "")


def each(metric: str) -> tuple[str, str]:
    return ("{metric: fvd, max: 1140}", f"{{metric: {metric}, max: 1140, scenario: each}}")


@pytest.mark.parametrize(
    ("changes", "gated"),
    [
        ([ONE], "fvd (tolerances.fvd)"),
        ([ONE, NO_LIMIT], "fvd (tolerances.fvd)"),
        ([("{first: 4, most: 16}", "{first: 1, most: 1}")], "fvd (tolerances.fvd)"),
        ([ONE, (NO_FVD[0], "  fvd: off\n  kvd: {warn: 0.1, fail: 0.5}")], "kvd (tolerances.kvd)"),
        ([ONE, NO_FVD, each("fvd")], "fvd (limits[1])"),
        ([ONE, NO_FVD, each("kvd")], "kvd (limits[1])"),
        ([ONE, NO_FVD, ("max: 1140}", "max: 1140, scenario: meadow}")], "fvd (limits[1])"),
        ([ONE, NO_FVD, ONE_SCENARIO], "fvd (limits[1])"),
    ],
)
def test_one_video_for_a_distance_of_sets_is_refused(
    write_suite: WriteSuite, changes: list[tuple[str, str]], gated: str
) -> None:
    path = write_suite(*changes)
    line = (
        path.read_text().splitlines().index(next(x for x in path.read_text().splitlines() if "seeds:" in x))
    )
    metric = gated.partition(" ")[0]
    assert refusal(path) == [
        f"{line + 1}: seeds.first: 1: the suite gates {gated}, a distance of 2 or more videos; "
        f"allowed: 2 or more; or '{metric}: off' under tolerances and no limit on it"
    ]
    # another number of the caller's choice, for the baseline too
    assert load(path, seeds=(2, 3)).seeds == Seeds(first=2, most=3)


@pytest.mark.parametrize(
    "changes",
    [
        [ONE, NO_FVD, NO_LIMIT],
        # three videos of all scenarios together, or two, are a set
        [ONE, NO_FVD],
        [ONE, NO_FVD, NO_LIMIT, ONE_SCENARIO],
        [("{first: 4, most: 16}", "{first: 2, most: 2}")],
    ],
)
def test_videos_that_are_enough(write_suite: WriteSuite, changes: list[tuple[str, str]]) -> None:
    assert load(write_suite(*changes)).seeds.first < 4


# packaged suites


@pytest.mark.parametrize("name", ["tiny", "wan2.2-ti2v-5b"])
def test_packaged_suites_load(name: str) -> None:
    suite = load(name)
    assert suite.name == name
    assert [scenario.category for scenario in suite.scenarios] == ["urban", "nature", "action"]
    assert dict(suite.tolerances) == dict(DEFAULT_TOLERANCES)


def test_the_packaged_suites() -> None:
    named = {"tiny-pair", "tiny-i2v", "tiny-4step", "wan2.2-t2v-a14b-4step"}
    assert set(packaged()) == {"tiny", "wan2.2-ti2v-5b", *OFFICIAL, *named}


#: steps, guidance of the experts or of the one denoiser, shift, boundary (Wan-Video's configs)
OFFICIAL = {
    "wan2.2-t2v-a14b": (40, [4.0, 3.0], 12.0, 0.875),
    "wan2.2-i2v-a14b": (40, [3.5, 3.5], 5.0, 0.9),
    "wan2.1-t2v-14b": (50, [5.0], 5.0, None),
    "wan2.1-t2v-1.3b": (50, [6.0], 8.0, None),
    "wan2.1-i2v-14b": (40, [5.0], 3.0, None),
    "wan2.2-ti2v-5b-i2v": (50, [5.0], 5.0, None),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_sampling_is_the_official_one(name: str) -> None:
    suite = load(name)
    guidance = [suite.guidance(expert) for expert in suite.model.denoisers]
    found = (suite.sampling.steps, guidance, suite.sampling.shift, suite.model.boundary)
    assert found == OFFICIAL[name]
    assert suite.model.architecture.size_multiple == (32 if "5b" in name else 16)
    given = [scenario.input_image for scenario in suite.scenarios]
    assert all(given) if "i2v" in name else not any(given)
    check_digests(suite, skip=[key for key, _ in references(suite) if "input_image" not in key])
    text = suite.path.read_text(encoding="utf-8")
    assert all(f"# {size} GB: " in text for size in (24, 48, 80)), "settings by GPU memory"


def test_what_to_type_for_a_suite_is_its_name_or_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert option_value(load("tiny")) == "tiny"
    copy = tmp_path / "my suites" / "tiny.yaml"
    copy.parent.mkdir()
    # another file of that name, with files of its own beside it, is another suite
    named = load("tiny").model_copy(update={"path": copy})
    assert option_value(named) == f"'{copy}'"
    monkeypatch.chdir(tmp_path)
    assert option_value(named) == "'my suites/tiny.yaml'"
    assert option_value(named.model_copy(update={"path": Path("own.yaml")})) == "own.yaml"
    assert option_value(named.model_copy(update={"path": tmp_path / "-own.yaml"})) == "./-own.yaml"


def test_the_big_suite_is_the_one_of_the_report() -> None:
    suite = load("wan2.2-ti2v-5b")
    sampling, architecture = suite.sampling, suite.model.architecture
    assert (sampling.height, sampling.width, sampling.frames, sampling.steps) == (480, 832, 9, 50)
    assert (sampling.cfg_scale, sampling.shift, sampling.dtype) == (5.0, 5.0, "bfloat16")
    assert (architecture.dim, architecture.ffn_dim, architecture.blocks, architecture.heads) == (
        3072,
        14336,
        30,
        24,
    )
    assert [(limit.metric, limit.min, limit.max, limit.scenario) for limit in suite.limits] == [
        ("clip", 0.3, None, "each"),
        ("fvd", None, 1140.0, "all"),
    ]
    assert suite.seeds == Seeds(first=3, most=16, start=0, baseline=32)


@pytest.mark.parametrize("name", packaged())
def test_a_packaged_suite_names_the_device_of_its_packaged_baselines(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    suite = load(name)
    # a machine with a GPU, whatever this one has
    monkeypatch.setattr(environment, "gpu_name", lambda number=0: "Some GPU")
    here = environment.detect(suite.sampling.dtype, suite.device)
    folder = Path(str(resources.files("pytest_wanlora"))) / "baselines" / name
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/baseline.json")]
    assert len(found) == name.startswith("tiny")
    for stored in found:
        assert stored["fingerprint"] == fingerprint(suite)
        assert environment.differences(stored["environment"], here)[0] == []


def test_loading_suites_needs_no_torch() -> None:
    code = (
        "import sys; from pytest_wanlora.suite import load; load('tiny'); "
        "print(sorted({'torch', 'diffsynth', 'open_clip', 'pytest', 'scipy', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# what is read is what was checked


def test_a_suite_can_be_dumped_and_built_again(write_suite: WriteSuite) -> None:
    suite = load(write_suite())
    dumped: dict[str, Any] = suite.model_dump(by_alias=True)
    again = Suite.model_validate({**dumped, "path": suite.path, "sha256": suite.sha256})
    assert again.model_dump() == suite.model_dump()
    json.dumps(suite.model_dump(mode="json"), allow_nan=False)


def test_prompts_that_clip_cannot_read_are_all_named_and_nothing_else(write_suite: WriteSuite) -> None:
    text = SUITE.replace("prompt: a meadow", "prompt: 草地").replace("prompt: a street", "prompt: 街道")
    lines = refusal(write_suite(text=text))
    keys = [line.partition(": ")[2].partition(":")[0] for line in lines if "scenarios" in line]
    assert keys == ["scenarios[0].caption", "scenarios[1].caption"]
