"""The folders of runs: each is found once, and `latest` is a convenience that never costs a run anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_wanlora.results.folders import point_latest, records
from pytest_wanlora.results.run_record import runs_so_far

SHA = "ab" * 32


def run(folder: Path, name: str, *, time: float) -> Path:
    path = folder / name / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"suite": {"name": "tiny"}, "candidates": [{"sha256": SHA}]}))
    os.utime(path, (time, time))
    return path


class TestRecords:
    def test_oldest_first_and_each_once_whatever_links_lead_to_it(self, tmp_path: Path) -> None:
        new, old = run(tmp_path, "b", time=20), run(tmp_path, "c", time=10)
        (tmp_path / "a-link").symlink_to("b")
        (tmp_path / "latest").symlink_to("b")
        assert records(tmp_path) == (old, new)
        assert runs_so_far(tmp_path, SHA, "tiny") == 2

    def test_a_run_that_only_a_link_leads_to_still_counts(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        run(elsewhere, "moved", time=1)
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "moved").symlink_to(elsewhere / "moved")
        assert records(tmp_path / "runs") == (tmp_path / "runs" / "moved" / "results.json",)
        assert runs_so_far(tmp_path / "runs", SHA, "tiny") == 1

    def test_of_the_same_time_the_later_name_is_newer(self, tmp_path: Path) -> None:
        paths = tuple(run(tmp_path, name, time=5) for name in ("20251111-1", "20251112-1"))
        assert records(tmp_path) == paths

    def test_broken_links_and_folders_that_are_being_deleted_are_no_runs(self, tmp_path: Path) -> None:
        (tmp_path / "latest").symlink_to("gone")
        (tmp_path / "round").symlink_to("round")
        run(tmp_path, ".old-0123abcd-x", time=1)
        assert records(tmp_path) == ()
        assert records(tmp_path / "nowhere") == ()


class TestLatest:
    def test_points_to_the_run_by_its_name_alone(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            run(tmp_path, name, time=1)
            point_latest(tmp_path / name)
            assert (tmp_path / "latest").readlink() == Path(name)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]
        moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
        assert (moved / "latest" / "results.json").is_file()

    def test_replaces_a_broken_link(self, tmp_path: Path) -> None:
        (tmp_path / "latest").symlink_to("gone")
        run(tmp_path, "one", time=1)
        point_latest(tmp_path / "one")
        assert (tmp_path / "latest").readlink() == Path("one")

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_what_is_no_link_keeps_the_name(self, tmp_path: Path, kind: str) -> None:
        latest = tmp_path / "latest"
        latest.write_text("mine") if kind == "file" else latest.mkdir()
        run(tmp_path, "one", time=1)
        point_latest(tmp_path / "one")
        assert latest.is_file() if kind == "file" else latest.is_dir()
        assert not latest.is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one"]

    @pytest.mark.parametrize(
        ("function", "error"),
        [
            ("symlink", OSError(1314, "A required privilege is not held by the client")),
            ("symlink", NotImplementedError("no links here")),
            ("replace", PermissionError(13, "Permission denied")),
        ],
    )
    def test_where_no_link_can_be_made_there_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(os, function, refuse)
        run(tmp_path, "one", time=1)
        point_latest(tmp_path / "one")
        assert [path.name for path in tmp_path.iterdir()] == ["one"]
