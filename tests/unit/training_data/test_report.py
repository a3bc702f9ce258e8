from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wanlora.training_data.report import Report, build, report_lines
from pytest_wanlora.training_data.videos import Target, read_clips
from tests.unit.training_data.sets import CAPTIONS, prompts, survey, write_csv, write_prompts
from tests.unit.training_data.test_videos import video


def report_on(path: Path, *, check_videos: bool = False, near: bool = True) -> Report:
    found = survey(path, check_videos=check_videos, near=near)
    return build(found, found.duplicates(), threshold=0.8)


def test_shares_are_right_to_the_row(tmp_path: Path) -> None:
    report = report_on(write_prompts(tmp_path / "m.csv", prompts(urban=80, nature=10, action=7, other=3)))
    assert report.shares == {"action": 0.07, "urban": 0.8, "nature": 0.1, "other": 0.03}
    assert report.rows == 100
    assert (report.undecided, report.ties, report.without_prompt) == (0, 0, 0)
    assert report.repeats.exact == report.repeats.near == 0


def test_rows_without_a_prompt_are_counted_apart(tmp_path: Path) -> None:
    report = report_on(write_prompts(tmp_path / "m.csv", ["a tram", "", "NA", "a forest"]))
    assert report.without_prompt == 2
    assert report.shares["urban"] == report.shares["nature"] == 0.5
    assert sum(report.languages.values()) == 2


def test_a_set_without_any_prompt_has_no_shares(tmp_path: Path) -> None:
    report = report_on(write_prompts(tmp_path / "m.csv", ["", ""]))
    assert set(report.shares.values()) == {0.0}
    assert "2 rows have no prompt" in "\n".join(report_lines(report))


def test_lengths_languages_repeats_and_undecided(tmp_path: Path) -> None:
    long = "A yellow tram climbs a steep street of the old town in the evening light"
    texts = [
        "a tram",
        "a trams line",
        "벚꽃",
        "lorem ipsum",
        long,
        long,
        long.replace("yellow", "red"),
        "雪山",
    ]
    report = report_on(write_prompts(tmp_path / "m.csv", texts))
    assert report.languages == {"en": 6, "ko": 1, "zh": 1}
    assert report.category_by_language["nature"] == {"en": 0, "ko": 1, "zh": 1}
    assert (report.lengths["en"].least, report.lengths["en"].most) == (6, len(long))
    assert (report.repeats.exact, report.repeats.near) in ((1, 1), (0, 2))
    assert report.repeats.largest[0].rows == 3
    assert report.undecided == 1
    assert report.undecided_examples == ("lorem ipsum",)


def test_near_duplicates_that_were_not_looked_for_are_not_zero(tmp_path: Path) -> None:
    report = report_on(write_prompts(tmp_path / "m.csv", ["a tram", "a tram"]), near=False)
    assert report.repeats.near is None
    assert report.repeats.exact == 1
    assert "near: not looked for" in "\n".join(report_lines(report))


def test_broken_and_repeated_videos(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    rows = [("a.mp4", "a tram"), ("a.mp4", "a forest"), ("b.mp4", "a chef"), ("", "a boxer"), ("", "a lake")]
    report = report_on(write_csv(tmp_path / "m.csv", rows), check_videos=True)
    assert report.videos == {"present": 2, "nameless": 2, "missing": 1}
    assert report.broken == 3
    assert report.repeats.videos == 1
    assert report.broken_examples == (
        "line 4: b.mp4: missing",
        "line 5: (no name): nameless",
        "line 6: (no name): nameless",
    )


def test_videos_at_urls_are_told_of(tmp_path: Path) -> None:
    rows = [("https://host/a.mp4", "a tram"), ("s3://host/b.mp4", "a forest")]
    report = report_on(write_csv(tmp_path / "m.csv", rows), check_videos=True)
    assert report.videos == {"remote": 1, "unsupported": 1}
    said = "\n".join(report_lines(report))
    assert "remote: a URL such as line 2: https://host/a.mp4; DiffSynth fetches it while it trains" in said
    assert "the training would stop at line 3: s3://host/b.mp4: unsupported" in said
    assert "or URLs that begin with http:// or https://" in said


def test_files_are_read_and_rounded(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 9)
    video(tmp_path / "b.mp4", 6, (96, 48))
    (tmp_path / "c.mp4").write_bytes(b"no video")
    path = write_csv(tmp_path / "m.csv", [(f"{name}.mp4", "a tram") for name in "abcd"])
    told: list[float] = []
    found = survey(path, check_videos=True)
    report = build(found, found.duplicates(), threshold=0.8)
    clips = read_clips(
        [tmp_path / f"{name}.mp4" for name in "abc"],
        Target(48, 64, frames=9, multiple=16),
        progress=lambda _, share: told.append(share),
    )
    assert (clips.read, clips.unreadable) == (2, 1)
    assert clips.sizes == {"64x48": 1, "96x48": 1}
    assert clips.frames == {9: 1, 6: 1}
    assert (clips.enlarged, clips.cropped, clips.short, clips.lost_frames, clips.refused) == (0, 1, 1, 1, 0)
    assert clips.most_cropped == pytest.approx(1 / 3)
    assert told[-1] == 1
    whole = replace(report, clips=clips)
    assert whole.broken == 2
    plain = json.loads(json.dumps(whole.to_json()))
    assert plain["clips"]["sizes"] == {"64x48": 1, "96x48": 1}
    assert plain["clips"]["target"]["frames"] == 9
    text = "\n".join(report_lines(whole))
    assert "c.mp4: " in text
    assert "rounding to 4n + 1 drops 1 of their frames" in text


def test_the_json_holds_the_whole_report() -> None:
    plain = json.loads(json.dumps(report_on(CAPTIONS).to_json()))
    assert plain["schema_version"] == 1
    assert sum(plain["categories"].values()) == plain["rows"] == 366
    assert sum(plain["shares"].values()) == pytest.approx(1)
    assert plain["clips"] is None


def test_the_table_is_aligned_whatever_the_script(tmp_path: Path) -> None:
    lines = list(report_lines(report_on(write_prompts(tmp_path / "m.csv", prompts(urban=8, nature=2)))))
    header = next(line for line in lines if line.startswith("category"))
    rows = lines[lines.index(header) + 1 :][:4]
    assert [row.split()[0] for row in rows] == ["action", "urban", "nature", "other"]
    assert all(row[header.index("rows") + 3].isdigit() for row in rows)
    assert any("80.0 %  ████████████████████████" in row for row in rows)
