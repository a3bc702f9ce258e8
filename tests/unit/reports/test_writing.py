"""All reports beside the record: each is there, or one line says why not, and the others are there still."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest

from pytest_wanlora.errors import RecordError
from pytest_wanlora.publishing import receipt
from pytest_wanlora.publishing.verify import Demands, signature_path, verify
from pytest_wanlora.reports import html, markdown, markdown_filters, model_card
from pytest_wanlora.reports.writing import prepare, write_all
from tests.unit.reports import gated

ALL = {"model-card.md", "receipt.json", "report.html", "report.ko.md", "report.md"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder, with the previews that the record names in the cache."""
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    for video in gated.videos():
        if video.preview is not None:
            path = run / video.preview
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"mp4 of {video.scenario} {video.seed}".encode())
    return run


def breaking(message: str, error: type[Exception] = KeyError) -> Any:  # noqa: ANN401 - takes any call
    def broken(*_: object, **__: object) -> NoReturn:
        raise error(message)

    return broken


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_every_report_is_written(folder: Path) -> None:
    written = write_all(gated.record(), folder)
    assert written.problems == ()
    assert not written.unsigned
    assert {path.name for path in written.paths} == ALL
    assert {path.name for path in folder.iterdir()} == {*ALL, "samples"}
    assert all(path.stat().st_size > 0 for path in written.paths)


def test_what_was_prepared_is_not_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    html.environment.cache_clear()
    markdown_filters.environment.cache_clear()
    prepare()
    monkeypatch.setattr("jinja2.Environment.compile", breaking("compiled after all"))
    assert write_all(gated.record(), folder).problems == ()


def test_the_receipt_verifies(folder: Path) -> None:
    write_all(gated.record(), folder)
    checkpoint = gated.checkpoint_file(folder.parent)
    assert verify(folder / "receipt.json", checkpoint, Demands()).verified


def test_the_page_s_other_videos_are_copied_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "../../cache/test1_city0/preview.mp4"
    made = html.Made("<!doctype html>", {"./videos/a.mp4": source})
    monkeypatch.setattr(html, "made", lambda *_: made)
    assert write_all(gated.record(), folder).problems == ()
    assert (folder / "videos" / "a.mp4").read_bytes() == source.read_bytes()


def test_sample_videos_are_copied_beside_the_card(folder: Path) -> None:
    write_all(gated.record(), folder)
    text = (folder / "model-card.md").read_text()
    urls = re.findall(r"url: (\S+)", text)
    assert [(folder / url).read_bytes() for url in urls] == [b"mp4 of test1_city 0", b"mp4 of test2_nature 0"]


def test_a_video_that_is_gone_is_not_shown(folder: Path) -> None:
    (folder / "../../cache/test1_city0/preview.mp4").unlink()
    written = write_all(gated.record(), folder)
    assert not [problem for problem in written.problems if "model-card" in problem]
    text = (folder / "model-card.md").read_text()
    assert "test1_city-0.mp4" not in text
    assert "test2_nature-0.mp4" in text


def test_several_checkpoints_have_a_receipt_and_a_card_each(folder: Path) -> None:
    written = write_all(gated.several("epoch-1", "epoch-2"), folder)
    assert {path.name for path in written.paths} == {
        *(f"receipt-epoch-{n}.json" for n in (1, 2)),
        *(f"model-card-epoch-{n}.md" for n in (1, 2)),
        *("report.html", "report.md", "report.ko.md"),
    }


def test_a_checkpoint_that_may_not_be_published_has_a_card_if_asked(folder: Path) -> None:
    refused = gated.card().model_copy(update={"publishable": False})
    for asked in (False, True):
        written = write_all(gated.record(candidates=(refused,)), folder, all_cards=asked)
        assert ("model-card.md" in {path.name for path in written.paths}) is asked


def test_the_model_without_lora_has_nothing_to_report(folder: Path) -> None:
    base = gated.card().model_copy(update={"sha256": None, "checkpoint": None, "publishable": False})
    written = write_all(gated.record(candidates=(base,)), folder)
    assert (written.paths, written.problems) == ((), ())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "name", "file"),
    [
        (html, "made", "report.html"),
        (markdown, "page", "report.md"),
        (receipt, "statement", "receipt.json"),
        (model_card, "fragment", "model-card.md"),
    ],
)
def test_a_view_that_fails_costs_one_line_and_no_other(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    file: str,
) -> None:
    monkeypatch.setattr(module, name, breaking("two\nlines \x1b[2J"))
    written = write_all(gated.record(), folder)
    lost = {"report.md", "report.ko.md"} if module is markdown else {file}
    assert {path.name for path in written.paths} == ALL - lost
    assert {path.name for path in folder.iterdir()} == (ALL - lost) | {"samples"}
    assert len(written.problems) == len(lost)
    assert written.problems[0].startswith(f"{file} was not written: KeyError: ")
    assert all(problem.isprintable() for problem in written.problems)
    assert not written.unsigned


def test_a_known_error_is_told_in_its_own_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "made", breaking("the folder is full", RecordError))
    assert write_all(gated.record(), folder).problems == ("report.html was not written: the folder is full",)


def test_a_folder_that_cannot_be_written_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    written = write_all(gated.record(), tmp_path / "file" / "run", sign_key=None)
    assert written.paths == ()
    assert len(written.problems) == len(ALL) + 1
    assert {problem.partition(": ")[2] for problem in written.problems[:-1]} == {
        f"Not a directory: {tmp_path / 'file' / 'run'}"
    }
    assert written.problems[-1] == f"next: ls -l {tmp_path / 'file'}"


def test_a_full_disk_is_said_as_one_with_the_next_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pytest_wanlora.reports.writing.write_whole", full)
    monkeypatch.chdir(folder.parent)
    record = gated.record(command=("pytest", "--lora", "epoch 2.safetensors"))
    *problems, following = write_all(record, folder).problems
    assert "report.html was not written: No space left on device" in problems
    assert len(problems) == len(ALL)
    assert following == (
        "next: free space where df -h one shows none, then pytest --lora 'epoch 2.safetensors'"
    )


class TestSigning:
    def test_the_signature_lies_beside_the_receipt(self, folder: Path, key: Path) -> None:
        written = write_all(gated.record(), folder, sign_key=key)
        assert not written.unsigned
        assert {path.name for path in written.paths} == {*ALL, "receipt.json.sig", "receipt.json.sigstore"}
        signers = folder.parent / "signers"
        signers.write_text(f"me {key.with_suffix('.pub').read_text()}")
        found = verify(
            folder / "receipt.json",
            gated.checkpoint_file(folder.parent),
            Demands(allowed_signers=signers, signer="me"),
        )
        assert found.verified
        assert found.signed

    def test_a_key_that_fails_leaves_no_receipt_at_all(self, folder: Path) -> None:
        written = write_all(gated.record(), folder, sign_key=folder / "no-key")
        assert written.unsigned
        assert {path.name for path in written.paths} == ALL - {"receipt.json"}
        problem, following = written.problems
        assert problem.startswith("receipt.json was not written: --wanlora-sign-key")
        assert following.startswith("next: ")
        assert not list(folder.glob("receipt*"))

    def test_a_receipt_that_fails_is_an_unsigned_one(
        self, folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receipt, "statement", breaking("a bug"))
        assert write_all(gated.record(), folder, sign_key=key).unsigned

    def test_each_of_several_is_signed(self, folder: Path, key: Path) -> None:
        write_all(gated.several("epoch-1", "epoch-2"), folder, sign_key=key)
        for number in (1, 2):
            assert signature_path(folder / f"receipt-epoch-{number}.json").is_file()


def test_receipts_are_the_same_bytes_for_the_same_record(folder: Path, tmp_path: Path) -> None:
    write_all(gated.record(), folder)
    (tmp_path / "again").mkdir()
    write_all(gated.record(), tmp_path / "again")
    first, second = (each / "receipt.json" for each in (folder, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_bytes())["subject"][0]["digest"]["sha256"] == gated.SHA
