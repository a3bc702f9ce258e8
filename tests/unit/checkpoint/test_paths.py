from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.checkpoint import expand, left_out, read, unique_names
from pytest_wanlora.errors import CheckpointError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def expanded(*arguments: str) -> list[str]:
    return [str(path) for path in expand(arguments)]


def test_numbers_are_sorted_as_numbers() -> None:
    touch("epoch-10.safetensors", "epoch-2.safetensors", "Epoch-1.safetensors", "a.safetensors")
    assert expanded(".") == [
        "a.safetensors",
        "Epoch-1.safetensors",
        "epoch-2.safetensors",
        "epoch-10.safetensors",
    ]


def test_numbers_in_folders_count_too() -> None:
    touch("checkpoint-1000/lora.safetensors", "checkpoint-500/lora.safetensors")
    assert expanded("checkpoint-*") == ["checkpoint-500/lora.safetensors", "checkpoint-1000/lora.safetensors"]


def test_files_folders_and_globs_may_be_given_together_and_twice(here: Path) -> None:
    touch("runs/epoch-0.safetensors", "runs/epoch-1.safetensors", "best.safetensors")
    expected = ["best.safetensors", "runs/epoch-0.safetensors", "runs/epoch-1.safetensors"]
    assert (
        expanded("runs", "best.safetensors", "runs/*.safetensors", str(here / "best.safetensors")) == expected
    )


def test_a_link_to_a_checkpoint_is_that_checkpoint() -> None:
    touch("epoch-3.safetensors")
    Path("latest.safetensors").symlink_to("epoch-3.safetensors")
    assert expanded(".") == ["epoch-3.safetensors"]
    assert expanded("latest.safetensors", "epoch-3.safetensors") == ["latest.safetensors"]


def test_a_glob_and_a_folder_leave_other_files_alone() -> None:
    touch("epoch-0.safetensors", "epoch-0.log", ".epoch-1.safetensors", "epoch-0.pt")
    assert expanded("epoch-*") == expanded(".") == ["epoch-0.safetensors"]


@pytest.mark.parametrize("argument", ["g", "g/*", "g*", "g/epoch-?.[sS]*"])
def test_a_suffix_in_upper_case_is_one_too(argument: str) -> None:
    touch("g/epoch-2.safetensors", "g/epoch-3.SAFETENSORS", "g/epoch-4.SafeTensors", "g/log.txt")
    assert expanded(argument) == ["g/epoch-2.safetensors", "g/epoch-3.SAFETENSORS", "g/epoch-4.SafeTensors"]


def test_one_in_a_folder_below_or_beside_a_missing_one_is_named_too() -> None:
    touch("runs/a/x.SAFETENSORS")
    with pytest.raises(CheckpointError, match=r"one in a folder below: runs/a/x.SAFETENSORS"):
        expand(["runs"])
    with pytest.raises(CheckpointError, match=r"in the same folder lie: x.SAFETENSORS"):
        read(Path("runs/a/x.safetensors"))


@pytest.mark.parametrize("argument", ["g", "g/*", "g*", "high=g,low=g/*", "low=g@0.5"])
def test_what_looks_like_a_checkpoint_and_is_left_out_is_named(argument: str) -> None:
    touch("g/a.safetensors", "g/a.pt", "g/b.CKPT", "g/c.pth", "g/d.bin", "g/e.gguf", "g/.f.pt", "g/log.txt")
    # what a trainer goes on from is no checkpoint
    touch("g/optimizer.pt", "g/training_args.bin", "g/random_states_0.pkl", "g/rng_state.pth")
    assert left_out([argument]) == (
        "left out: g/a.pt, g/b.CKPT, g/c.pth and 2 more; only .safetensors files are read",
    )
    assert left_out(["g/*.safetensors", "g/a.safetensors"]) == ()


def test_a_recursive_glob_goes_down(here: Path) -> None:
    touch("a/b/epoch-2.safetensors", "a/epoch-1.safetensors", "epoch-0.safetensors")
    assert expanded(f"{here}/**/*.safetensors") == expanded(f"{here}/**")
    assert len(expanded("**")) == 3


def test_a_name_with_brackets_that_exists_is_no_glob() -> None:
    touch("lora[1].safetensors", "lora1.safetensors")
    assert expanded("lora[1].safetensors") == ["lora[1].safetensors"]
    assert expanded("lora[12].safetensors") == ["lora1.safetensors"]


def test_a_named_file_is_passed_on_for_read_to_refuse() -> None:
    touch("epoch-1.pt")
    assert expanded("epoch-1.pt", "missing.safetensors") == ["epoch-1.pt", "missing.safetensors"]


def test_the_home_folder_is_known(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("epoch-1.safetensors")
    monkeypatch.setenv("HOME", str(here))
    assert expanded("~/epoch-*") == [str(here / "epoch-1.safetensors")]


@pytest.mark.parametrize(
    ("arguments", "files", "words"),
    [
        ((), (), ("no checkpoint given", "next: ls -l .")),
        (("",), (), ("'' is no path",)),
        (("a\0b",), (), (r"'a\x00b' is no path",)),
        (("~nobody-of-this-name/x",), (), ("'~nobody-of-this-name/x'", "next: pytest --lora './~")),
        (("x" * 300,), (), ("too long",)),
        (
            ("*.safetensors",),
            ("epoch-1.pt",),
            ("'*.safetensors' matches no", "matches nothing", "next: ls -l ."),
        ),
        (
            ("runs/epoch-*",),
            ("runs/epoch-1.pt",),
            ("matches no", "1 other such as runs/epoch-1.pt", "ls -l runs"),
        ),
        (
            ("runs",),
            ("runs/epoch-1.pt",),
            ("runs: no .safetensors", "pickles such as epoch-1.pt, which are never"),
        ),
        (("runs",), ("runs/log.txt",), ("runs: no .safetensors file in this folder\nnext: ls -l runs",)),
        (
            ("my runs",),
            ("my runs/a/x.safetensors",),
            ("one in a folder below: my runs/a/x.safetensors", "next: pytest --lora 'my runs/*'"),
        ),
    ],
)
def test_what_means_no_file_is_an_error(
    arguments: tuple[str, ...], files: tuple[str, ...], words: tuple[str, ...]
) -> None:
    touch(*files)
    with pytest.raises(CheckpointError) as caught:
        expand(arguments)
    assert [word for word in ("--lora: ", *words) if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("a/epoch-1.safetensors", "b/epoch-2.safetensors"), ("epoch-1", "epoch-2")),
        (
            ("ckpt-5/adapter_model.s", "ckpt-10/adapter_model.s"),
            ("ckpt-5-adapter_model", "ckpt-10-adapter_model"),
        ),
        (("x/c/m.s", "y/c/m.s", "z/n.s"), ("x-c-m", "y-c-m", "n")),
        (("c-m.s", "c/m.s", "d/m.s"), ("c-m", "c-m-2", "d-m")),
        (("c-m.s", "c-m-2.s", "c/m.s", "d/m.s"), ("c-m", "c-m-2", "c-m-3", "d-m")),
        (("m.s", "m.t"), None),
    ],
)
def test_names_are_as_short_as_they_can_be(paths: tuple[str, ...], names: tuple[str, ...] | None) -> None:
    found = unique_names([Path(path) for path in paths])
    assert len(set(found)) == len(paths)
    if names is not None:
        assert found == names


part = st.text("ab-1", min_size=1, max_size=3)


@given(
    st.lists(st.lists(part, min_size=1, max_size=4).map(lambda parts: Path(*parts)), unique=True, max_size=6)
)
def test_no_two_names_are_alike(paths: list[Path]) -> None:
    names = unique_names(paths)
    assert len(set(names)) == len(paths)
    assert all("/" not in name and path.stem in name for name, path in zip(names, paths, strict=True))


@pytest.mark.parametrize("name", [b"new\nline", b"no \xff unicode", b"\x1b[2J", "\u2028".encode()])
def test_a_name_that_no_record_can_hold_is_refused(here: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(here) + b"/" + name + b".safetensors")).touch()
    with pytest.raises(CheckpointError, match="its name has line breaks, control characters") as refused:
        expand(["."])
    assert str(refused.value).isascii()
    assert str(refused.value).partition("\nnext: ")[2].startswith("ls -lb ")


def test_a_name_in_any_script_is_taken() -> None:
    touch("에포크 🎬 \u202e مرحبا.safetensors")
    assert len(expanded(".")) == 1
