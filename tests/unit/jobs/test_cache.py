"""What is kept is given back, and nothing damaged is believed."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_wanlora import files
from pytest_wanlora.errors import JobError
from pytest_wanlora.files import json_sha256, write_whole
from pytest_wanlora.jobs import cache as cache_module
from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Applied, Job, Produced
from tests.unit.jobs.made import Counting, ensure, job, produced


class TestCache:
    def test_gives_back_what_was_stored(self, cache: Cache) -> None:
        cache.store(job(3), produced(job(3), seconds=1.5))
        result = cache.load(job(3), reused=True)
        assert result is not None
        assert result.scores == {"clip": 0.63, "sharpness": 100.0}
        assert (result.seconds, result.reused, result.key) == (1.5, True, job(3).key)
        assert result.applied == Applied(2, 2, 2, 1.0, 1.0, 0.1, "fused")
        assert result.preview is not None
        assert result.preview.read_bytes() == b"mp4"
        for name, array in produced(job(3)).features.items():
            np.testing.assert_array_equal(result.features[name], array)

    def test_has_nothing_for_another_job(self, cache: Cache) -> None:
        cache.store(job(3), produced(job(3)))
        assert cache.load(job(4), reused=True) is None

    @pytest.mark.parametrize("name", ["result.json", "features.safetensors"])
    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[: len(data) // 2],
            lambda data: data.replace(b"0", b"1", 1),
            lambda data: b"",
            lambda data: b"[]",
            lambda data: b"\xff" + data,
        ],
        ids=["cut", "one-byte", "empty", "other-json", "not-text"],
    )
    def test_renders_again_what_is_damaged(
        self,
        cache: Cache,
        board: Board,
        name: str,
        damage: Callable[[bytes], bytes],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        cache.store(job(), produced(job()))
        path = cache.folder / job().key / name
        path.write_bytes(damage(path.read_bytes()))
        render = Counting()
        result = ensure([job()], render, cache, board)[job().key]
        assert render.calls == [0]
        assert not result.reused
        assert "damaged" in caplog.text
        assert cache.load(job(), reused=True) is not None

    def test_a_picture_of_another_video_is_not_shown(self, cache: Cache) -> None:
        cache.store(job(), produced(job()))
        path = cache.folder / job().key / "preview.mp4"
        path.write_bytes(b"another video")
        assert cache.load(job(), reused=True) is None
        # nothing is measured on it, so a result without one is whole
        path.unlink()
        result = cache.load(job(), reused=True)
        assert result is not None
        assert result.preview is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"seed": 4},
            {"identity": "1" * 64},
            {"scale": 0.5},
            {"caption": "a dog"},
            {"prompt": "a dog"},
            {"shared": '{"suite":"t"}'},
        ],
    )
    def test_the_entry_of_another_job_is_not_taken(
        self, cache: Cache, board: Board, changes: dict[str, object], caplog: pytest.LogCaptureFixture
    ) -> None:
        other = job(**changes)  # type: ignore[arg-type]  # any field
        cache.store(other, produced(other))
        (cache.folder / other.key).rename(cache.folder / job().key)
        render = Counting()
        ensure([job()], render, cache, board)
        assert render.calls == [0]
        assert "it is the result of another job" in caplog.text

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"scores": {"clip": "high"}}, "scores.clip"),
            ({"scores": {}}, "has no scores or no features"),
            ({"scores": [1.0]}, "scores"),
            ({"frames_sha256": None}, "frames_sha256"),
            ({"applied": {"targets": 2}}, "applied"),
            ({"schema_version": 2}, "schema_version"),
            ({"more": 1}, "more"),
            ({"job": []}, "job"),
        ],
    )
    def test_an_entry_of_another_shape_is_not_taken(
        self,
        cache: Cache,
        board: Board,
        changes: dict[str, object],
        words: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        cache.store(job(), produced(job()))
        path = cache.folder / job().key / "result.json"
        document = {**json.loads(path.read_text()), **changes}
        document.pop("digest")
        path.write_text(json.dumps({**document, "digest": json_sha256(document)}))
        render = Counting()
        ensure([job()], render, cache, board)
        assert render.calls == [0]
        assert words in caplog.text

    @pytest.mark.parametrize(
        "features",
        [
            {"video": np.ones((2, 2), np.float32)},
            {"video": np.ones(2, np.float64)},
            {"video": np.full(2, np.nan, np.float32)},
            {"clip_frames": np.ones((2, 2), np.float32)},
            {"video": np.ones(0, np.float32)},
        ],
    )
    def test_features_of_another_shape_are_not_taken(
        self, cache: Cache, board: Board, features: dict[str, np.ndarray[Any, Any]]
    ) -> None:
        cache.store(job(), dataclasses.replace(produced(job()), features=features))
        render = Counting()
        ensure([job()], render, cache, board)
        assert render.calls == [0]

    @pytest.mark.parametrize("content", ["[" * 200_000, '{"digest":' * 2000, "1"])
    def test_json_of_any_depth_is_only_damage(self, cache: Cache, content: str) -> None:
        cache.store(job(), produced(job()))
        (cache.folder / job().key / "result.json").write_text(content)
        assert cache.load(job(), reused=True) is None

    def test_an_incomplete_entry_is_rendered_again(self, cache: Cache, board: Board) -> None:
        cache.store(job(), produced(job()))
        (cache.folder / job().key / "features.safetensors").unlink()
        render = Counting()
        ensure([job()], render, Cache(cache.folder, board.note_damage), board)
        assert render.calls == [0]
        assert len(list(board.folder.glob("*.damaged"))) == 1
        # another process of the run, which writes the record, reads it there
        (said,) = Board(board.folder).damage()
        assert said.startswith("1 result in the cache cannot be used, and the video must be rendered again: ")
        assert said.endswith(f"{job().label}: it is incomplete")

    def test_prompts_that_could_not_be_read_or_kept_are_noted_by_kind(
        self, cache: Cache, board: Board, tmp_path: Path
    ) -> None:
        told = [("unkept", "p/b", "disk full"), ("prompt", "p/c", "odd"), ("prompt", "p/a", "it is cut off")]

        def render(job: Job) -> Produced:
            return dataclasses.replace(produced(job), notes={"prompts": told})

        # each process of the run tells what it met with
        for who in ("gw0", "gw1"):
            each = Board(board.folder, who=who)
            ensure([job(int(who[-1]))], render, Cache(cache.folder, each.note_damage), each)
        assert board.damage() == (
            "2 prompt embeddings in the cache cannot be used, and the prompts had to be encoded again: "
            "the first, p/a: it is cut off",
            "prompt embeddings cannot be kept in the cache, and every process encodes the prompts anew: p/b: "
            "disk full",
        )
        board.note_prompts({"prompts": [("unkept", "a", "read-only")]}, node="gpu-7")
        assert board.damage()[1].endswith("anew: the first, gpu-7: a: read-only")

    def test_a_folder_left_by_a_dead_process_is_swept(self, cache: Cache) -> None:
        stale = cache.folder / f".new-{job().key}-1"
        stale.mkdir()
        cache.store(job(), produced(job()))
        assert not stale.exists()

    def test_a_score_that_is_not_finite_is_never_stored(self, cache: Cache) -> None:
        bad = dataclasses.replace(produced(job()), scores={"clip": float("nan")})
        with pytest.raises(ValueError, match="JSON"):
            cache.store(job(), bad)
        assert cache.load(job(), reused=True) is None

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(JobError) as caught:
            Cache(tmp_path / "file" / "cache").prepare()
        assert str(tmp_path / "file" / "cache") in caught.value.message
        assert caught.value.message.endswith(
            "file is a file; allowed: a folder, named with --wanlora-cache-dir"
        )
        assert caught.value.next_command == f"ls -l {tmp_path / 'file'}"

    def test_a_full_disk_is_named_and_leaves_nothing_behind(
        self, cache: Cache, board: Board, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, data: bytes) -> None:
            if path.suffix == ".safetensors":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            write_whole(path, data)

        monkeypatch.setattr(cache_module, "write_whole", full)
        with pytest.raises(JobError, match=r"(?s)No space left on device.*MiB are free") as caught:
            ensure([job()], produced, cache, board)
        assert str(caught.value.next_command).startswith("ls -ld ")
        assert [path.name for path in cache.folder.iterdir()] == [".locks"]

    def test_a_failing_board_does_not_hide_the_first_error(
        self, cache: Cache, board: Board, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        monkeypatch.setattr(files, "write_whole", full)
        with pytest.raises(JobError, match="No space left on device"):
            ensure([job()], produced, cache, board)
