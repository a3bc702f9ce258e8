"""`clean`: what it deletes first, what it never deletes, and what it says."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wanlora import cleaning, cli, files, results
from pytest_wanlora.cli.clean import parse_size, shown_size
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.jobs.cache import Cache
from tests.unit.jobs.made import job, produced
from tests.unit.reports import gated

DAY = 24 * 3600.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cache(home: Path) -> Iterator[Cache]:
    """A cache of five videos of 100 kB; the one of seed 0 was not used for the longest time."""
    cache = Cache(home / ".wanlora" / "cache")
    cache.prepare()
    for seed in range(5):
        stored = job(seed, candidate="base" if seed < 2 else "epoch-2")
        cache.store(stored, produced(stored))
        folder = cache.folder / stored.key
        held = sum(path.stat().st_size for path in folder.iterdir())
        with (folder / "preview.mp4").open("ab") as file:
            file.write(bytes(100_000 - held))
        _state_preview(folder)
        age(folder, days=10 - seed)
    cache.close()
    yield cache
    cache.close()


def _state_preview(folder: Path) -> None:
    """Write the digest of the preview into a result as the cache does; its size stays the same."""
    path = folder / "result.json"
    document = files.parse_json(path.read_bytes())
    del document["digest"]
    document["preview_sha256"] = files.file_sha256(folder / "preview.mp4")
    files.write_json(path, document | {"digest": files.json_sha256(document)})


def age(path: Path, *, days: float) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2)


def seeds(cache: Cache) -> list[int]:
    return [seed for seed in range(5) if (cache.folder / job(seed).key / "result.json").exists()]


def clean(*arguments: str) -> int:
    return cli.main(["clean", *arguments])


def add_run(folder: Path, name: str, *, days: float) -> Path:
    run = folder / name
    results.write(gated.record().model_copy(update={"run_id": name}), run / "results.json")
    signed = ("receipt.json", "receipt.json.sig", "receipt.json.sigstore")
    for each in ("report.html", "report.md", "report.ko.md", *signed, "model-card.md"):
        (run / each).write_text("x" * 100)
    (run / "samples").mkdir()
    (run / "samples" / "test2_nature-0.mp4").write_bytes(b"mp4")
    age(run / "results.json", days=days)
    return run


@pytest.fixture
def runs(home: Path) -> Path:
    folder = home / ".wanlora" / "runs"
    for number in range(4):
        add_run(folder, f"2026110{number}-120000-7-epoch-2", days=10 - number)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("20GB", 20 * 10**9),
            ("20 gb", 20 * 10**9),
            (" 1.5TB ", 15 * 10**11),
            ("500MiB", 500 * 2**20),
            ("2GiB", 2 * 2**30),
            ("1kB", 1000),
            ("3PB", 3 * 10**15),
            ("7B", 7),
            ("0", 0),
            ("0.0", 0),
            ("0GB", 0),
            ("0.3B", 0),
        ],
    )
    def test_are_read(self, text: str, size: int) -> None:
        assert parse_size(text) == size

    @pytest.mark.parametrize(
        "text",
        [
            *("", " ", "20", "20G", "20 X", "GB", "-1GB", "+1GB", "1,5GB", "1e3GB", "inf", "nan", "nanGB"),
            *(
                "0x10GB",
                "1..5GB",
                ".5GB",
                "20GB5",
                "20GB 5MB",
                "²GB",
                "\u0662\u0660GB",
                "1_000GB",
                "20 G B",
                "20GB\0",
            ),
            "9" * 400 + "GB",
        ],
    )
    def test_are_refused_in_one_message(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SettingsError, match=r"--keep-size: .*is not a size; allowed: .*20GB") as caught:
            parse_size(text)
        command = shlex.split(str(caught.value.next_command))
        assert command[:4] == ["python", "-m", "pytest_wanlora", "clean"]
        parse_size(command[command.index("--keep-size") + 1])

    @pytest.mark.parametrize(
        ("size", "shown"),
        [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (198_300_000_000, "198.3 GB"), (10**18, "1000.0 PB")],
    )
    def test_are_shown(self, size: int, shown: str) -> None:
        assert shown_size(size) == shown

    @pytest.mark.parametrize("text", ["-1", "x", "1.5", "\u0663", "1e3"])
    def test_a_count_is_a_whole_number(
        self, text: str, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert clean(f"--keep-runs={text}") == 4
        assert f"--keep-runs: {text!r} is not allowed; allowed: a whole number" in capsys.readouterr().err
        assert len(names(runs)) == 4


class TestCache:
    def test_without_a_limit_nothing_is_deleted_and_the_next_command_does_what_it_says(
        self, cache: Cache, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert clean() == 0
        printed = capsys.readouterr().out
        assert ".wanlora/cache: 500.0 kB, 5 videos, last used from 20" in printed
        assert re.search(r"\.wanlora/runs: \S+ kB, 4 runs with a record", printed)
        assert "nothing was deleted: no limit was given" in printed
        command = shlex.split(printed.splitlines()[-1].removeprefix("next: "))
        assert cli.main(command[3:]) == 0
        assert "would delete 0 entries, 0 B" in capsys.readouterr().out
        assert seeds(cache) == [0, 1, 2, 3, 4]
        assert len(names(runs)) == 4

    @pytest.mark.parametrize(
        ("limit", "left"),
        [
            ("500kB", [0, 1, 2, 3, 4]),
            ("499kB", [1, 2, 3, 4]),
            ("300kB", [2, 3, 4]),
            ("299999B", [3, 4]),
            ("100kB", [4]),
            ("0", []),
        ],
    )
    def test_what_was_not_used_for_the_longest_time_is_deleted_first(
        self, cache: Cache, limit: str, left: list[int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert clean("--keep-size", limit, "--dry-run") == 0
        dry = capsys.readouterr().out
        assert seeds(cache) == [0, 1, 2, 3, 4]
        assert clean("--keep-size", limit) == 0
        assert seeds(cache) == left
        done = capsys.readouterr().out
        # the dry run says the same
        assert dry.replace("would delete", "deleted").replace("would stay", "stay") == done
        count = 5 - len(left)
        assert f"deleted {count} entr{'y' if count == 1 else 'ies'}, {shown_size(count * 100_000)}" in done
        assert f"{shown_size(len(left) * 100_000)} stay" in done
        assert not [name for name in names(cache.folder) if name.startswith(files.DELETED)]

    def test_says_whose_videos_went(self, cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
        clean("--keep-size", "200kB")
        printed = capsys.readouterr().out
        assert "    base: 2 entries\n    epoch-2: 1 entry\n" in printed

    def test_what_a_run_reads_counts_as_used(self, cache: Cache) -> None:
        assert cache.load(job(0, candidate="base"), reused=True) is not None
        clean("--keep-size", "200kB")
        assert seeds(cache) == [0, 4]

    def test_what_is_left_is_whole(self, cache: Cache) -> None:
        clean("--keep-size", "200kB")
        assert cache.load(job(4, candidate="epoch-2"), reused=True) is not None
        assert cache.load(job(0, candidate="base"), reused=True) is None

    def test_what_all_runs_share_counts_and_is_kept(
        self, cache: Cache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("prompts/a.safetensors", "compiled/x/y.so"):
            path = cache.folder / name
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes(100_000))
        (cache.folder / "compiled" / "link").symlink_to("/")
        assert clean("--keep-size", "400kB") == 0
        assert seeds(cache) == [3, 4]
        assert "200.0 kB of it are prompt embeddings and compiled code" in capsys.readouterr().out
        assert clean("--keep-size", "100kB") == 1
        captured = capsys.readouterr()
        assert (
            "still above 100.0 kB: 200.0 kB are prompt embeddings and compiled code, which clean"
            in captured.err
        )
        command = captured.err.rpartition("next: python -m pytest_wanlora clean ")[2].split()
        assert clean(*command[2:]) == 0
        assert seeds(cache) == []
        assert (cache.folder / "prompts/a.safetensors").exists()
        assert (cache.folder / "compiled/x/y.so").exists()

    def test_what_is_kept_of_pictures_goes_like_videos(
        self, cache: Cache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = cache.folder / "pictures"
        folder.mkdir()
        old, new, left = (
            folder / name.format("a" * 63)
            for name in ("{}1.safetensors", "{}2.safetensors", ".{}3.safetensors-0f")
        )
        for path, days in ((old, 300), (new, -1), (left, 300)):
            path.write_bytes(bytes(50_000))
            age(path, days=days)
        (folder / "notes.txt").write_text("mine")
        assert clean() == 0
        told = capsys.readouterr().out
        assert "100.0 kB of it are made of the pictures and clips of subjects" in told
        assert "5 videos" in told
        assert clean("--keep-size", "200kB") == 0
        assert names(folder) == [new.name, "notes.txt"]
        assert "    pictures of subjects: 1 entry" in capsys.readouterr().out
        assert seeds(cache) == [4]

    def test_leftovers_of_processes_that_died_go_first(self, cache: Cache) -> None:
        stale, fresh = (cache.folder / f".new-{job(seed).key}-{seed}" for seed in (7, 8))
        half = cache.folder / f"{files.DELETED}0123abcd-{job(9).key}"
        for folder in (stale, fresh, half):
            folder.mkdir()
            (folder / ".preview.mp4-7").write_bytes(bytes(50_000))
        age(stale, days=1)
        age(half, days=1)
        # a process may be writing into the fresh one now
        assert clean("--keep-size", "550kB") == 0
        assert not stale.exists()
        assert not half.exists()
        assert fresh.exists()
        assert seeds(cache) == [0, 1, 2, 3, 4]


class TestInUse:
    def test_a_run_keeps_what_it_stored_or_read_and_nothing_else(
        self, cache: Cache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        another = Cache(cache.folder)
        another.prepare()
        another.load(job(1, candidate="base"), reused=True)
        stored = job(4, candidate="epoch-2", prompt="another")
        another.store(stored, produced(stored))
        half = cache.folder / f".new-{job(9).key}-7"
        half.mkdir()
        age(half, days=1)
        assert clean("--keep-size", "0") == 1
        assert seeds(cache) == [1]
        assert (cache.folder / stored.key).exists()
        assert half.exists()
        assert "in use by a run" in capsys.readouterr().err
        another.close()
        assert clean("--keep-size", "0") == 0
        assert not (cache.folder / stored.key).exists()
        assert not half.exists()

    def test_a_run_that_died_protects_nothing(self, cache: Cache) -> None:
        (cache.locks / "run-1-0123abcd.lock").touch()
        assert clean("--keep-size", "0") == 0
        assert seeds(cache) == []

    def test_a_claimed_job_is_kept(self, cache: Cache) -> None:
        with cache.claim(job(0).key) as claimed:
            assert claimed
            assert clean("--keep-size", "100kB", "--dry-run") == 0
            assert clean("--keep-size", "100kB") == 0
        assert seeds(cache) == [0]

    def test_what_is_used_between_the_look_and_the_deletion_is_kept(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        choose = cleaning.choose

        def then_read(*arguments: object) -> tuple[cleaning.Entry, ...]:
            chosen = choose(*arguments)  # type: ignore[arg-type]  # passed on as they came
            assert cache.load(job(0, candidate="base"), reused=True) is not None
            return chosen

        monkeypatch.setattr(cleaning, "choose", then_read)
        assert clean("--keep-size", "300kB") == 1
        assert seeds(cache) == [0, 2, 3, 4]

    def test_the_cache_can_store_what_is_deleted_meanwhile(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # another process deletes the old entry after this one has seen it
        stored = job(0, candidate="base")
        monkeypatch.setattr(Path, "exists", lambda path: True)
        files.delete_whole(cache.folder / stored.key)
        cache.store(stored, produced(stored))
        assert cache.load(stored, reused=True) is not None


class TestOthers:
    """What is not recognised by its content stays."""

    def test_folders_that_are_no_entries_stay(
        self, cache: Cache, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        precious = home / "precious"
        precious.mkdir()
        (precious / "film.mp4").write_bytes(b"mine")
        keys = [job(seed).key for seed in range(5)]
        # a link in place of an entry, and one in place of a file
        (cache.folder / keys[0] / "preview.mp4").unlink()
        (cache.folder / keys[0] / "preview.mp4").symlink_to(precious / "film.mp4")
        (cache.folder / ("a" * 64)).symlink_to(precious)
        # a file that the gate did not write
        (cache.folder / keys[1] / "notes.txt").write_text("mine")
        # another job's document, and no JSON
        text = (cache.folder / keys[3] / "result.json").read_text()
        (cache.folder / keys[2] / "result.json").write_text(text)
        (cache.folder / keys[3] / "result.json").write_text("{")
        (cache.folder / "photos").mkdir()
        (cache.folder / "photos" / "result.json").write_text(text)
        (cache.folder / "file").write_text("mine")
        assert clean("--keep-size", "0") == 0
        assert seeds(cache) == [0, 1, 2, 3]
        assert (cache.folder / keys[1] / "notes.txt").read_text() == "mine"
        assert (precious / "film.mp4").read_bytes() == b"mine"
        assert {"photos", "file", "a" * 64} <= set(names(cache.folder))
        assert "left alone: 7 others such as" in capsys.readouterr().out

    @pytest.mark.parametrize("option", ["--cache-dir", "--runs"])
    def test_a_wrong_folder_is_refused_before_anything_is_deleted(
        self, cache: Cache, runs: Path, home: Path, option: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wrong = home / "photos"
        (wrong / "2026").mkdir(parents=True)
        (wrong / "2026" / "results.json").write_text("{}")
        assert clean(option, "photos", "--keep-size", "0", "--keep-runs", "0") == 4
        captured = capsys.readouterr()
        assert captured.err.startswith(f"{option}: 'photos' is not ")
        assert "(1, such as '2026'); nothing was deleted; allowed: the folder that --wanlora-" in captured.err
        assert captured.err.endswith("next: ls -l photos\n")
        assert captured.out == ""
        assert (seeds(cache), len(names(runs)), names(wrong)) == ([0, 1, 2, 3, 4], 4, ["2026"])

    @pytest.mark.parametrize(
        ("option", "given", "meant"),
        [
            ("--cache-dir", ".", ".wanlora/cache"),
            ("--cache-dir", ".wanlora", ".wanlora/cache"),
            ("--runs", ".", ".wanlora/runs"),
            ("--runs", ".wanlora", ".wanlora/runs"),
        ],
    )
    def test_a_folder_above_is_refused_and_the_next_command_names_the_right_one(
        self,
        cache: Cache,
        runs: Path,
        option: str,
        given: str,
        meant: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert clean(option, given, "--keep-size", "0", "--keep-runs", "0") == 4
        command = shlex.split(capsys.readouterr().err.splitlines()[-1].removeprefix("next: "))
        assert command == ["python", "-m", "pytest_wanlora", "clean", option, meant]
        assert cli.main(command[3:]) == 0
        assert (seeds(cache), len(names(runs))) == ([0, 1, 2, 3, 4], 4)

    @pytest.mark.parametrize("option", ["--cache-dir", "--runs"])
    @pytest.mark.parametrize("name", ["nowhere", "file", ""])
    def test_what_is_no_folder_is_refused(
        self, cache: Cache, runs: Path, home: Path, option: str, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (home / "file").write_bytes(b"")
        assert clean(f"{option}={name}", "--keep-size", "0", "--keep-runs", "0") == 4
        assert capsys.readouterr().err.startswith(f"{option}: ")
        assert (seeds(cache), len(names(runs))) == ([0, 1, 2, 3, 4], 4)

    def test_the_caches_of_two_kinds_are_not_mistaken_for_each_other(self, cache: Cache, runs: Path) -> None:
        assert clean("--cache-dir", ".wanlora/runs", "--keep-size", "0") == 4
        assert clean("--runs", ".wanlora/cache", "--keep-runs", "0") == 4
        assert (seeds(cache), len(names(runs))) == ([0, 1, 2, 3, 4], 4)

    def test_the_other_folder_is_cleaned_where_one_is_missing(
        self, cache: Cache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert clean("--keep-size", "100kB", "--keep-runs", "0") == 0
        assert ".wanlora/runs: not here, so there is nothing to delete" in capsys.readouterr().out
        assert seeds(cache) == [4]

    def test_where_there_is_nothing_to_clean_says_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert clean("--keep-size", "20GB") == 4
        assert "neither .wanlora/cache nor .wanlora/runs is in " in capsys.readouterr().err

    def test_a_cache_that_is_a_link_to_a_larger_disk_is_cleaned(self, cache: Cache, home: Path) -> None:
        disk = cache.folder.rename(home / "disk")
        (home / ".wanlora" / "cache").symlink_to(disk)
        assert clean("--keep-size", "100kB") == 0
        assert seeds(Cache(disk)) == [4]
        assert (home / ".wanlora" / "cache").is_symlink()

    def test_what_cannot_be_deleted_is_named_and_the_rest_is(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stuck = Path(".wanlora", "cache", job(1).key)

        def refuse(folder: Path) -> None:
            if folder == stuck:
                raise PermissionError(13, "Permission denied", str(folder))
            files.delete_whole(folder)

        monkeypatch.setattr(cleaning, "delete_whole", refuse)
        assert clean("--keep-size", "0") == 1
        assert seeds(cache) == [1]
        assert f"{stuck} was not deleted: [Errno 13] Permission denied" in capsys.readouterr().err


class TestRuns:
    def test_the_oldest_are_deleted_and_named(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (runs / "latest").symlink_to("20261103-120000-7-epoch-2")
        assert clean("--keep-runs", "1", "--dry-run") == 0
        assert len(names(runs)) == 5
        dry = capsys.readouterr().out
        assert clean("--keep-runs", "1") == 0
        done = capsys.readouterr().out
        assert dry.replace("would delete", "deleted") == done
        assert names(runs) == ["20261103-120000-7-epoch-2", "latest"]
        assert "deleted 3 runs" in done
        for number in range(3):
            assert f"    2026110{number}-120000-7-epoch-2: " in done
        assert "receipts count the runs that are still there" in done

    def test_a_link_to_a_deleted_run_goes_too(self, runs: Path) -> None:
        (runs / "latest").symlink_to("20261103-120000-7-epoch-2")
        assert clean("--keep-runs", "0") == 0
        assert names(runs) == []

    @pytest.mark.parametrize("number", [4, 5, 999_999_999])
    def test_fewer_than_the_number_stay(self, runs: Path, number: int) -> None:
        assert clean("--keep-runs", str(number)) == 0
        assert len(names(runs)) == 4

    def test_what_holds_anything_else_stays(self, runs: Path, home: Path) -> None:
        kept = [add_run(runs, name, days=30) for name in ("a", "b", "c", "d", "e")]
        (kept[0] / "notes.txt").write_text("mine")
        (kept[1] / "samples" / "lora.safetensors").write_text("mine")
        (kept[2] / "report.html").unlink()
        (kept[2] / "report.html").symlink_to(home)
        (kept[3] / "results.json").write_text('{"schema_version": 1}')
        # a run that has written its record and is writing its reports
        (kept[4] / "board").mkdir()
        (runs / "f").symlink_to(runs / "20261103-120000-7-epoch-2")
        assert clean("--keep-runs", "0") == 0
        assert names(runs) == ["a", "b", "c", "d", "e", "f"]
        assert (kept[0] / "results.json").exists()

    def test_a_run_in_progress_is_no_wrong_folder(self, home: Path) -> None:
        board = home / ".wanlora" / "runs" / "20261104-120000-7-epoch-2" / "board"
        board.mkdir(parents=True)
        assert clean("--keep-runs", "0") == 0
        assert board.is_dir()

    def test_a_run_that_died_long_ago_is_deleted(self, runs: Path) -> None:
        board = runs / "20261100-120000-7-epoch-2" / "board"
        board.mkdir()
        (board / "plan.json").write_text("{}")
        age(board, days=2)
        assert clean("--keep-runs", "3") == 0
        assert len(names(runs)) == 3
        assert not board.exists()

    def test_an_interrupted_deletion_is_finished(self, runs: Path) -> None:
        half = runs / f"{files.DELETED}0123abcd-20261009-120000-7-epoch-2"
        half.mkdir()
        (half / "report.md").write_text("x")
        assert clean("--keep-runs", "4") == 0
        assert not half.exists()
        assert len(names(runs)) == 4
