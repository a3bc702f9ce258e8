"""Every target must exist in the suite's model; which blocks have one is the trainer's business."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from diffsynth.models.wan_video_dit import WanModel
from diffsynth.models.wan_video_image_encoder import WanImageEncoder
from diffsynth.models.wan_video_text_encoder import WanTextEncoder
from diffsynth.models.wan_video_vae import WanVideoVAE

from pytest_wanlora.checkpoint import Checkpoint, experts
from pytest_wanlora.checkpoint.container import Entry
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import (
    Architecture,
    by_shapes,
    check_fit,
    chosen_by,
    find_for,
    gate_command,
    half_alone,
    load,
    misfits,
    other_model,
    other_weights,
    packaged,
)
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
        (loras.known(1024, 8960), "wan2.2-ti2v-5b", "dim: 1024; allowed: 3072"),
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
    checkpoint = loras.known(4096, 13824, range(40))
    with pytest.raises(SuiteError, match="fits no packaged suite; it has dim 4096") as caught:
        find_for(checkpoint)
    assert caught.value.next_command == "python -m pytest_wanlora inspect epoch-2.safetensors"
    assert "another model needs a suite that was written for it" in caught.value.message
    with pytest.raises(SuiteError) as caught:
        check_fit(load("tiny"), checkpoint)
    assert caught.value.next_command == "python -m pytest_wanlora inspect epoch-2.safetensors"
    with pytest.raises(SuiteError) as caught:
        check_fit(load("tiny"), loras.known())
    assert caught.value.options == {"--wanlora-suite": "wan2.2-ti2v-5b"}


def test_packaged_suites_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = by_shapes()
    monkeypatch.setattr("pytest_wanlora.suite.fit.load", lambda *_: pytest.fail("read again"))
    assert all(one is again for one, again in zip(first, by_shapes(), strict=True))


def test_two_suites_that_fit_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wanlora.suite.fit.packaged", lambda: dict.fromkeys("ab", packaged()["tiny"]))
    with pytest.raises(SuiteError, match="fits several packaged suites") as caught:
        find_for(loras.known(192, 768, range(8)))
    assert (
        caught.value.message.count("tiny expects dim 192, ffn_dim 768, blocks 8: --wanlora-suite tiny") == 2
    )
    assert caught.value.options == {"--wanlora-suite": "tiny"}


KEY_IMAGE = {"blocks.0.cross_attn.k_img": (5120, 5120)}


def wide(
    header: dict[str, str] | None = None, more: Mapping[str, tuple[int, ...]] | None = None
) -> Checkpoint:
    found = loras.known(5120, 13824, range(40), more=more or {})
    return dataclasses.replace(found, metadata=header or {})


def both(one: Checkpoint) -> Checkpoint:
    return experts.pair("epoch-2", {"high": one, "low": one}, {"high": 1.0, "low": 1.0})


def test_a_14b_lora_fits_several_suites_and_all_are_listed_with_what_to_type() -> None:
    with pytest.raises(SuiteError, match="fits several packaged suites") as caught:
        find_for(wide())
    lines = caught.value.message.splitlines()
    told = {line.split()[0]: line.partition(": ")[2] for line in lines[1:] if ": --" in line}
    assert told == {
        "wan2.1-i2v-14b": "--wanlora-suite wan2.1-i2v-14b",
        "wan2.1-t2v-14b": "--wanlora-suite wan2.1-t2v-14b",
        "wan2.2-i2v-a14b": "--lora high=epoch-2.safetensors,low=FILE --wanlora-suite wan2.2-i2v-a14b",
        "wan2.2-t2v-a14b": "--lora high=epoch-2.safetensors,low=FILE --wanlora-suite wan2.2-t2v-a14b",
    }
    with pytest.raises(SuiteError, match="several") as caught:
        find_for(both(wide()))
    assert "wan2.1-t2v-14b expects dim 5120, ffn_dim 13824, blocks 40; LoRAs of two experts, high" in (
        caught.value.message
    )


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checkpoint]:
    """A LoRA of that name in the current folder, among other files."""

    def make(name: str, *others: str) -> Checkpoint:
        monkeypatch.chdir(tmp_path)
        for path in map(Path, (name, *others)):
            path.parent.mkdir(exist_ok=True)
            path.touch()
        return dataclasses.replace(wide(), path=Path(name), name=Path(name).stem)

    return make


@pytest.mark.parametrize(
    ("name", "others", "suite", "lora"),
    [
        (
            "seoul_low_noise.safetensors",
            ("seoul_high_noise.safetensors",),
            "wan2.2-t2v-a14b",
            "high=seoul_high_noise.safetensors,low=seoul_low_noise.safetensors",
        ),
        (
            "wan22_i2v_high_noise.safetensors",
            (),
            "wan2.2-i2v-a14b",
            "high=wan22_i2v_high_noise.safetensors,low=FILE",
        ),
        ("low_noise/lora.safetensors", (), "wan2.2-t2v-a14b", "high=FILE,low=low_noise/lora.safetensors"),
        ("seoul_low.safetensors", ("seoul_high.safetensors",), "wan2.2-t2v-a14b", "high=seoul_high."),
        # the word alone may mean anything
        ("seoul_low.safetensors", (), "wan2.1-t2v-14b", ""),
        ("wan2.1_i2v_seoul.safetensors", (), "wan2.1-i2v-14b", ""),
    ],
)
def test_of_several_suites_the_one_that_the_name_says_is_the_next_command(
    half: Callable[..., Checkpoint], name: str, others: tuple[str, ...], suite: str, lora: str
) -> None:
    checkpoint = half(name, *others)
    for asked in (find_for, functools.partial(check_fit, load("wan2.2-ti2v-5b"))):
        with pytest.raises(SuiteError) as caught:
            asked(checkpoint)
        assert caught.value.options["--wanlora-suite"] == suite
        given = caught.value.options.get("--lora", "")
        assert str(given).startswith(lora)
        assert bool(given) == bool(lora)


@pytest.mark.parametrize(("name", "warned"), [("seoul_low_noise", True), ("seoul_low", False)])
def test_half_of_a_pair_on_one_denoiser_is_a_warning(
    half: Callable[..., Checkpoint], name: str, warned: bool
) -> None:
    checkpoint = half(f"{name}.safetensors")
    found = list(half_alone(load("wan2.1-t2v-14b"), checkpoint))
    assert [each.code for each in found] == ["half_alone"] * warned
    said = (
        "seoul_low_noise.safetensors is the low-noise half of a pair by its name, and the model of suite "
        "wan2.1-t2v-14b has one denoiser; the pair is gated by --lora "
        "high=FILE,low=seoul_low_noise.safetensors on a suite with two experts"
    )
    assert [each.words for each in found] == [said] * warned
    assert not list(half_alone(load("wan2.2-t2v-a14b"), both(checkpoint)))


@pytest.mark.parametrize(
    ("others", "lora"),
    [
        ((), "low=seoul_low_noise.safetensors"),
        (
            ("seoul_high_noise.safetensors",),
            "high=seoul_high_noise.safetensors,low=seoul_low_noise.safetensors",
        ),
    ],
)
def test_half_of_a_pair_on_its_suite_leads_to_what_its_name_says(
    half: Callable[..., Checkpoint], others: tuple[str, ...], lora: str
) -> None:
    with pytest.raises(SuiteError, match="none of them named") as caught:
        check_fit(load("wan2.2-t2v-a14b"), half("seoul_low_noise.safetensors", *others))
    assert caught.value.options == {"--lora": lora}


@pytest.mark.parametrize(
    ("checkpoint", "suite", "by"),
    [
        (loras.known(1536, 8960, range(30)), "wan2.1-t2v-1.3b", "shapes"),
        (wide(more=KEY_IMAGE), "wan2.1-i2v-14b", "shapes"),
        (
            wide({"ss_base_model_version": "wan2.1_14b_t2v"}),
            "wan2.1-t2v-14b",
            "ss_base_model_version 'wan2.1_14b_t2v'",
        ),
        (
            both(wide({"modelspec.architecture": "Wan2.2-T2V-A14B/lora"})),
            "wan2.2-t2v-a14b",
            "modelspec.architecture 'Wan2.2-T2V-A14B/lora'",
        ),
        (both(wide({"base_model": "wan22 i2v"})), "wan2.2-i2v-a14b", "base_model 'wan22 i2v'"),
        (both(wide(more={"patch_embedding": (5120, 36, 1, 2, 2)})), "wan2.2-i2v-a14b", "shapes"),
    ],
)
def test_shapes_or_the_header_choose_where_they_are_unambiguous(
    checkpoint: Checkpoint, suite: str, by: str
) -> None:
    assert find_for(checkpoint).name == suite
    assert chosen_by(checkpoint) == by


@pytest.mark.parametrize(
    "header", [{"ss_base_model_version": "wan22_14b"}, {"base_model": "Wan2.2-T2V-A14B"}]
)
def test_a_header_that_says_too_little_does_not_choose(header: dict[str, str]) -> None:
    with pytest.raises(SuiteError, match="its header says") as caught:
        find_for(wide(header))
    assert caught.value.next_command is not None
    assert "--lora high=" in caught.value.next_command


def test_a_pair_needs_experts_and_experts_need_a_pair() -> None:
    with pytest.raises(SuiteError, match=r"LoRAs of two experts, high .* and this model has one denoiser"):
        check_fit(load("wan2.1-t2v-14b"), both(wide()))
    with pytest.raises(SuiteError, match="one LoRA for a model with two experts, and none of them named"):
        check_fit(load("wan2.2-t2v-a14b"), wide())
    narrow = loras.known(3072, 13824, range(40))
    mixed = experts.pair("x", {"high": wide(), "low": narrow}, {"high": 1.0, "low": 1.0})
    assert misfits(load("wan2.2-t2v-a14b"), mixed) == ("low-noise LoRA: dim: 3072; allowed: 5120",)
    check_fit(load("wan2.2-t2v-a14b"), both(wide()))


def test_a_pair_is_named_whole_in_what_to_type_next() -> None:
    one = loras.known(192, 768, range(8))
    strengths = {"high": 1.0, "low": 0.5}
    pair = experts.pair("x", dict.fromkeys(strengths, one), strengths)
    with pytest.raises(SuiteError, match="fits no packaged suite that is chosen by shapes") as caught:
        find_for(pair)
    given = "high=epoch-2.safetensors,low=epoch-2.safetensors@0.5"
    assert caught.value.options == {"--wanlora-suite": "tiny-pair"}
    assert (
        "tiny-pair fits, and is chosen by its name alone: --wanlora-suite tiny-pair" in caught.value.message
    )
    assert "another model" not in caught.value.message
    assert gate_command(load("tiny-pair"), pair) == f"pytest --lora {given} --wanlora-suite tiny-pair"
    with pytest.raises(SuiteError) as caught:
        check_fit(load("wan2.2-ti2v-5b"), pair)
    assert caught.value.options == {"--wanlora-suite": "tiny-pair"}
    narrow = experts.pair("x", dict.fromkeys(strengths, loras.known(100, 200, range(8))), strengths)
    with pytest.raises(SuiteError, match="fits no packaged suite; ") as caught:
        find_for(narrow)
    assert caught.value.next_command == f"python -m pytest_wanlora inspect {given}"


def test_the_sizes_of_two_different_halves_are_not_mixed() -> None:
    halves = {"high": loras.known(5120, 13824, range(40)), "low": loras.known()}
    with pytest.raises(SuiteError, match="fits no packaged suite") as caught:
        find_for(experts.pair("x", halves, dict.fromkeys(halves, 1.0)))
    assert (
        "it has high dim 5120, ffn_dim 13824, blocks 40 (40 with a target) and "
        "low dim 3072, ffn_dim 14336, blocks 30 (30 with a target)\n"
    ) in caught.value.message


def test_a_checkpoint_without_any_known_width_fits_nothing() -> None:
    assert misfits(load("tiny"), loras.known(blocks=[])) == ("dim: unknown; allowed: 192",)


T2V = {"ss_base_model_version": "wan2.2-t2v-a14b"}
I2V = {"ss_base_model_version": "wan2.2-i2v-a14b"}


def called(name: str, header: dict[str, str]) -> Checkpoint:
    return dataclasses.replace(wide(header), name=name, path=Path(f"{name}.safetensors"))


def paired(name: str, high: dict[str, str], low: dict[str, str]) -> Checkpoint:
    halves = {"high": called(f"{name}_high", high), "low": called(f"{name}_low", low)}
    return experts.pair(name, halves, {"high": 1.0, "low": 0.5})


def test_headers_that_name_different_models_choose_no_suite() -> None:
    a, b = paired("a", T2V, T2V), paired("b", I2V, I2V)
    with pytest.raises(SuiteError, match="name different models, and a run gates on one suite") as caught:
        find_for(a, b)
    assert "'wan2.2-t2v-a14b': a_high.safetensors, a_low.safetensors" in caught.value.message
    assert "'wan2.2-i2v-a14b': b_high.safetensors, b_low.safetensors" in caught.value.message
    assert "--wanlora-suite wan2.2-t2v-a14b, --wanlora-suite wan2.2-i2v-a14b" in caught.value.message
    assert caught.value.options == {"--lora": "high=a_high.safetensors,low=a_low.safetensors@0.5"}
    # the first that says one model
    with pytest.raises(SuiteError, match="different models") as caught:
        find_for(paired("d", {}, {}), paired("c", I2V, T2V), b)
    assert caught.value.options == {"--lora": "high=b_high.safetensors,low=b_low.safetensors@0.5"}
    # within one pair nothing can be gated alone
    with pytest.raises(SuiteError, match="different models") as caught:
        find_for(paired("c", I2V, T2V))
    assert caught.value.options == {"--wanlora-suite": "wan2.2-i2v-a14b"}
    # a file that says nothing contradicts nothing
    assert find_for(paired("d", {}, T2V)).name == "wan2.2-t2v-a14b"
    assert chosen_by(paired("d", {}, T2V)) == "ss_base_model_version 'wan2.2-t2v-a14b'"


@pytest.mark.parametrize(
    ("header", "model"),
    [
        ({"ss_base_model_version": "wan2.1-vace-14b"}, "VACE"),
        ({"base_model": "alibaba-pai/Wan2.1-Fun-14B-Control"}, "Fun"),
        ({"model_id": "Wan-AI/Wan2.1-FLF2V-14B-720P"}, "FLF2V"),
        ({"ss_base_model_version": "wan2.2-t2v-a14b", "base_model": "Wan2.2-S2V-14B"}, "S2V"),
        ({"modelspec.architecture": "Wan2.2-Animate-14B/lora"}, "Animate"),
    ],
)
def test_a_model_of_the_same_shapes_that_no_suite_has_is_refused_by_name(
    header: dict[str, str], model: str
) -> None:
    for found in (wide(header), both(wide(header)), dataclasses.replace(SMALL, metadata=header)):
        with pytest.raises(SuiteError, match=f"^{model}: no packaged suite has this model") as caught:
            find_for(found)
        assert caught.value.next_command == "python -m pytest_wanlora inspect epoch-2.safetensors"
        # named by hand it is gated, with a warning
        suite = load("wan2.1-t2v-14b")
        assert [each.code for each in other_model(suite, found)] == ["other_model"]
        assert all(f"of {model}" in each.words for each in other_model(suite, found))


SMALL = loras.known(1536, 8960, range(30))


@pytest.mark.parametrize(
    ("suite", "header", "warned"),
    [
        ("wan2.2-i2v-a14b", T2V, True),
        ("wan2.2-t2v-a14b", T2V, False),
        ("wan2.2-t2v-a14b", {"ss_base_model_version": "wan2.1"}, True),
        ("wan2.2-t2v-a14b-4step", T2V, False),
        # musubi-tuner's words for every Wan model
        ("wan2.2-t2v-a14b", {"modelspec.architecture": "wan2.1/lora"}, False),
        ("wan2.2-ti2v-5b", {"base_model": "wan2.2 i2v 5b"}, False),
        ("wan2.2-ti2v-5b", {"base_model": "wan2.1_t2v_1.3b"}, True),
        ("tiny-pair", T2V, False),
        ("wan2.2-t2v-a14b", {}, False),
    ],
)
def test_a_header_of_another_model_than_the_suite_s_is_a_warning(
    suite: str, header: dict[str, str], warned: bool
) -> None:
    found = list(other_model(load(suite), paired("x", {}, header)))
    assert bool(found) == warned
    if warned:
        assert "the header of x_low.safetensors says" in found[0].words
        assert f"the model of suite {suite} is another one, {load(suite).model.name}" in found[0].words


FULL_SIZE = (
    "wan2.1-t2v-1.3b",
    "wan2.1-t2v-14b",
    "wan2.1-i2v-14b",
    "wan2.2-t2v-a14b",
    "wan2.2-i2v-a14b",
    "wan2.2-ti2v-5b",
)


def _entries(model: torch.nn.Module) -> dict[str, Entry]:
    return {
        name: Entry(dtype="BF16", shape=tuple(each.shape), start=0, size=0)
        for name, each in model.state_dict().items()
    }


def _denoiser(name: str) -> tuple[Architecture, dict[str, Entry]]:
    has = load(name).model.architecture
    with torch.device("meta"):
        model = WanModel(
            dim=has.dim,
            in_dim=has.in_dim or 48,
            ffn_dim=has.ffn_dim,
            out_dim=16,
            text_dim=4096,
            freq_dim=256,
            eps=1e-6,
            patch_size=(1, 2, 2),
            num_heads=has.dim // 128,
            num_layers=has.blocks,
            has_image_input=has.image_layers,
        )
    return has, _entries(model)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_denoiser_of_a_packaged_suite_is_known_by_its_header(name: str) -> None:
    has, entries = _denoiser(name)
    assert other_weights(has, "dit", entries) == ""
    prefixed = {f"model.diffusion_model.{key}": entry for key, entry in entries.items()}
    assert other_weights(has, "dit", prefixed) == ""


def test_the_denoiser_of_another_model_is_told_by_its_header() -> None:
    has, entries = _denoiser("wan2.1-t2v-14b")
    for other in FULL_SIZE:
        said = other_weights(load(other).model.architecture, "dit", entries)
        # headers do not tell models of one size apart
        assert bool(said) is not (other in ("wan2.1-t2v-14b", "wan2.2-t2v-a14b")), (other, said)
    for part, word in (("vae", "VAE"), ("text_encoder", "text encoder")):
        said = other_weights(has, part, entries)
        assert said.startswith("a denoiser (")
        assert said.endswith(f"allowed: the weights of the {word}")


def test_the_other_parts_of_the_models_are_known_by_their_headers() -> None:
    has = load("wan2.1-i2v-14b").model.architecture
    with torch.device("meta"):
        parts = {
            "vae": _entries(WanVideoVAE()),
            "text_encoder": _entries(WanTextEncoder()),
            "image_encoder": _entries(WanImageEncoder()),
        }
    # the published file is of the whole CLIP model
    parts["image_encoder"]["textual.token_embedding.weight"] = Entry(
        dtype="F16", shape=(250002, 1024), start=0, size=0
    )
    assert {part: other_weights(has, part, entries) for part, entries in parts.items()} == dict.fromkeys(
        parts, ""
    )
