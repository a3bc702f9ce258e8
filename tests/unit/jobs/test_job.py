"""A key changes with all that changes the pixels, and with nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora.errors import JobError
from tests.unit.jobs.made import job


class TestKey:
    def test_is_the_same_for_equal_jobs(self) -> None:
        assert job().key == job().key
        assert len(job().key) == 64

    @pytest.mark.parametrize(
        "change",
        [
            {"identity": "1" * 64},
            {"identity": None},
            {"scale": 0.5},
            {"prompt": "a dog"},
            {"caption": "a dog"},
            {"seed": 1},
            {"shared": '{"suite":"t"}'},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_changes_with_all_that_changes_pixels_or_scores(self, change: dict[str, Any]) -> None:
        assert job(**change).key != job().key

    @pytest.mark.parametrize(
        "change",
        [{"candidate": "y"}, {"scenario": "dog"}, {"category": "z"}, {"candidate_sha256": "2" * 64}],
        ids=lambda change: next(iter(change)),
    )
    def test_does_not_change_with_names(self, change: dict[str, Any]) -> None:
        assert job(**change).key == job().key

    def test_changes_with_the_content_of_the_input_image_not_its_place(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one.png", tmp_path / "two.png"
        one.write_bytes(b"1")
        two.write_bytes(b"1")
        assert job(input_image=one).key == job(input_image=two).key
        two.write_bytes(b"2")
        assert job(input_image=one).key != job(input_image=two).key != job().key

    def test_an_image_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(JobError, match=r"gone\.png: the scenario's input image cannot be read"):
            _ = job(input_image=tmp_path / "gone.png").key
