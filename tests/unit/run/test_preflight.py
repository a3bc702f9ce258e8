"""Everything that is missing, found before anything is loaded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import environment, suite, testing
from pytest_wanlora.checkpoint import experts
from pytest_wanlora.environment import Environment
from pytest_wanlora.run import machine, preflight
from pytest_wanlora.run.findings import Finding, Preflight
from pytest_wanlora.run.inputs import ModelFiles
from pytest_wanlora.run.preflight import Request, examine
from pytest_wanlora.scoring import frechet
from pytest_wanlora.suite import Suite, hub
from pytest_wanlora.verdict.judgement import ItemId, Verdict
from tests import loras

FIVE_B = "wan2.2-ti2v-5b"
CLIP = ItemId("limit", "x", "test2_nature", "clip")
FVD = ItemId("limit", "x", "all", "fvd")
SHARPNESS = ItemId("regression", "x", "test2_nature", "sharpness")
PACKAGE = Path(suite.__file__).parents[1]
PROGRAMS = ("python", "pytest", "pip", "hf", "ls", "sed", "head", "sha256sum", "nvidia-smi")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder that the user stands in, without a hub."""
    monkeypatch.chdir(tmp_path)
    for name in ("DIFFSYNTH_MODEL_BASE_PATH", "DIFFSYNTH_SKIP_DOWNLOAD", "DIFFSYNTH_DOWNLOAD_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "sizes", lambda names, _: dict.fromkeys(names, "the hub cannot be reached"))
    return tmp_path


def look(chosen: Suite, *, where: Environment | None = None, **request: Any) -> Preflight:  # noqa: ANN401 - as Request
    asked = {"baselines_dir": Path.cwd() / "baselines", "baseline": "base", "scenarios": chosen.scenarios}
    found = examine(
        chosen, where or environment.detect(chosen.sampling.dtype, "cpu"), Request(**{**asked, **request})
    )
    # advice is in the message, and behind `next:` a program with its arguments
    assert all(each.next_command.split()[0] in PROGRAMS for each in found.findings), found.findings
    return found


@pytest.fixture
def tiny(here: Path) -> Callable[..., Suite]:
    """The embedded model's suite as a file of the user's, with its files beside it."""
    shutil.copytree(PACKAGE / "tiny", here / "files", ignore=shutil.ignore_patterns("*.png", "*.py"))
    (here / "baselines").mkdir()
    shutil.copytree(PACKAGE / "baselines" / "tiny", here / "baselines" / "tiny")
    text = (PACKAGE / "suites" / "tiny.yaml").read_text().replace("package:tiny/", "files/")

    def write(*changes: tuple[str, str]) -> Suite:
        changed = text
        for old, new in changes:
            assert old in changed
            changed = changed.replace(old, new)
        (here / "tiny.yaml").write_text(changed)
        return suite.load(here / "tiny.yaml", baselines=here / "baselines")

    return write


def whats(found: Preflight) -> list[str]:
    return [each.what for each in found.findings]


def test_the_embedded_model_needs_nothing(here: Path) -> None:
    found = look(suite.load("tiny"))
    assert found.findings == ()
    assert found.downloads == ()
    assert found.free_disk is not None
    assert list(here.iterdir()) == []


def test_all_that_the_5b_model_lacks(here: Path) -> None:
    found = look(suite.load(FIVE_B, baselines=here / "baselines"))
    assert whats(found) == [
        "model.dit[0]",
        "model.text_encoder",
        "model.vae",
        "model.tokenizer",
        "scoring.clip.weights",
        "scoring.video_features.weights",
        "scoring.reference",
        "baseline",
    ]
    assert all(each.next_command for each in found.findings)
    assert found.findings[-1].verdict is Verdict.MISSING_BASELINE


def test_what_the_hub_has_will_be_fetched(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = suite.load(FIVE_B, baselines=here / "baselines")
    names = [text.rpartition(":")[2].replace("*", "-1") for _, text in suite.references(chosen)]
    listing = {f"{name}file" if name.endswith("/") else name: 3_000_000 for name in names}
    monkeypatch.setattr(hub, "sizes", lambda repositories, _: dict.fromkeys(repositories, listing))
    found = look(chosen)
    assert whats(found) == ["scoring.reference", "baseline"]
    assert [each.size for each in found.downloads] == [3_000_000] * 6
    assert "to be fetched: model.vae: hub:" in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("hub_has", "said"),
    [
        (True, "to be fetched, and room for it on the disk: 42.0 GB"),
        (
            False,
            "to be fetched, and room for it on the disk: "
            "7 parts of the suite of a size that is not known here",
        ),
    ],
)
def test_what_a_suite_takes_of_a_rented_machine_is_told_without_a_gpu(
    here: Path, monkeypatch: pytest.MonkeyPatch, hub_has: bool, said: str
) -> None:
    chosen = suite.load("wan2.2-t2v-a14b", baselines=here / "baselines")
    names = [text.rpartition(":")[2].replace("*", "-1") for _, text in suite.references(chosen)]
    listing = {f"{name}file" if name.endswith("/") else name: 6_000_000_000 for name in names}
    if hub_has:
        monkeypatch.setattr(hub, "sizes", lambda repositories, _: dict.fromkeys(repositories, listing))
    gpu, fetched = look(chosen).needs
    assert gpu == (
        "gpu: 40 GiB of memory or more, for the suite as it is written; "
        f"the first lines of {chosen.path} name settings for 24, 48, 80 GB"
    )
    assert fetched == said
    assert look(suite.load("tiny")).needs == ()


def test_a_suite_that_does_not_name_its_gpu_says_so(here: Path) -> None:
    gpu, _ = look(suite.load(FIVE_B, baselines=here / "baselines")).needs
    assert gpu == f"gpu: suite {FIVE_B} does not state how much memory it takes (model.least_gpu_memory)"


@pytest.mark.parametrize(("named", "found"), [(False, 1), (True, 0)])
def test_no_gpu_is_less_than_a_small_one(here: Path, named: bool, found: int) -> None:
    chosen = suite.load("wan2.2-t2v-a14b")
    gpu = [each for each in look(chosen, cpu_named=named).findings if each.what == "gpu memory"]
    assert len(gpu) == found
    assert all("no GPU is visible; suite wan2.2-t2v-a14b needs one with 40 GiB" in e.message for e in gpu)
    assert all("--wanlora-device cpu" in each.message for each in gpu)


@pytest.mark.parametrize("ending", ["safetensors", "SAFETENSORS"])
def test_a_damaged_lora_of_the_stack_is_found_whatever_the_case_of_its_name(here: Path, ending: str) -> None:
    cut = here / f"cut.{ending}"
    cut.write_bytes((PACKAGE / "tiny" / "vae.safetensors").read_bytes()[:-1])
    mine = here / "mine.yaml"
    text = (PACKAGE / "suites" / "tiny.yaml").read_text()
    mine.write_text(text.replace("\nsampling:", f"\nstack: [{{lora: {cut}}}]\n\nsampling:"))
    (found,) = [each for each in look(suite.load(mine)).findings if each.what == "stack[0].lora"]
    assert f"{cut}: not a whole safetensors file" in found.message


def test_a_file_that_the_hub_lacks_is_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hub, "sizes", lambda repositories, _: {name: {"README.md": 1} for name in repositories}
    )
    found = look(suite.load(FIVE_B, baselines=here / "baselines"))
    assert "the repository has no such file" in found.findings[0].message


def test_downloads_that_are_switched_off_are_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSYNTH_SKIP_DOWNLOAD", "True")
    found = look(suite.load(FIVE_B, baselines=here / "baselines"))
    assert "DIFFSYNTH_SKIP_DOWNLOAD is set" in found.findings[0].message


def test_modelscope_is_not_asked_for_sizes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSYNTH_DOWNLOAD_SOURCE", "modelscope")
    found = look(suite.load(FIVE_B, baselines=here / "baselines"))
    assert [each.key for each in found.downloads][:3] == ["model.dit[0]", "model.text_encoder", "model.vae"]
    assert {each.size for each in found.downloads} == {None}


def test_a_producer_without_a_model_needs_no_files_of_the_hub(here: Path) -> None:
    found = look(suite.load(FIVE_B, baselines=here / "baselines"), model_files=False)
    assert whats(found) == ["scoring.reference", "baseline"]


def _other_reference(
    here: Path, chosen: Suite, change: Callable[[dict[str, Any]], dict[str, Any]], frames: int
) -> Suite:
    """A suite that means a reference set with other sets or frames than it had."""
    path = here / "files" / "reference.safetensors"
    known = frechet.read_reference(path, sha256="", extractor_sha256=None)
    sets = change(dict(known.sets))
    made = frechet.write_reference(path, sets, frames=frames, extractor_sha256=known.extractor_sha256)
    scoring = chosen.scoring.model_copy(update={"reference_sha256": made})
    return chosen.model_copy(update={"scoring": scoring})


def _fewer(sets: dict[str, Any]) -> dict[str, Any]:
    return {name: rows[:3] if name == "nature" else rows for name, rows in sets.items()}


@pytest.mark.parametrize(
    ("change", "frames", "said"),
    [
        (_fewer, 9, "has too few videos, nature of 3; allowed: 4 or more, as the suite compares fvd"),
        (lambda sets: sets, 13, "was made of 13 frames a video; allowed: 9, the suite's sampling.frames"),
        (
            lambda sets: {"urban": sets["urban"]},
            9,
            "has no videos of the category nature (of test2_nature), ",
        ),
        (
            lambda sets: {**sets, "nature": sets["nature"][:, 1:]},
            9,
            "has features of 63 and 64 dimensions, allowed is one number for all",
        ),
    ],
)
@pytest.mark.parametrize("baseline", ["base", None])
@pytest.mark.parametrize("network", [True, False])
def test_a_reference_set_that_does_not_fit_blocks_gates_and_baselines_alike(
    here: Path,
    tiny: Callable[..., Suite],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    frames: int,
    said: str,
    baseline: str | None,
    network: bool,
) -> None:
    chosen = _other_reference(here, tiny(), change, frames)
    if not network:
        # what can be told without it is told at once
        (here / "files" / "video_features.safetensors").unlink()
    found = look(chosen, baseline=baseline)
    (finding,) = [each for each in found.findings if each.what == "scoring.reference"]
    assert said in finding.message
    assert finding.next_command.endswith("--videos FOLDER --overwrite")
    assert finding in found.blocking(["x"])
    assert finding in found.blocking([FVD])


@pytest.mark.parametrize("file", ["clip.safetensors", "notes.safetensors", "cut.safetensors"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_file_of_another_kind_is_not_written_over(
    here: Path, tiny: Callable[..., Suite], file: str, stated: bool
) -> None:
    (here / "files" / "notes.safetensors").write_text("mine")
    (here / "files" / "cut.safetensors").write_bytes(b"\xff" * 8)
    chosen = tiny()
    update = {"reference": str(here / "files" / file)}
    if not stated:
        update["reference_sha256"] = ""
    chosen = chosen.model_copy(update={"scoring": chosen.scoring.model_copy(update=update)})
    (finding,) = [each for each in look(chosen).findings if each.what == "scoring.reference"]
    assert finding.next_command == chosen.show("scoring.reference")
    assert finding.message.endswith(f"; allowed: a reference set, which {here / 'files' / file} is not")


def test_a_set_of_two_videos_is_enough_where_fvd_is_not_compared(
    here: Path, tiny: Callable[..., Suite]
) -> None:
    chosen = _other_reference(here, tiny(), _fewer, 9)
    without = {name: band for name, band in chosen.tolerances.items() if name != "fvd"}
    found = look(chosen.model_copy(update={"tolerances": without}), baseline=None)
    assert whats(found) == []


def test_several_faults_at_once(here: Path, tiny: Callable[..., Suite]) -> None:
    (here / "files" / "vae.safetensors").unlink()
    (here / "files" / "clip.safetensors").write_bytes(b"cut")
    (here / "files" / "reference.safetensors").unlink()
    (here / "baselines" / "tiny" / "base" / "baseline.json").write_text("{")
    chosen = tiny(("a cherry tree with pink blossoms", "a cherry tree with blossoms" + " and petals" * 8))
    found = look(chosen)
    assert whats(found) == [
        "model.vae",
        "scoring.clip.weights",
        "scenarios[1].prompt",
        "scoring.reference",
        "baseline",
    ]
    assert "tiny.yaml:" in found.findings[2].message
    assert "test2_nature has " in found.findings[2].message


def test_a_file_that_was_cut_off(here: Path, tiny: Callable[..., Suite]) -> None:
    path = here / "files" / "dit.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    chosen = tiny(
        ("    dit.safetensors: f87198f30d3fe8f323041a34a8ec1f63184b1ab95885d381a8294f776f0fb357\n", "")
    )
    assert "not a whole safetensors file" in look(chosen).findings[0].message
    assert look(chosen, model_files=False).findings[0].what == "baseline"  # of another fingerprint


def test_an_input_image_that_is_no_picture(here: Path, tiny: Callable[..., Suite]) -> None:
    chosen = tiny(("    category: urban\n", "    category: urban\n    input_image: first.png\n"))
    assert whats(look(chosen))[0] == "scenarios[0].input_image"
    (here / "first.png").write_bytes(b"no picture")
    assert "not a picture" in look(chosen).findings[0].message
    Image.new("RGB", (160, 96)).save(here / "first.png")
    assert whats(look(chosen)) == ["baseline"]  # it was measured without one


def test_an_unknown_clip_model(tiny: Callable[..., Suite]) -> None:
    found = look(tiny(("model: files/clip.json", "model: ViT-B-23")))
    assert whats(found)[0] == "scoring.clip.model"


def test_a_clip_that_reads_no_squares_sees_no_whole_frames(tiny: Callable[..., Suite]) -> None:
    found = look(tiny(("model: files/clip.json", "model: files/clip.json\n    frame: whole")))
    (finding,) = (each for each in found.findings if each.what == "scoring.clip.frame")
    assert finding.message.endswith("clip.json reads 96 x 160 pixels, no squares; allowed: 'middle'")
    squares = ("model: files/clip.json", "model: ViT-B-32\n    frame: whole")
    assert "scoring.clip.frame" not in whats(look(tiny(squares)))


def test_without_ffmpeg_previews_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", gone)
    assert whats(look(suite.load("tiny"))) == ["ffmpeg"]
    assert whats(look(suite.load("tiny"), previews=False)) == []


def test_a_disk_that_is_too_small(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100, used=90, free=10))
    found = look(suite.load("tiny"), videos=24)
    assert whats(found) == ["disk"]
    assert "0.0 GB are free" in found.findings[0].message


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ((2**20, 2**20), "allowed: model.vram_limit, in GiB"),
        ((80 * 2**30, 2**20), "allowed: less else on the GPU"),
        ((2**20, None), "allowed: model.vram_limit, in GiB"),
        ((80 * 2**30, 70 * 2**30), None),
        ((80 * 2**30, None), None),
        (None, None),
    ],
)
def test_a_gpu_that_is_too_small(
    here: Path, monkeypatch: pytest.MonkeyPatch, memory: tuple[int, int | None] | None, words: str | None
) -> None:
    monkeypatch.setattr(machine, "gpu_memory", lambda _: memory)
    cuda = replace(environment.detect("float32", "cpu"), device="cuda", device_name="NVIDIA H100")
    found = look(suite.load("tiny"), where=cuda, allow_environment=True)
    assert whats(found) == ([] if words is None else ["gpu memory"])
    if words is not None:
        assert found.findings[0].message.split("; ")[-1].startswith(words)
    assert whats(look(suite.load("tiny"))) == []


@pytest.mark.parametrize(("gib", "refused"), [(24, True), (38, True), (39.5, False), (80, False)])
def test_a_gpu_with_less_than_the_suite_names_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, gib: float, refused: bool
) -> None:
    monkeypatch.setattr(machine, "gpu_memory", lambda _: (int(gib * 2**30), None))
    cuda = replace(environment.detect("bfloat16", "cpu"), device="cuda", device_name="Some GPU")
    loaded = suite.load("wan2.2-t2v-a14b")
    found = [each for each in look(loaded, where=cuda).findings if each.what == "gpu memory"]
    assert bool(found) is refused
    for each in found:
        assert f"{gib:.1f} GiB of memory; suite wan2.2-t2v-a14b needs 40 as it is written" in each.message
        assert each.message.endswith(
            "a copy of it with the settings for a smaller GPU, which its first lines name"
        )
        assert each.next_command == f"head -n 20 {loaded.path}"


def test_a_package_for_attention_needs_a_gpu_and_to_be_installed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = suite.load("tiny")
    sampling = loaded.sampling.model_copy(update={"attention": "flash-attn-4", "dtype": "bfloat16"})
    flash = loaded.model_copy(update={"sampling": sampling})
    cpu = environment.detect("bfloat16", "cpu")
    cuda = replace(cpu, device="cuda", device_name="NVIDIA H100")

    def found(where: Environment) -> list[Finding]:
        return [each for each in look(flash, where=where).findings if each.what == "sampling.attention"]

    (on_cpu,), (missing,) = found(cpu), found(cuda)
    assert "flash-attn-4 is for GPUs, and this run is on a CPU; allowed here: torch" in on_cpu.message
    assert missing.message.endswith("flash-attn-4 is not installed")
    assert missing.next_command == "pip install 'pytest-wanlora[flash]'"
    monkeypatch.setattr(preflight, "installed", lambda package: "4.0.0b36")
    assert not found(cuda)


def test_a_broken_lora_below_baseline_and_candidate_is_found(here: Path) -> None:
    untrained = testing.write_lora(here / "untrained.safetensors", dim=192, size=0)
    other = testing.write_lora(here / "other.safetensors", dim=256)
    for path, words in ((untrained, "it was not trained"), (other, "dim: 256; allowed: 192")):
        stacked = suite.load("tiny").model_copy(update={"stack": (suite.Stacked(lora=str(path)),)})
        (found,) = [each for each in look(stacked).findings if each.what == "stack[0].lora"]
        assert words in found.message
        assert found.message.count("allowed:") == 1
        assert found.next_command.startswith("python -m pytest_wanlora inspect ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "no whole safetensors file"),
        ({"blocks.0.self_attn.q.lora_A.weight": (4, 192)}, "has no partner: lora_B"),
        (
            {
                f"{mark}.blocks.0.self_attn.q.{side}.weight": shape
                for mark in ("transformer_1", "transformer_2")
                for side, shape in (("lora_A", (4, 192)), ("lora_B", (192, 4)))
            },
            "given as the high-noise LoRA alone; it has the low-noise expert's too",
        ),
    ],
)
def test_a_lora_of_the_stack_that_cannot_be_read_is_shown_where_the_suite_names_it(
    here: Path, state: dict[str, tuple[int, ...]] | None, words: str
) -> None:
    path = here / "below.safetensors"
    if state is None:
        path.write_bytes(b"{" * 64)
    else:
        save_file({key: np.ones(shape, np.float32) for key, shape in state.items()}, path)
    text = suite.packaged()["tiny-pair"].read_text(encoding="utf-8")
    text = re.sub("      expert-high.*\n", "", text)
    mine = here / "mine.yaml"
    mine.write_text(
        re.sub("high: package:tiny/expert-high.*", "high: below.safetensors", text), encoding="utf-8"
    )
    (found,) = [each for each in look(suite.load(str(mine))).findings if each.what == "stack[0].high"]
    (line,) = [at for at, each in enumerate(mine.read_text().splitlines(), 1) if "below" in each]
    assert found.message.startswith(f"{mine}:{line}: stack[0].high: {path}: ")
    assert words.replace("no whole", "not a whole") in found.message
    command = f"sha256sum {path}" if state is None else f"sed -n {line}p {mine}"
    assert found.next_command == command


def test_a_digest_that_the_user_states_wrongly_is_shown_where_it_is_stated(here: Path) -> None:
    """Of a file of the package, which installing it again would not change."""
    text = suite.packaged()["tiny"].read_text(encoding="utf-8").splitlines()
    (at,) = [number for number, line in enumerate(text) if line.startswith("    vae.safetensors: ")]
    text[at] = f"    vae.safetensors: {'1' * 64}"
    mine = here / "mine.yaml"
    mine.write_text("\n".join(text), encoding="utf-8")
    (found,) = [each for each in look(suite.load(str(mine))).findings if each.what == "model.vae"]
    assert found.next_command == f"sed -n {at + 1}p {mine}"
    (at,) = [number for number, line in enumerate(text) if line.startswith("  vae: ")]
    text[at] = "  vae: package:tiny/va.safetensors"
    mine.write_text("\n".join(text).replace(f"    vae.safetensors: {'1' * 64}\n", ""), encoding="utf-8")
    (found,) = [each for each in look(suite.load(str(mine))).findings if each.what == "model.vae"]
    assert found.next_command == f"sed -n {at + 1}p {mine}"


def test_the_weights_are_counted_in_the_precision_they_are_loaded_in(here: Path) -> None:
    files = ModelFiles(suite.load("tiny"), whole=True)
    stored = sum((PACKAGE / "tiny" / f"{name}.safetensors").stat().st_size for name in ("dit", "vae"))
    counted = files.weight_bytes("bfloat16")
    assert counted is not None
    assert 0.99 < counted / stored <= 1  # stored in 16 bits; the headers are no weights
    assert files.weight_bytes("float32") == 2 * counted


@pytest.mark.parametrize(
    ("missing", "blocks"),
    [
        ("baseline", {SHARPNESS}),
        ("scoring.reference", {FVD, SHARPNESS, "x"}),
        ("model.vae", {CLIP, FVD, SHARPNESS, "x"}),
    ],
)
def test_what_each_item_needs(here: Path, tiny: Callable[..., Suite], missing: str, blocks: set[Any]) -> None:
    chosen = tiny()
    if missing == "baseline":
        (here / "baselines" / "tiny" / "base" / "baseline.json").write_text("{")
    else:
        (here / "files" / f"{missing.partition('.')[2]}.safetensors").unlink()
    found = look(chosen)
    assert whats(found) == [missing]
    (finding,) = found.findings
    assert {each for each in (CLIP, FVD, SHARPNESS, "x") if finding.blocks(each)} == blocks
    # a model that is missing blocks a run of the user's own tests alone, too
    assert bool(found.blocking([])) == (missing == "model.vae")


def test_another_environment_is_incomparable_unless_allowed(here: Path) -> None:
    cuda = replace(environment.detect("float32", "cpu"), device="cuda", device_name="NVIDIA H100")
    (finding,) = look(suite.load("tiny"), where=cuda).findings
    assert finding.verdict is Verdict.INCOMPARABLE
    assert "device_name: baseline cpu, here NVIDIA H100" in finding.message
    assert look(suite.load("tiny"), where=cuda, allow_environment=True).findings == ()


def test_the_next_command_names_the_folder_of_the_baselines(here: Path) -> None:
    found = look(suite.load(FIVE_B, baselines=here / "b"), baselines_dir=here / "b")
    assert [each.next_command.partition("--wanlora-suite")[2] for each in found.findings[-1:]] == [
        f" {FIVE_B} --update-baselines --wanlora-baselines-dir b"
    ]
    assert found.findings[-2].next_command.endswith("--videos FOLDER --baselines-dir b")


@pytest.mark.parametrize(("changed", "found"), [(1, ["model.dit[1]"]), (0, [])])
def test_a_tensor_in_two_files_of_one_part_is_missing_an_expert(
    here: Path, tiny: Callable[..., Suite], changed: int, found: list[str]
) -> None:
    tiny()
    names = ("one.safetensors", "two.safetensors")
    for number, name in enumerate(names):
        key = "blocks.0.ffn.0.weight" if changed else f"blocks.{number}.ffn.0.weight"
        loras.write(here / "files" / name, {key: loras.encode([1.0 + number])})
    lines = "\n".join(f"    - files/{name}" for name in names)
    two = tiny(
        ("  dit: files/dit.safetensors", f"  dit:\n{lines}"),
        ("    dit.safetensors: f87198f30d3fe8f323041a34a8ec1f63184b1ab95885d381a8294f776f0fb357\n", ""),
    )
    findings = [each for each in look(two).findings if each.what.startswith("model.")]
    assert [each.what for each in findings] == found
    for each in findings:
        assert "tensor 'blocks.0.ffn.0.weight' is in both" in each.message
        assert "two experts are not one model" in each.message


@pytest.mark.parametrize(
    ("key", "file", "words", "command"),
    [
        (
            "dit",
            "expert-high",
            "a LoRA (blocks.0.cross_attn.k.lora_A.default.weight); allowed: the",
            "inspect ",
        ),
        ("dit", "vae", "a VAE (model.decoder.conv1.bias); allowed: the weights of the denoiser", "sed -n "),
        ("dit", "text_encoder", "a text encoder (token_embedding.weight); allowed: the weights", "sed -n "),
        ("vae", "dit", "a denoiser (blocks.0.self_attn.k.bias); allowed: the weights of the VAE", "sed -n "),
        ("text_encoder", "accelerator", "a LoRA (", "inspect "),
        ("dit", "wider", "the denoiser of another model: dim 256; allowed: 192, as model.arch", "sed -n "),
        ("dit", "shorter", "the denoiser of another model: blocks 1; allowed: 8, as model.arch", "sed -n "),
        ("dit", "pictures", "the denoiser of another model: in_dim 36; allowed: 48, as model.a", "sed -n "),
        ("dit", "own", "", ""),
    ],
)
def test_a_part_of_the_model_that_is_something_else(
    here: Path, tiny: Callable[..., Suite], key: str, file: str, words: str, command: str
) -> None:
    tiny()
    dim = 256 if file == "wider" else 192
    layers: dict[str, tuple[int, ...]] = {
        f"blocks.{number}.self_attn.q.weight": (dim, dim) for number in range(1 if file == "shorter" else 8)
    }
    layers |= {"patch_embedding.weight": (192, 36, 1, 2, 2)} if file == "pictures" else {}
    if file == "own":
        # of a model that another package adds, with names that nobody else has
        layers = {"stages.0.mixer.weight": (3, 3)}
    path = here / "files" / f"{file}.safetensors"
    if not path.exists():
        save_file({name: np.ones(shape, np.float32) for name, shape in layers.items()}, path)
    text = (here / "tiny.yaml").read_text().replace("    blocks: 8", "    blocks: 8\n    in_dim: 48")
    text = re.sub(r"  sha256:\n( {4}\w+\.safetensors: [0-9a-f]{64}\n)+", "", text)
    text = text.replace(f"  {key}: files/{key}.safetensors", f"  {key}: files/{file}.safetensors")
    (here / "tiny.yaml").write_text(text)
    chosen = suite.load(here / "tiny.yaml", baselines=here / "baselines")
    found = [each for each in look(chosen).findings if each.what.startswith("model.")]
    assert [each.what for each in found] == [f"model.{key}{'[0]' * (key == 'dit')}"][: bool(words)]
    for each in found:
        assert re.match(rf".*tiny\.yaml:\d+: model\.{key}: {path}: {re.escape(words)}", each.message)
        assert command in each.next_command


@pytest.fixture
def pair(here: Path) -> Callable[..., Suite]:
    """The embedded model with two experts as a suite of the user's, its files beside it."""
    shutil.copytree(PACKAGE / "tiny", here / "files", ignore=shutil.ignore_patterns("*.png", "*.py"))

    def write(high: str, low: str, stack: list[dict[str, str]]) -> Suite:
        data = yaml.safe_load(suite.packaged()["tiny-pair"].read_text(encoding="utf-8"))
        data["model"].pop("sha256")
        data["model"]["experts"]["high"]["dit"] = high
        data["model"]["experts"]["low"]["dit"] = low
        data["stack"] = stack
        (here / "pair.yaml").write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return suite.load(here / "pair.yaml", baselines=here / "baselines")

    return write


OWN = {"high": "files/expert-high.safetensors", "low": "files/expert-low.safetensors"}
ALIKE = {"high": "files/expert-high.safetensors", "low": "files/copy-high.safetensors"}
COMBINED = {"high": "files/both.safetensors", "low": "files/both.safetensors"}


@pytest.mark.parametrize(
    ("low", "stack", "one"),
    [
        ("files/dit.safetensors", [OWN], False),
        ("files/dit.safetensors", [OWN, ALIKE], False),
        ("files/dit.safetensors", [COMBINED], False),
        ("files/dit.safetensors", [{"high": OWN["high"]}], False),
        ("files/dit.safetensors", [ALIKE], True),
        ("files/../files/dit.safetensors", [ALIKE], True),
        ("files/dit-copy.safetensors", [], True),
        ("files/dit-copy.safetensors", [OWN], False),
        ("files/./dit.safetensors", [], True),
        ("files/linked.safetensors", [], True),
        ("files/other.safetensors", [], False),
        ("files/other.safetensors", [ALIKE], False),
    ],
)
def test_two_experts_of_the_same_weights_are_found_by_what_the_files_are(
    here: Path, pair: Callable[..., Suite], low: str, stack: list[dict[str, str]], one: bool
) -> None:
    files = here / "files"
    shutil.copy(files / "dit.safetensors", files / "dit-copy.safetensors")
    (files / "linked.safetensors").symlink_to("dit.safetensors")
    weights = load_file(files / "dit.safetensors")
    save_file({key: value * 2 for key, value in weights.items()}, files / "other.safetensors")
    save_file(load_file(files / "expert-high.safetensors"), files / "copy-high.safetensors", {"a": "copy"})
    both = {
        f"{mark}.{key}": value
        for mark, name in (("transformer", "high"), ("transformer_2", "low"))
        for key, value in load_file(files / f"expert-{name}.safetensors").items()
    }
    save_file(both, files / "both.safetensors")
    found = [
        each for each in look(pair("files/dit.safetensors", low, stack)).findings if each.what != "baseline"
    ]
    assert [each.what for each in found] == ["model.experts.low.dit[0]"] * one
    for each in found:
        assert re.search(
            r"pair\.yaml:\d+: model\.experts\.low\.dit\[0\]: .*: the same weights as high", each.message
        )
        assert ("with the same LoRAs under stack" in each.message) == bool(stack)
        assert each.next_command.startswith("sed -n ")


def test_what_a_stacked_lora_warns_of_is_a_warning_of_the_run(here: Path, pair: Callable[..., Suite]) -> None:
    chosen = pair("files/dit.safetensors", "files/dit.safetensors", [OWN, ALIKE])
    files = here / "files"
    other = load_file(files / "expert-high.safetensors")
    save_file(other, files / "copy-high.safetensors", {"modelspec.architecture": "wan2.1-vace-14b"})
    where = r"pair\.yaml:\d+: stack\[1\]\."
    gated = checkpoints.read(files / "expert-low.safetensors", expert="low")
    asked = experts.pair("mine", {"low": gated}, {"low": 1.0})
    said = look(chosen, loras=(asked,)).warnings
    assert len(said) == 3
    assert re.search(rf"{where}low: the header of files/copy-high\.safetensors says .*of VACE", said[1])
    assert re.search(
        rf"{where}high: files/expert-high.* is the LoRA of stack\[0\]\.high again: their", "".join(said)
    )
    assert re.search(
        r"^files/expert-low\.safetensors is gated and is the LoRA of stack\[0\]\.low \(", said[2]
    )
    assert look(pair("files/dit.safetensors", "files/dit.safetensors", [OWN])).warnings == ()


def test_a_lora_of_two_experts_below_one_denoiser_says_what_that_suite_takes(here: Path) -> None:
    both = {
        f"{mark}.blocks.0.self_attn.q.{side}.weight": np.ones(shape, np.float32)
        for mark in ("transformer", "transformer_2")
        for side, shape in (("lora_A", (4, 192)), ("lora_B", (192, 4)))
    }
    save_file(both, here / "both.safetensors")
    stacked = suite.Stacked(lora=str(here / "both.safetensors"))
    chosen = suite.load("tiny").model_copy(update={"stack": (stacked,)})
    (found,) = [each for each in look(chosen).findings if each.what == "stack[0].lora"]
    assert found.message.endswith("allowed: that of one denoiser, or `high` or `low` of a model with two")


def test_a_tensor_in_two_files_of_a_vae_is_not_two_experts(here: Path, tiny: Callable[..., Suite]) -> None:
    tiny()
    for number in (1, 2):
        shutil.copy(here / "files" / "vae.safetensors", here / "files" / f"part-{number}.safetensors")
    chosen = tiny(("vae: files/vae.safetensors", "vae: files/part-*.safetensors"), _NO_DIGEST_OF_THE_VAE)
    (found,) = [each for each in look(chosen).findings if each.what == "model.vae"]
    assert "the last one would count in silence; allowed: the shards of one model" in found.message
    assert found.next_command == chosen.show("model.vae")


_NO_DIGEST_OF_THE_VAE = (
    "    vae.safetensors: 335faf86b5775c0ab04c5a7f197ad623802903c6b424a23163436234be7e0b8a\n",
    "",
)
