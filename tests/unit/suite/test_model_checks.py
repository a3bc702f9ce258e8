"""What a suite says of its model and cannot be so: experts without a step, first frames, whole numbers."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import Suite, check_digests, load, packaged, references
from pytest_wanlora.suite.sampling import noise_levels


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(packaged()[name].read_text(encoding="utf-8"))
    return {**found, "name": "mine"}


def loaded(folder: Path, data: dict[str, Any]) -> Suite:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return load(path)


def with_schedule(name: str, boundary: float, steps: int, shift: float) -> dict[str, Any]:
    data = content(name)
    data["model"]["boundary"] = boundary
    data["sampling"].update(steps=steps, shift=shift)
    return data


@pytest.mark.parametrize(
    ("boundary", "steps", "shift", "without", "allowed"),
    [
        (0.001, 20, 3.0, "low", "0.1364 to 0.9999"),
        (0.625, 4, 5.0, "low", "0.6251 to 0.9999"),  # the last step itself is the high-noise expert's
        (0.5, 4, 5, "low", "0.6251 to 0.9999"),
        (0.99999999, 20, 3.0, "high", "0.1364 to 0.9999"),
        (0.875, 2, 50.0, "low", "0.9804 to 0.9999"),
    ],
)
def test_a_boundary_that_leaves_an_expert_without_a_step_is_refused(
    tmp_path: Path, boundary: float, steps: int, shift: float, without: str, allowed: str
) -> None:
    data = with_schedule("tiny-pair", boundary, steps, shift)
    with pytest.raises(SuiteError, match=f"the {without}-noise expert would have no step") as caught:
        loaded(tmp_path, data)
    assert re.search(rf"mine\.yaml:\d+: model\.boundary: {boundary!r}: ", str(caught.value))
    assert f"allowed: {allowed}" in str(caught.value)
    for edge in allowed.split(" to "):
        data["model"]["boundary"] = float(edge)
        assert loaded(tmp_path, data).model.boundary == float(edge)


def test_one_step_is_too_few_for_two_experts(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"sampling\.steps: 1: .*; allowed: 2 or more"):
        loaded(tmp_path, with_schedule("tiny-pair", 0.9, 1, 5.0))


def test_four_steps_of_an_accelerator_are_enough(tmp_path: Path) -> None:
    suite = loaded(tmp_path, with_schedule("wan2.2-t2v-a14b-4step", 0.875, 4, 5.0))
    assert (suite.sampling.steps, suite.model.boundary) == (4, 0.875)


def schedules() -> Iterator[tuple[int, float]]:
    for name in packaged():
        yield load(name).sampling.steps, load(name).sampling.shift
    yield from ((steps, shift) for steps in (1, 2, 3, 7, 50, 999, 1000) for shift in (0.01, 1, 2.5, 8, 50.0))


def test_the_noise_levels_are_those_of_diffsynths_schedule() -> None:
    scheduler = pytest.importorskip("diffsynth.diffusion.flow_match").FlowMatchScheduler("Wan")
    for steps, shift in schedules():
        scheduler.set_timesteps(steps, denoising_strength=1.0, shift=shift)
        levels = [float(each) / 1000 for each in scheduler.timesteps]
        assert levels == sorted(levels, reverse=True)
        assert noise_levels(steps, shift) == pytest.approx((levels[0], levels[-1]), abs=1e-6), (steps, shift)


@pytest.mark.parametrize("name", ["wan2.2-i2v-a14b", "wan2.1-i2v-14b"])
def test_an_image_to_video_model_needs_a_first_frame_for_every_scenario(tmp_path: Path, name: str) -> None:
    data = content(name)
    for key in ("input_image", "input_image_sha256"):
        del data["scenarios"][1][key]
    with pytest.raises(SuiteError, match=r"scenarios\[1\]\.input_image: missing; .*allowed: the path"):
        loaded(tmp_path, data)


@pytest.mark.parametrize("name", ["wan2.2-t2v-a14b", "wan2.1-t2v-1.3b", "wan2.1-t2v-14b"])
def test_a_text_to_video_model_takes_no_first_frame(tmp_path: Path, name: str) -> None:
    data = content(name)
    data["scenarios"][0]["input_image"] = "first.png"
    with pytest.raises(
        SuiteError, match=r"scenarios\[0\]\.input_image: 'first\.png': .*reads no first frame"
    ):
        loaded(tmp_path, data)


def test_the_model_of_5b_takes_both(tmp_path: Path) -> None:
    data = content("wan2.2-ti2v-5b")
    data["scenarios"][0]["input_image"] = "first.png"
    assert loaded(tmp_path, data).scenarios[0].input_image == str(tmp_path / "first.png")


@pytest.mark.parametrize("name", ["wan2.2-t2v-a14b", "wan2.2-i2v-a14b", "wan2.2-ti2v-5b", "tiny"])
def test_an_image_encoder_that_nothing_reads_is_refused(tmp_path: Path, name: str) -> None:
    data = content(name)
    data["model"]["image_encoder"] = "clip.safetensors"
    with pytest.raises(SuiteError, match=r"model\.image_encoder: 'clip\.safetensors': .*reads no CLIP image"):
        loaded(tmp_path, data)


def test_blocks_that_read_clip_need_an_image_encoder(tmp_path: Path) -> None:
    data = content("wan2.1-i2v-14b")
    del data["model"]["image_encoder"]
    with pytest.raises(SuiteError, match=r"model(\.image_encoder)?: missing; .*image_layers: true"):
        loaded(tmp_path, data)


def test_a_digest_of_no_picture_is_refused(tmp_path: Path) -> None:
    data = content("tiny")
    data["scenarios"][0]["input_image_sha256"] = "0" * 64
    with pytest.raises(SuiteError, match=r"scenarios\[0\]\.input_image_sha256: without input_image; allowed"):
        loaded(tmp_path, data)


def _numbers(data: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _numbers(value, (*path, key))
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield path


def test_true_is_no_number_under_any_key(tmp_path: Path) -> None:
    data = content("tiny-pair")
    data["model"] |= {"least_gpu_memory": 1}
    data["model"]["architecture"] |= {"heads": 8, "in_dim": 48}
    data["seeds"]["baseline"] = 8
    data["sampling"]["batch"] = 1
    data["stack"][0]["scale"] = 1
    data["tolerances"] = {"clip": {"warn": 0.01, "fail": 0.05, "better": 0.2}}
    data["scenarios"][0]["target"] = {"clip": 1}
    found = list(_numbers(data))
    assert len(found) > 30
    loaded(tmp_path, data)
    for path in found:
        changed = copy.deepcopy(data)
        at: Any = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = True
        with pytest.raises(SuiteError, match=rf"{path[-1]}\]?: true; allowed: a"):
            loaded(tmp_path, changed)


def test_a_pattern_is_no_first_frame(tmp_path: Path) -> None:
    (tmp_path / "frames[1]").mkdir()
    (tmp_path / "frames[1]" / "one.png").write_bytes(b"")
    data = content("tiny")
    data["scenarios"][0]["input_image"] = "frames[1]/one.png"
    assert loaded(tmp_path, data).scenarios[0].input_image == str(tmp_path / "frames[1]" / "one.png")
    data["scenarios"][0]["input_image"] = "frames*/*.png"
    with pytest.raises(
        SuiteError, match=r"scenarios\[0\]\.input_image: .*: a pattern, .*allowed: the path of one"
    ):
        loaded(tmp_path, data)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("tiny", "scoring.reference", "[ab].safetensors", "matches 2 files, such as a.safetensors and b"),
        ("tiny", "scoring.clip.weights", "d.safetensors", "d.safetensors: a folder; allowed: a file"),
        ("tiny-4step", "stack[0].lora", "[ab].safetensors", "matches 2 files, such as a.safetensors and b"),
        ("tiny-4step", "stack[0].lora", "d.safetensors", "d.safetensors: a folder; allowed: a file"),
        ("tiny-4step", "stack[0].lora", "hub:a/b:c-*.safetensors", "a pattern; allowed: the name of one fi"),
        ("tiny", "model.tokenizer", "?.safetensors", "matches 2 files, such as a.safetensors and b"),
        ("tiny", "model.tokenizer", "hub:a/b:c/*", "a pattern; allowed: the name of one folder"),
        ("tiny", "model.vae", "d.safetensors", "d.safetensors: a folder; allowed: a file"),
        ("tiny", "model.dit[0]", "d.safetensors", "d.safetensors: a folder; allowed: a file"),
        ("tiny", "model.dit[0]", "[ab].safetensors", ""),
        ("tiny", "model.vae", "hub:a/b:vae-*.safetensors", ""),
        ("tiny", "model.tokenizer", "hub:a/b:c/", ""),
    ],
)
def test_a_key_of_one_file_has_one_file(tmp_path: Path, name: str, key: str, value: str, words: str) -> None:
    for each in "ab":
        (tmp_path / f"{each}.safetensors").write_bytes(b"")
    (tmp_path / "d.safetensors").mkdir()
    data = content(name)
    at: Any = data
    *path, last = re.findall(r"[a-z_]+", key)
    for part in path:
        at = at[part][0] if isinstance(at[part], list) else at[part]
    at.pop("sha256", None)
    data["model"].pop("sha256", None)
    at[last] = value
    suite = loaded(tmp_path, data)
    if not words:
        check_digests(suite)
        return
    with pytest.raises(SuiteError, match=rf"mine\.yaml:\d+: {re.escape(key)}: .*{words}") as caught:
        check_digests(suite)
    assert caught.value.next_command is not None
    assert caught.value.next_command.startswith(("ls ", "sed -n "))


def test_a_pattern_that_one_file_matches_is_held_to_its_digest(tmp_path: Path) -> None:
    (tmp_path / "reference-1.safetensors").write_bytes(b"")
    data = content("tiny")
    data["scoring"].update(reference="reference-*.safetensors", reference_sha256="0" * 64)
    with pytest.raises(SuiteError, match=r"scoring\.reference: .*reference-1\.safetensors: SHA-256 is e3b0"):
        check_digests(loaded(tmp_path, data))


@pytest.mark.parametrize(
    ("name", "key", "taken"),
    [
        ("tiny-4step", "stack[0].lora", True),
        ("tiny", "scoring.reference", False),
        ("tiny", "model.vae", False),
    ],
)
def test_capital_letters_of_an_ending_are_refused_in_words_where_other_programs_read_the_file(
    tmp_path: Path, name: str, key: str, taken: bool
) -> None:
    (tmp_path / "ACC.SAFETENSORS").write_bytes(b"")
    data = content(name)
    at: Any = data
    *path, last = re.findall(r"[a-z_]+", key)
    for part in path:
        at = at[part][0] if isinstance(at[part], list) else at[part]
    at[last] = "ACC.SAFETENSORS"
    for stated in ("sha256", "reference_sha256"):
        at.pop(stated, None)
    if taken:
        assert dict(references(loaded(tmp_path, data)))[key] == str(tmp_path / "ACC.SAFETENSORS")
        return
    with pytest.raises(SuiteError, match=rf"{re.escape(key)}: .*allowed: \.safetensors, in small letters"):
        loaded(tmp_path, data)
