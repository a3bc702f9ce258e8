from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import torch

from pytest_wanlora.suite import load
from tools.hollow_wan import parts, writing

PARTS = ("dit", "text_encoder", "vae")


@pytest.mark.parametrize("part", PARTS)
def test_diffsynth_knows_the_full_size_by_its_names_and_shapes(part: str) -> None:
    listed = parts.entries(part, "full", "published")
    assert parts.model_hash(listed) == parts.PUBLISHED_HASHES[part]
    assert parts.model_hash([replace(listed[0], shape=(1,)), *listed[1:]]) != parts.PUBLISHED_HASHES[part]


def test_the_full_size_is_the_published_one() -> None:
    sizes = {part: sum(entry.size for entry in parts.entries(part, "full", "published")) for part in PARTS}
    assert sizes == {"dit": 19_999_150_848, "text_encoder": 11_361_820_672, "vae": 2_818_754_672}
    halved = sum(entry.size for entry in parts.entries("dit", "full", "bfloat16"))
    assert 2 * halved == sizes["dit"]


@pytest.mark.parametrize("size", ["full", "smoke"])
def test_three_shards_hold_every_tensor_once(size: parts.Size) -> None:
    listed = parts.entries("dit", size, "published")
    files = parts.shards(listed)
    assert len(files) == 3
    assert [entry for file in files for entry in file] == list(listed)


@pytest.mark.parametrize("part", PARTS)
def test_a_header_says_what_the_entries_say(part: str) -> None:
    listed = parts.entries(part, "full", "published")
    begin = writing.header(listed, {})
    table = json.loads(begin[8:])
    assert len(begin) % 8 == 0
    assert int.from_bytes(begin[:8], "little") == len(begin) - 8
    places = [table[entry.name]["data_offsets"] for entry in listed]
    assert places[0][0] == 0
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(places))
    assert places[-1][1] == sum(entry.size for entry in listed)


def test_lora_targets_are_ten_a_block() -> None:
    architecture = load("wan2.2-ti2v-5b").model.architecture
    targets = parts.lora_targets(architecture)
    assert len(targets) == 300
    assert targets["blocks.29.ffn.0"] == (14336, 3072)
    assert len(parts.lora_targets(architecture, blocks=15)) == 150


def test_every_layer_of_the_model_that_is_a_target_has_that_shape() -> None:
    shapes = {entry.name: entry.shape for entry in parts.entries("dit", "full", "bfloat16")}
    targets = parts.lora_targets(load("wan2.2-ti2v-5b").model.architecture)
    assert {name: shapes[f"{name}.weight"] for name in targets} == targets


def test_numbers_depend_on_name_and_seed_alone() -> None:
    entry = parts.Entry("a.weight", (64, 64), torch.bfloat16, 0.0, 0.5)
    assert torch.equal(writing.draw(entry, 1, "cpu"), writing.draw(entry, 1, "cpu"))
    assert not torch.equal(writing.draw(entry, 1, "cpu"), writing.draw(entry, 2, "cpu"))
    other = replace(entry, name="b.weight")
    assert not torch.equal(writing.draw(entry, 1, "cpu"), writing.draw(other, 1, "cpu"))
    assert float(writing.draw(entry, 1, "cpu").float().std()) == pytest.approx(0.5, rel=0.05)
