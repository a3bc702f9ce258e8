from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.errors import JobError
from pytest_wanlora.files import (
    dangling,
    expand_home,
    file_sha256,
    from_here,
    listing,
    parse_json,
    read_regular,
    require_folder,
    write_whole,
)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/file.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


def test_no_path_is_taken_for_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-x").touch()
    assert from_here(tmp_path / "-x") == "./-x"
    assert from_here(tmp_path / "x") == "x"
    assert listing(Path("-x")) == "ls -l ./-x"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_why_a_path_behind_a_link_to_nothing_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "good").symlink_to("here")
    (tmp_path / "bad").symlink_to("nowhere")
    assert dangling(tmp_path / "bad") == "is a link to `nowhere`, which is not there"
    assert (
        dangling(tmp_path / "bad" / "x") == f"{tmp_path / 'bad'} is a link to `nowhere`, which is not there"
    )
    with pytest.raises(JobError, match="bad is a link to `nowhere`, which is not there; allowed: a folder"):
        require_folder(tmp_path / "bad", "write", "cache")
    for name in ("here", "good", "none", "good/none"):
        assert dangling(tmp_path / name) is None


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_whole(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="Not a directory"):
        write_whole(tmp_path / "file/deep/er", b"one")


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "file", b"one")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"one"
    assert not (tmp_path / "file").is_symlink()


def test_a_temporary_name_that_is_taken_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_wanlora.files.secrets.token_hex", lambda count: "0" * 2 * count)
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".file-{'0' * 16}").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "file", b"one")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_new_file_has_the_usual_rights_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    name = "\N{HANGUL SYLLABLE GA}" * 80
    write_whole(tmp_path / name, b"one")
    assert (tmp_path / name).stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("read", [read_regular, file_sha256])
def test_only_regular_files_are_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "missing", "No such file"),
    ):
        with pytest.raises(OSError, match=words):
            read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(11))
    assert len(read_regular(tmp_path / "file", largest=11)) == 11
    with pytest.raises(OSError, match="larger than"):
        read_regular(tmp_path / "file", largest=10)


@pytest.mark.parametrize("text", ["[" * 300, "NaN", '{"a": Infinity}', "", b"\xff", '"\\ud800"', "1 2"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="at line 1"):
        parse_json(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_to_the_bit(value: float) -> None:
    assert parse_json(json.dumps([value])) == [value]


@pytest.mark.parametrize("text", ["~nosuchuser/x", "~~~", "a\0b"])
def test_a_home_that_there_is_not_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"home folder|NUL"):
        expand_home(text)
    assert expand_home("~") == Path.home()
    assert expand_home("./~nosuchuser/x") == Path("~nosuchuser/x")
