"""Looks beyond the seeds of the stored baseline: the base videos are rendered, the stored files stay."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_wanlora import baseline as baselines
from pytest_wanlora import results, testing
from pytest_wanlora.results.run_record import RunRecord
from tests.integration.conftest import Project

EPOCH_1 = Path(__file__).parents[2] / "examples" / "epoch-1.safetensors"


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _shorten(folder: Path, suite: str, seeds: int) -> dict[str, bytes]:
    """Leave the first seeds of each scenario in the base baseline; returns the files."""
    root = folder / "baselines"
    whole = baselines.load(root, suite, "base")
    scores = {name: {seed: of[seed] for seed in sorted(of)[:seeds]} for name, of in whole.scores.items()}
    features = {key: row for key, row in whole.features.items() if key[1] in scores[key[0]]}
    baselines.write(whole.model_copy(update={"scores": scores, "features": features}), root)
    return _bytes(root)


def _judged(record: RunRecord) -> list[object]:
    return [asdict(each) for each in record.judgements]


def test_the_verdict_is_that_of_a_baseline_with_more_seeds(project: Project) -> None:
    testing.write_suite(project.path, scenarios=("test2_nature",))
    # a loss that three videos cannot decide on
    project.producer(quality={"good": {"test2_nature": 0.9}})
    seeds = ("--wanlora-seeds", "3:4")
    project.run("--update-baselines", *seeds)
    project.run("--lora", "good.safetensors", *seeds)
    more = results.load(project.records()[-1])
    looks = {each.scenario: each.n for each in more.judgements if each.metric == "sharpness"}
    assert looks == {"test2_nature": 4, "all": 4}
    assert more.baseline is not None
    assert more.baseline.added == {}
    stored = _shorten(project.path, "fake", 3)
    # the candidate's videos are there; those of the base are not
    for entry in (project.path / ".wanlora" / "cache").iterdir():
        found = entry / "result.json"
        if found.exists() and '"candidate": "base"' in found.read_text(encoding="utf-8"):
            shutil.rmtree(entry)
    project.run("--lora", "good.safetensors", *seeds)
    fewer = results.load(project.records()[-1])
    assert _judged(fewer) == _judged(more)
    assert fewer.sets == more.sets
    assert fewer.baseline is not None
    assert fewer.baseline.added == {"test2_nature": (3,)}
    assert (fewer.baseline.added_rendered, fewer.baseline.cap) == (1, None)
    assert _bytes(project.path / "baselines") == stored


def test_candidates_and_workers_share_the_base_videos(based: Project) -> None:
    testing.write_lora(based.path / "worse.safetensors", seed=2)
    based.producer(quality={"bad": {"test2_nature": 0.4}, "worse": {"test1_city": 0.4}})
    stored = _bytes(based.path / "baselines")
    based.forget()
    arguments = ("--lora", "bad.safetensors", "--lora", "worse.safetensors", "--wanlora-seeds", "2:4")
    done = based.run(*arguments, workers="-n2")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    base = sorted(line for line in based.rendered() if line.startswith("base"))
    # the scenario that fails goes on alone, and the second look decides: of the third nothing is rendered
    assert base == ["base test1_city 0", "base test1_city 2", "base test2_nature 2"]
    record = results.load(based.records()[-1])
    assert record.baseline is not None
    assert record.baseline.added == {"test1_city": (2,), "test2_nature": (2,)}
    assert record.baseline.added_rendered == 2
    done.stdout.fnmatch_lines(
        ["note: The baseline lacks seeds of this run. More videos of the model *with: 2, rendered*"]
    )
    assert _bytes(based.path / "baselines") == stored
    based.forget()
    based.run(*arguments)
    assert based.rendered() == []
    assert _judged(results.load(based.records()[-1])) == _judged(record)


def test_base_videos_that_are_not_the_stored_ones_end_the_looks_and_are_told(based: Project) -> None:
    based.producer(quality={"base": {"test1_city": 0.9}, "bad": {"test2_nature": 0.4}})
    based.forget()
    done = based.run("--lora", "bad.safetensors", "--wanlora-seeds", "2:4")
    assert {line.split()[2] for line in based.rendered()} == {"0", "1"}
    done.stdout.fnmatch_lines(
        [
            "note: The suite asks for up to 4 seeds a scenario and the baseline has 2: no more were "
            "compared, because one of its videos, rendered here, is not the stored one "
            "(base, test1_city, seed 0 has *).",
            "note: To measure more: pytest --wanlora-suite fake.yaml --wanlora-seeds 2:4 --update-baselines",
        ]
    )
    folder = based.records()[-1].parent
    assert "no more were compared" in (folder / "report.md").read_text(encoding="utf-8")
    assert "그 이상은 비교하지 않았습니다" in (folder / "report.ko.md").read_text(encoding="utf-8")
    assert "그 이상은 비교하지 않았습니다" in (folder / "report.html").read_text(encoding="utf-8")
