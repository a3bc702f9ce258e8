"""Which files of a trainer's folder are finished checkpoints, in which order, and what the others are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint, testing
from pytest_wanlora.watch.folders import Folders, Look


def watched(folder: Path, experts: bool | None = False, fits: bool = False) -> Folders:
    return Folders([folder], experts, lambda path, expert: fits)


def settled(folders: Folders) -> Look:
    folders.look()
    return folders.look()


def lora(path: Path, seed: int, at: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    testing.write_lora(path, seed=seed)
    os.utime(path, (at, at))
    return path


def test_a_file_is_finished_when_it_is_whole_and_did_not_change_between_two_looks(tmp_path: Path) -> None:
    whole = testing.write_lora(tmp_path / "whole.bin").read_bytes()
    (tmp_path / "whole.bin").unlink()
    path, folders = tmp_path / "epoch-0.safetensors", watched(tmp_path)
    for size in (0, 8, 500, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert folders.look().growing == (path,)
        look = folders.look()
        assert look.found == ()
        assert list(look.unfinished) == [path]
    path.write_bytes(whole)
    assert folders.look().found == ()
    (found,) = folders.look().found
    assert (found.name, found.argument) == ("epoch-0", str(path))
    assert found.digest == checkpoint.read(path).sha256


def test_a_renamed_file_is_the_same_and_a_replaced_one_another(tmp_path: Path) -> None:
    path, folders = lora(tmp_path / "a.safetensors", 0, 10), watched(tmp_path)
    (first,) = settled(folders).found
    path.rename(tmp_path / "b.safetensors")
    (renamed,) = settled(folders).found
    assert (renamed.digest, renamed.name) == (first.digest, "b")
    lora(tmp_path / "b.safetensors", 1, 20)
    assert folders.look().found == ()
    (replaced,) = folders.look().found
    assert replaced.digest != first.digest
    shutil.copy(tmp_path / "b.safetensors", tmp_path / "same.safetensors")
    assert [each.digest for each in settled(folders).found] == [replaced.digest]


# what the three trainers leave in a folder, and which of it is gated, in the order of its writing
TRAINERS = {
    "DiffSynth-Studio": (["epoch-0", "epoch-1", "step-10"], []),
    "musubi-tuner": (
        ["seoul-000001", "seoul-000002", "seoul"],
        ["seoul-000001-state/model.safetensors", "seoul-000001-state/optimizer.bin", "sample/seoul.mp4"],
    ),
    "ai-toolkit": (
        ["seoul_000000250", "seoul_000000500", "seoul"],
        ["optimizer.pt", "config.yaml", "samples/0.jpg", "loss_log.db", ".seoul_000000750.safetensors.tmp"],
    ),
    "temporary files": (
        ["epoch-0"],
        [".epoch-1.safetensors", "epoch-1.safetensors.tmp", "epoch-2.safetensors.incomplete", "tmp3x1"],
    ),
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_trainers_leave_beside_a_checkpoint_is_passed_over(tmp_path: Path, trainer: str) -> None:
    names, others = TRAINERS[trainer]
    for number, name in enumerate(names):
        lora(tmp_path / f"{name}.safetensors", number, 10 + number)
    for other in others:
        lora(tmp_path / other, 99, 1)
    look = settled(watched(tmp_path))
    assert [each.name for each in look.found] == names
    assert (look.growing, look.unfinished, look.alone, look.ignored) == ((), {}, (), {})


def test_shards_and_states_are_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    for name in ("epoch-0-00001-of-00002", "epoch-0-00001-of-00001"):
        lora(tmp_path / f"{name}.safetensors", 0, 10)
    save_file({"state": checkpoint_free()}, str(tmp_path / "optimizer.safetensors"))
    save_file({"state": checkpoint_free()}, str(tmp_path / "strange.safetensors"))
    look = settled(watched(tmp_path))
    assert {path.stem: why for path, why in look.ignored.items()} == {
        "epoch-0-00001-of-00002": "part 1 of 2 of a model",
        "optimizer": "no LoRA, and its name says what a trainer goes on from",
    }
    # what nobody knows is gated, which says what is wrong with it
    assert {each.name for each in look.found} == {"epoch-0-00001-of-00001", "strange"}


def test_a_suffix_in_upper_case_is_gated_and_a_pickle_is_named(tmp_path: Path) -> None:
    lora(tmp_path / "epoch-0.SAFETENSORS", 0, 10)
    pickle = tmp_path / "epoch-1.pt"
    pickle.touch()
    look = settled(watched(tmp_path))
    assert [each.name for each in look.found] == ["epoch-0"]
    assert (look.growing, look.ignored) == ((), {pickle: "ends in .pt; only .safetensors files are read"})


def checkpoint_free() -> object:
    import numpy as np

    return np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("high", "low", "name"),
    [
        ("seoul_000250_high_noise", "seoul_000250_low_noise", "seoul_000250"),
        ("high_noise/epoch-0", "low_noise/epoch-0", "epoch-0"),
        ("HIGH", "low", ""),
    ],
)
def test_a_pair_waits_for_both_halves(tmp_path: Path, high: str, low: str, name: str) -> None:
    folders = watched(tmp_path, experts=True)
    first = lora(tmp_path / f"{high}.safetensors", 0, 10)
    look = settled(folders)
    assert (look.found, look.alone) == ((), (first,))
    second = lora(tmp_path / f"{low}.safetensors", 1, 20)
    look = settled(folders)
    (found,) = look.found
    # files that are called by the expert alone are named by their folder
    assert (found.name, found.written, look.alone) == (name or tmp_path.name, 20.0, ())
    assert found.argument == f"high={first},low={second}"
    (asked,) = checkpoint.asked([found.argument], by_name=True)
    assert asked.read(name).sha256 == found.digest


def test_a_word_for_an_expert_makes_no_pair_of_a_model_without(tmp_path: Path) -> None:
    lora(tmp_path / "high-quality.safetensors", 0, 10)
    assert [each.name for each in settled(watched(tmp_path, experts=None)).found] == ["high-quality"]
    look = settled(watched(tmp_path, experts=None, fits=True))
    assert (look.found, [path.stem for path in look.alone]) == ((), ["high-quality"])


def test_a_folder_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    folders = watched(tmp_path / "out")
    assert settled(folders).found == ()
    lora(tmp_path / "out" / "epoch-0.safetensors", 0, 1)
    assert [each.name for each in settled(folders).found] == ["epoch-0"]
