"""Every target must exist in the suite's model; which blocks have one is the trainer's business."""

from __future__ import annotations

import pytest

from pytest_wanlora.checkpoint import Checkpoint
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import check_fit, find_for, load, misfits, packaged
from tests import loras

DIM = 192
IMAGE = {f"blocks.{block}.cross_attn.{side}_img": (DIM, DIM) for block in range(8) for side in "kv"}
MODULATIONS = {"blocks.7.modulation": (1, 6, DIM), "head.modulation": (1, 2, DIM)}


def tiny(more: dict[str, tuple[int, ...]]) -> Checkpoint:
    return loras.known(192, 768, [0], more=more)


@pytest.mark.parametrize(
    ("checkpoint", "suite"),
    [
        (loras.known(), "wan2.2-ti2v-5b"),
        (loras.known(ffn_dim=None), "wan2.2-ti2v-5b"),
        (loras.known(192, 768, range(8)), "tiny"),
        (loras.known(blocks=range(20)), "wan2.2-ti2v-5b"),
        (loras.known(blocks=[29]), "wan2.2-ti2v-5b"),
        (loras.known(192, 768, [0, 5]), "tiny"),
        (loras.known(blocks=[], more={"text_embedding.0": (3072, 4096)}), "wan2.2-ti2v-5b"),
        (loras.known(blocks=[], more={"time_projection.1": (6 * DIM, DIM)}), "tiny"),
        (loras.known(blocks=[], more={"head.head": (192, DIM), "time_embedding.0": (DIM, 256)}), "tiny"),
        (
            loras.known(blocks=[], more=MODULATIONS),
            "tiny",
        ),
        (loras.known(blocks=[], more={"blocks.7.norm3.bias": (DIM,), "blocks.0.ffn.0.bias": (768,)}), "tiny"),
    ],
)
def test_a_lora_on_some_of_the_layers_finds_its_suite(checkpoint: Checkpoint, suite: str) -> None:
    assert find_for(checkpoint).name == suite
    check_fit(load(suite), checkpoint)


@pytest.mark.parametrize(
    ("checkpoint", "suite", "words"),
    [
        (loras.known(1536, 8960), "wan2.2-ti2v-5b", "dim: 1536; allowed: 3072"),
        (loras.known(3072, 13824), "wan2.2-ti2v-5b", "ffn_dim: 13824; allowed: 14336"),
        (loras.known(blocks=range(40)), "wan2.2-ti2v-5b", "blocks: 40; allowed: 30"),
        (loras.known(blocks=[30]), "wan2.2-ti2v-5b", "blocks: 31; allowed: 30"),
        (
            loras.known(192, 768, range(8), more=IMAGE),
            "tiny",
            "trained for an image-to-video model (k_img, v_img): 16 targets that tiny lacks",
        ),
        (
            loras.known(192, 768, range(8), more={"img_emb.proj.3": (DIM, 1280)}),
            "tiny",
            "image-to-video model (img_emb.proj.3)",
        ),
        (
            tiny({"text_embedding.0": (DIM, 4096)}),
            "tiny",
            "text_dim: 4096; allowed: 96",
        ),
        (
            tiny({"time_projection.1": (DIM, DIM)}),
            "tiny",
            "time_projection.1: shape",
        ),
        (
            tiny({"blocks.0.modulation": (1, 2, DIM)}),
            "tiny",
            "blocks.0.modulation: shape",
        ),
    ],
)
def test_what_the_model_lacks_is_named_before_anything_is_loaded(
    checkpoint: Checkpoint, suite: str, words: str
) -> None:
    with pytest.raises(SuiteError, match="epoch-2: fits no packaged suite") as caught:
        find_for(checkpoint)
    assert "wan2.2-ti2v-5b expects dim 3072, ffn_dim 14336, blocks 30" in caught.value.message
    with pytest.raises(SuiteError, match="epoch-2: does not fit the model of suite") as caught:
        check_fit(load(suite), checkpoint)
    assert words in caught.value.message
    assert f"{suite}.yaml:" in caught.value.message


def test_the_two_messages_do_not_point_at_each_other() -> None:
    checkpoint = loras.known(5120, 13824, range(40))
    with pytest.raises(SuiteError, match=r"as a 14B model of Wan2\.1 or Wan2\.2 has") as caught:
        find_for(checkpoint)
    assert caught.value.next_command == "python -m pytest_wanlora inspect epoch-2.safetensors"
    assert "another model needs a suite that was written for it" in caught.value.message
    with pytest.raises(SuiteError) as caught:
        check_fit(load("tiny"), checkpoint)
    assert caught.value.next_command == "python -m pytest_wanlora inspect epoch-2.safetensors"
    with pytest.raises(SuiteError) as caught:
        check_fit(load("tiny"), loras.known())
    assert caught.value.next_command is not None
    assert caught.value.next_command.startswith("leave --wanlora-suite out")


def test_two_suites_that_fit_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wanlora.suite.fit.packaged", lambda: dict.fromkeys("ab", packaged()["tiny"]))
    with pytest.raises(SuiteError, match="fits several packaged suites") as caught:
        find_for(loras.known(192, 768, range(8)))
    assert caught.value.message.count("tiny expects dim 192") == 2
    assert caught.value.next_command == "pytest --lora epoch-2.safetensors --wanlora-suite tiny"


def test_a_checkpoint_without_any_known_width_fits_nothing() -> None:
    assert misfits(load("tiny"), loras.known(blocks=[])) == ("dim: unknown; allowed: 192",)
