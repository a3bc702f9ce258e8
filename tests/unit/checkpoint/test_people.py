"""Files as people have them: names that no one program writes, and what goes wrong on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import formats, names
from pytest_wanlora.errors import CheckpointError
from tests import loras

STATE = loras.random_lora(blocks=2, rank=4, dtype="F32")
NAMES = sorted({key.rsplit(".", 3)[0] for key in STATE})
HALVES = {
    "lora_A": (".lora_A.weight", ".lora_B.weight"),
    "adapter": (".lora_A.best.weight", ".lora_B.best.weight"),
    "bare": (".lora_A", ".lora_B"),
    "lora_down": (".lora_down.weight", ".lora_up.weight"),
    "lora.down": (".lora.down.weight", ".lora.up.weight"),
    "_lora.down": ("_lora.down.weight", "_lora.up.weight"),
    "lora_linear_layer": (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
}


def module(name: str, naming: str) -> str:
    block, layer = name.split(".", 2)[1:]
    if "diffusers" in naming:
        name = f"blocks.{block}.{loras.DIFFUSERS_NAMES[layer]}"
    if naming == "half":
        return name.replace("blocks.", "blocks_", 1)
    return name.replace(".", "_") if "flat" in naming else name


def written(prefix: str, naming: str = "wan", halves: str = "lora_A", alpha: str = "") -> loras.State:
    down, up = HALVES[halves]
    state: loras.State = {}
    for name in NAMES:
        for end, half in ((down, "lora_A"), (up, "lora_B")):
            state[f"{prefix}{module(name, naming)}{end}"] = STATE[f"{name}.{half}.default.weight"]
        if alpha:
            state[f"{prefix}{module(name, naming)}{alpha}"] = loras.encode(2.0)
    return state


def read(folder: Path, state: loras.State, metadata: dict[str, str] | None = None) -> checkpoint.Checkpoint:
    return checkpoint.read(loras.write(folder / "a.safetensors", state, metadata))


PREFIXES = [
    "transformer.",
    "diffusion_model.",
    "model.diffusion_model.",
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "diffusion_model._orig_mod.",
    "pipe.dit.",
    "pipe.dit.module.",
    "dit.",
    "lycoris_",
    "lora_unet_",
    "lora_unet__",
    "lora_transformer_",
    "transformer.module.",
    "",
    "_fsdp_wrapped_module.",
    "unet.",
]


@pytest.mark.parametrize("naming", ["wan", "diffusers", "flat", "flat diffusers", "half"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefix_and_names_of_layers_are_two_choices(tmp_path: Path, prefix: str, naming: str) -> None:
    found = read(tmp_path, written(prefix, naming))
    assert [target.name for target in found.targets] == sorted(NAMES)
    own = checkpoint.weights(found)
    for name in NAMES:
        assert bytes(own[f"{name}.lora_B.weight"].data) == STATE[f"{name}.lora_B.default.weight"].data


@pytest.mark.parametrize("halves", list(HALVES))
def test_halves_have_many_names(tmp_path: Path, halves: str) -> None:
    found = read(tmp_path, written("transformer.", "diffusers", halves))
    assert (len(found.targets), found.format) == (20, "diffusers")
    own = checkpoint.weights(found)
    assert all(
        bytes(own[f"{n}.lora_A.weight"].data) == STATE[f"{n}.lora_A.default.weight"].data for n in NAMES
    )


@pytest.mark.parametrize(
    "wrapper", ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]
)
def test_wrappers_within_a_name_are_no_part_of_it(tmp_path: Path, wrapper: str) -> None:
    state = {
        key.replace("blocks.0.", f"blocks.0.{wrapper}.").replace("blocks.1.", f"blocks.1.{wrapper}."): raw
        for key, raw in written("diffusion_model.").items()
    }
    assert len(read(tmp_path, state).targets) == 20


@pytest.mark.parametrize("prefix", ["base_model.model.diffusion_model.", "base_model.model.module."])
@pytest.mark.parametrize("naming", ["wan", "diffusers"])
def test_peft_around_anything_has_its_config(tmp_path: Path, prefix: str, naming: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    found = read(tmp_path, written(prefix, naming))
    assert (found.format, found.alpha_source) == ("peft", "adapter_config.json")
    assert {target.scale for target in found.targets} == {2.0}


@pytest.mark.parametrize("alpha", [".alpha", ".lora_alpha"])
@pytest.mark.parametrize("prefix", ["transformer.", "diffusion_model.", "lora_unet_"])
def test_alpha_has_two_names(tmp_path: Path, prefix: str, alpha: str) -> None:
    assert {target.scale for target in read(tmp_path, written(prefix, alpha=alpha)).targets} == {0.5}


def test_two_alphas_of_one_target_are_one_too_many(tmp_path: Path) -> None:
    state = written("transformer.", alpha=".alpha") | written("transformer.", alpha=".lora_alpha")
    with pytest.raises(CheckpointError, match="are both alpha of"):
        read(tmp_path, state)


class TestAlpha:
    @pytest.mark.parametrize("missing", [1, 10, 19])
    def test_alpha_on_some_targets_is_counted_and_warned_of(self, tmp_path: Path, missing: int) -> None:
        state = written("diffusion_model.", alpha=".alpha")
        gone = [key for key in state if key.endswith(".alpha")][:missing]
        found = read(tmp_path, {key: raw for key, raw in state.items() if key not in gone})
        (warning,) = found.warnings
        assert (warning.code, len(warning.targets)) == ("alpha_some", missing)
        assert f"alpha 2 on {20 - missing} of 20 targets, none on {missing}" in warning.words
        assert "applied at 1, the others at 0.5" in warning.words
        card = found.describe()
        assert (card["alpha_targets"], card["ranked_targets"]) == (20 - missing, 20)

    def test_alpha_equal_to_the_rank_may_be_left_out(self, tmp_path: Path) -> None:
        state = written("diffusion_model.")
        state["diffusion_model.blocks.0.ffn.0.alpha"] = loras.encode(4.0)
        assert read(tmp_path, state).warnings == ()

    @pytest.mark.parametrize(
        ("prefix", "naming", "metadata", "warned"),
        [
            ("lora_unet_", "flat", {"ss_network_alpha": "1.0", "ss_network_dim": "4"}, True),
            ("lora_unet__", "flat", {"ss_network_alpha": "2"}, True),
            ("lycoris_", "flat diffusers", {"ss_network_alpha": "8.0", "ss_network_dim": "4"}, True),
            ("lora_unet_", "flat", {"ss_network_alpha": "4.0", "ss_network_dim": "4"}, False),
            ("lora_unet_", "flat", {"ss_network_alpha": "None"}, False),
            ("lora_unet_", "flat", {}, False),
            # musubi-tuner folds alpha when it converts, and keeps the header
            ("diffusion_model.", "wan", {"ss_network_alpha": "1.0", "ss_network_dim": "4"}, False),
        ],
    )
    def test_an_alpha_of_the_header_alone_is_told(
        self, tmp_path: Path, prefix: str, naming: str, metadata: dict[str, str], warned: bool
    ) -> None:
        found = read(tmp_path, written(prefix, naming, "lora_down"), metadata)
        assert [each.code for each in found.warnings] == (["alpha_header"] if warned else [])
        assert all("the file has no alpha: applied at 1" in each.words for each in found.warnings)
        assert {target.scale for target in found.targets} == {1.0}


def swapped(layers: tuple[str, ...]) -> loras.State:
    names = {"lora_A": "lora_B", "lora_B": "lora_A"}
    state = loras.random_lora(layers=layers)
    return {re.sub("lora_[AB]", lambda found: names[found[0]], key): raw for key, raw in state.items()}


def pair(module: str, down: tuple[int, int] = (1, 1), up: tuple[int, int] = (1, 1)) -> loras.State:
    shapes = {"A": down, "B": up}
    return {f"{module}.lora_{x}.weight": loras.encode(np.ones(shape)) for x, shape in shapes.items()}


# what -> (the file, what its one message says)
MISLEADING: dict[str, tuple[loras.State, tuple[str, ...]]] = {
    "ZeRO-3": ({key: loras.encode(np.zeros(0)) for key in STATE}, ("ZeRO-3", "FSDP", "gather the weights")),
    "ZeRO-3 with a rank": ({key: loras.encode(np.zeros((0, 4))) for key in STATE}, ("ZeRO-3", "gather")),
    "flat shards": ({key: loras.encode(np.ones(9)) for key in STATE}, ("FSDP", "flat", "gather the weights")),
    "A and B exchanged": (
        swapped(("self_attn.q", "cross_attn.o")),
        ("A and B look exchanged", "(out, rank)"),
    ),
    "A and B exchanged, with a feed-forward layer": (swapped(loras.LAYERS), ("A and B look exchanged",)),
    "two experts": (
        written("diffusion_model.transformer_1.") | written("diffusion_model.transformer_2."),
        ("two experts", "python -m pytest_wanlora inspect "),
    ),
    "two experts of diffusers": (written("transformer.") | written("transformer_2."), ("two experts",)),
    "two experts by noise": (written("high_noise_model.") | written("low_noise_model."), ("two experts",)),
    "two experts, underscored": (
        written("lora_transformer_2_", "flat"),
        ("two experts", "save the LoRA of each expert in a file of its own"),
    ),
    "text encoder alone": (pair("text_encoders.umt5xxl.encoder.block.0.q"), ("text encoder",)),
    "text encoder of PEFT": (
        pair("base_model.model.text_encoder.layers.0.q"),
        ("text encoder", "without the text encoder"),
    ),
    "VACE alone": (
        pair("diffusion_model.vace_blocks.0.self_attn.q"),
        ("VACE", "another Wan model", "no suite loads"),
    ),
    "VACE beside the model": (
        written("") | pair("vace_blocks.0.after_proj"),
        ("1 target is no layer of a Wan model", "VACE"),
    ),
    "Animate": (
        written("") | pair("face_adapter.fuser_blocks.0.q"),
        ("Animate",),
    ),
    "fused q, k and v": (
        written("") | pair("blocks.0.self_attn.qkv") | pair("blocks.1.self_attn.qkv"),
        ("2 targets are no layer of a Wan model (of 22)", "fused"),
    ),
    "unknown prefix": (
        written("my_trainer.net."),
        ("the prefix 'my_trainer.net.' is unknown", "without 'my_trainer.net.'"),
    ),
    "LTX-Video": (
        pair("transformer.transformer_blocks.0.attn1.to_q"),
        ("another model family: LTX-Video",),
    ),
    "HunyuanVideo": (
        pair("lora_unet_double_blocks_0_img_attn_qkv"),
        ("another model family: HunyuanVideo",),
    ),
    "a language model": (
        pair("base_model.model.model.layers.0.self_attn.q_proj"),
        ("another model family", "language model"),
    ),
    "flattened convolution": (
        written("") | pair("patch_embedding", (4, 64), (16, 4)),
        ("patch_embedding is a convolution",),
    ),
}


@pytest.mark.parametrize("what", list(MISLEADING))
def test_the_cause_is_named(tmp_path: Path, what: str) -> None:
    state, words = MISLEADING[what]
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, state)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in caught.value.message


PART = st.sampled_from(
    [
        "blocks",
        "0",
        "1",
        "self_attn",
        "q",
        "ffn",
        "attn1",
        "to_q",
        "to_out",
        "lora_unet_",
        "module",
        "transformer",
        "diffusion_model",
        "vace_blocks",
        "_orig_mod",
        "alpha",
        "lora",
        "base_model",
        "model",
        "head",
        "norm3",
        "",
        "x",
    ]
)
END = st.sampled_from(
    [
        *(end for pair in HALVES.values() for end in pair),
        ".alpha",
        ".lora_alpha",
        ".diff",
        ".diff_b",
        ".diff_m",
        ".lokr_w1",
        ".lokr_w2_a",
        ".hada_w1_a",
        ".weight",
        ".w_norm",
        ".lora_B.bias",
        "",
    ]
)


@st.composite
def key(draw: st.DrawFn) -> str:
    parts = draw(st.lists(PART, min_size=1, max_size=6))
    return draw(st.sampled_from("._")).join(parts) + draw(END)


def understood(keys: list[str]) -> formats.Layout | CheckpointError:
    try:
        return formats.layout(Path("x.safetensors"), keys)
    except CheckpointError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(keys=st.lists(key(), min_size=1, max_size=6, unique=True), real=st.booleans())
def test_every_key_is_part_of_a_target_or_the_file_is_refused(keys: list[str], real: bool) -> None:
    own = [*keys, *(written("diffusion_model.") if real else ())]
    own = list(dict.fromkeys(own))
    layout = understood(own)
    if isinstance(layout, CheckpointError):
        assert "\n" not in layout.message
        assert layout.next_command
        return
    used = {each for group in layout.groups for each in group.keys.values()}
    alphas = {group.alpha_key for group in layout.groups}
    left = set(own) - used - alphas - set(layout.strays)
    # nothing is left but an alpha beside a difference, which programs add whole
    assert all(each.endswith("alpha") for each in left)
    assert all(names.wan_layer(group.name) for group in layout.groups)


@settings(max_examples=200, deadline=None)
@given(
    # the underscore of a wrapper's name after kohya's prefix is Wan-Fun's second one
    prefix=st.lists(st.sampled_from(PREFIXES), max_size=4)
    .map("".join)
    .filter(lambda prefix: not re.search("lora_unet__(orig|fsdp)", prefix)),
    naming=st.sampled_from(["wan", "diffusers", "flat", "flat diffusers", "half"]),
    halves=st.sampled_from(list(HALVES)),
    lost=st.none() | st.integers(0, 39),
)
def test_any_prefix_is_read_whole_or_refused(prefix: str, naming: str, halves: str, lost: int | None) -> None:
    state = written(prefix, naming, halves)
    keys = [each for number, each in enumerate(state) if number != lost]
    layout = understood(keys)
    if isinstance(layout, CheckpointError):
        assert lost is not None
        assert "has no partner" in layout.message
        return
    assert lost is None
    assert [group.name for group in layout.groups] == sorted(NAMES)
