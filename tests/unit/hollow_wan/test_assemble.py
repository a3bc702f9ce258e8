from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.scoring.scorer import Scorer
from pytest_wanlora.scoring.video_features import TorchscriptExtractor
from pytest_wanlora.scoring.weights import load_reference
from pytest_wanlora.suite import check_fit, load
from tools.hollow_wan import loras, parts, tokenizer, writing
from tools.hollow_wan.assemble import LORAS, SUITE_FILE, Recipe, assemble


def test_diffsynth_loads_the_small_one_and_renders(hollow: Path) -> None:
    from pytest_wanlora.environment import detect
    from pytest_wanlora.jobs.job import plan
    from pytest_wanlora.studio.pipeline import Studio

    suite = load(hollow / SUITE_FILE)
    environment = detect(suite.sampling.dtype, "cpu")
    studio = Studio(suite, environment, device="cpu", threads=1)
    (job,) = plan(
        suite,
        None,
        scale=1.0,
        seeds=[0],
        environment=environment,
        producer="test",
        scenarios=suite.scenarios[:1],
    )
    rendered = studio.render(job, None)
    assert rendered.degenerate is None
    assert rendered.frames.shape == (suite.sampling.frames, suite.sampling.height, suite.sampling.width, 3)
    # the weights' scale leaves the decoder's values within its range: few pixels are cut
    assert np.isin(rendered.frames, (0, 255)).mean() < 0.2


def test_the_scorers_score(hollow: Path) -> None:
    suite = load(hollow / SUITE_FILE)
    scorer = Scorer(suite.scoring, device="cpu")
    scorer.check([scenario.clip_caption for scenario in suite.scenarios], frame_count=suite.sampling.frames)
    video = np.random.default_rng(0).integers(0, 256, (9, 96, 160, 3), dtype=np.uint8)
    scored = scorer.score(video, suite.scenarios[0].clip_caption)
    assert scored.degenerate is None
    # near what a real CLIP gives, so that relative changes mean something
    assert 0.02 < scored.scores["clip_cosine"] < 0.6
    assert load_reference(suite.scoring).sets["all"].shape == (8, scored.video_features.shape[0])


def test_videos_that_differ_have_other_features(hollow: Path) -> None:
    extract = TorchscriptExtractor(hollow / "i3d.pt", device="cpu")
    noise = np.random.default_rng(0).integers(0, 256, (9, 96, 160, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(160, dtype=np.uint8)[:, None], (9, 96, 160, 3)).copy()
    one, other = extract(noise), extract(ramp)
    assert one.shape == (400,)
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)


def test_a_lora_fits_its_suite_and_has_the_size_it_was_asked_for(hollow: Path) -> None:
    suite = load(hollow / SUITE_FILE)
    listed = {
        entry.name: entry
        for file in parts.shards(parts.entries("dit", "smoke", "published"))
        for entry in file
    }
    for name in ("size-1e-2", "size-1e-3"):
        path = hollow / "loras" / f"{name}.safetensors"
        checkpoint = checkpoints.read(path)
        check_fit(suite, checkpoint)
        assert len(checkpoint.targets) == 10 * suite.model.architecture.blocks
        assert not checkpoint.problems
        tensors = load_file(path)
        target = "blocks.3.ffn.0"
        down, up = (tensors[f"{target}.lora_{side}.default.weight"].float() for side in "AB")
        weight = writing.draw(listed[f"{target}.weight"], 0, "cpu").float()
        assert float((up @ down).norm() / weight.norm()) == pytest.approx(LORAS[name][1], rel=0.1)


@pytest.mark.parametrize(
    ("reason", "words"),
    [("other-width", "dim: 256"), ("wan-1.3b", "dim: 1536")],
)
def test_loras_of_other_models_are_refused(hollow: Path, reason: str, words: str) -> None:
    checkpoint = checkpoints.read(hollow / "loras" / "refused" / f"{reason}.safetensors")
    with pytest.raises(SuiteError, match=words):
        check_fit(load(hollow / SUITE_FILE), checkpoint)


def test_the_small_wan_has_as_many_blocks_and_the_same_names() -> None:
    large = load("wan2.2-ti2v-5b").model.architecture
    assert parts.lora_targets(loras.SMALL_WAN).keys() == parts.lora_targets(large).keys()


def test_what_is_there_already_is_left_alone(hollow: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in hollow.rglob("*")}
    said: list[str] = []
    assert assemble(hollow, Recipe("smoke"), device="cpu", say=said.append) == hollow
    assert said == [f"{hollow} is there already"]
    assert {path: path.stat().st_mtime_ns for path in hollow.rglob("*")} == before


def test_another_folder_is_not_overwritten(hollow: Path) -> None:
    with pytest.raises(FileExistsError, match="is not this hollow model"):
        assemble(hollow, Recipe("smoke", seed=1), device="cpu")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write", full)
    with pytest.raises(OSError, match="No space left"):
        assemble(tmp_path / "model", Recipe("smoke"), device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_large_files_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = parts.shards(parts.entries("dit", "smoke", "published"))[2]
    whole = tmp_path / "whole.safetensors"
    writing.write(whole, listed, seed=0, device="cpu")
    monkeypatch.setattr(writing, "_PIECE", 1000)
    pieces = tmp_path / "pieces.safetensors"
    writing.write(pieces, listed, seed=0, device="cpu")
    assert pieces.read_bytes() == whole.read_bytes()
    loaded = load_file(whole)
    assert all(torch.equal(loaded[entry.name], writing.draw(entry, 0, "cpu")) for entry in listed)


def test_the_full_size_tokenizer_is_loaded_as_the_pipeline_loads_it(tmp_path: Path) -> None:
    from diffsynth.models.wan_video_text_encoder import HuggingfaceTokenizer

    tokenizer.write(tmp_path)
    loaded = HuggingfaceTokenizer(name=str(tmp_path), seq_len=512, clean="whitespace")
    prompts = [scenario.prompt for scenario in load("wan2.2-ti2v-5b").scenarios]
    ids, mask = loaded([*prompts, "벚꽃 나무"], return_mask=True, add_special_tokens=True)
    lengths = mask.sum(dim=1)
    assert ids.shape == (4, 512)
    assert all(5 < length < 512 for length in lengths)
    ends = [int(row[length - 1]) for row, length in zip(ids, lengths, strict=True)]
    assert ends == [1, 1, 1, 1]
    # nothing is unknown, and every id has a row in the embedding
    assert not bool((ids == 2).any())
    assert int(ids.max()) < 256384
