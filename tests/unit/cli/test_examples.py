"""`examples`: what it writes, and what it never overwrites."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint, cli

ROOT = Path(__file__).parents[3]
OLD = ["epoch-0-metadata.csv", "epoch-0.safetensors", "epoch-1.safetensors", "epoch-2.safetensors"]
NAMES = [
    *OLD,
    "from-first-frame.safetensors",
    "pair/cities_high_noise.safetensors",
    "pair/cities_low_noise.safetensors",
]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_into_the_current_folder_and_names_the_next_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["examples"]) == 0
    assert names(folder) == NAMES
    assert capsys.readouterr().out.splitlines()[-1] == "next: pytest --lora epoch-2.safetensors"
    for name in NAMES:
        # the repository's own examples are the same files
        where = "examples" if name in OLD else "pytest_wanlora/examples"
        assert (folder / name).read_bytes() == (ROOT / where / name).read_bytes()
        assert not (folder / name).is_symlink()


@pytest.mark.parametrize("name", ["new", "new/below", "with blank"])
def test_writes_into_a_folder_and_names_a_file_that_exists(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["examples", name]) == 0
    assert names(folder / name) == NAMES
    *_, last = capsys.readouterr().out.splitlines()
    words = shlex.split(last.removeprefix("next: "))
    assert words[:2] == ["pytest", "--lora"]
    assert checkpoint.read(Path(words[2])).problems == ()


def test_what_is_there_already_is_left_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["examples"])
    (folder / "epoch-1.safetensors").unlink()
    before = (folder / "epoch-0.safetensors").stat()
    capsys.readouterr()
    assert cli.main(["examples"]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall("is there already", printed)) == len(NAMES) - 1
    assert "epoch-1.safetensors written" in printed
    assert (folder / "epoch-0.safetensors").stat().st_mtime_ns == before.st_mtime_ns


def _file(path: Path) -> None:
    path.write_bytes(b"mine")


def _folder(path: Path) -> None:
    path.mkdir()


def _broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def _link(path: Path) -> None:
    path.with_name("other").write_bytes(b"mine")
    path.symlink_to("other")


@pytest.mark.parametrize("occupy", [_file, _folder, _broken_link, _link])
@pytest.mark.parametrize("name", ["epoch-0.safetensors", "epoch-2.safetensors"])
def test_nothing_is_written_where_another_file_has_a_name(
    folder: Path, name: str, occupy: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    occupy(folder / name)
    before = names(folder)
    assert cli.main(["examples"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{name}: ")
    assert "\nnext: python -m pytest_wanlora examples wanlora-examples" in captured.err
    assert names(folder) == before
    assert not (folder / "nowhere").exists()
    if occupy is _link:
        assert (folder / "other").read_bytes() == b"mine"


def test_a_file_in_place_of_the_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_bytes(b"")
    assert cli.main(["examples", "file"]) == 4
    assert "file/epoch-0-metadata.csv: cannot be written: Not a directory" in capsys.readouterr().err


def test_a_full_disk_leaves_no_part_of_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.FileIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode.replace("b", "")))
    assert cli.main(["examples"]) == 4
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert names(folder) == []
