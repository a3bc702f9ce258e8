"""Bad LoRA files: how each is made, and the words that its one message must have."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import loras

NAME = "blocks.0.self_attn.q"
DOWN, UP = f"{NAME}.lora_A.default.weight", f"{NAME}.lora_B.default.weight"
ONE = loras.encode([[1.0]])
GOOD = loras.random_lora(blocks=1)

Build = Callable[[Path], Path]


def lora(changes: dict[str, loras.Raw | None] | None = None, variant: str = "diffsynth") -> Build:
    """A good file in a format, with tensors set, or removed where None."""

    def build(folder: Path) -> Path:
        path = loras.write_as(folder, loras.random_lora(blocks=1), variant)
        state = {**loras.read_state(path), **(changes or {})}
        kept = {key: raw for key, raw in state.items() if raw is not None}
        return loras.write(path, kept)

    return build


def raw_file(content: bytes, name: str = "lora.safetensors") -> Build:
    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return build


def config(**values: object) -> Build:
    """A PEFT file whose config has values set."""

    def build(folder: Path) -> Path:
        path = loras.write_as(folder, loras.random_lora(blocks=1), "peft")
        beside = path.parent / "adapter_config.json"
        beside.write_text(json.dumps(json.loads(beside.read_text()) | values))
        return path

    return build


def config_text(text: str | None) -> Build:
    def build(folder: Path) -> Path:
        path = loras.write_as(folder, loras.random_lora(blocks=1), "peft")
        beside = path.parent / "adapter_config.json"
        if text is None:
            beside.unlink()
        else:
            beside.write_bytes(text.encode("latin-1"))
        return path

    return build


def metadata(value: object) -> Build:
    def build(folder: Path) -> Path:
        state = loras.rewrite(loras.random_lora(blocks=1), "diffusers")
        text = value if isinstance(value, str) else json.dumps(value)
        return loras.write(folder / "lora.safetensors", state, {"lora_adapter_metadata": text})

    return build


def header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode() + data


def entry(dtype: str = "F32", shape: str = "[1]", offsets: str = "[0,4]", key: str = "a") -> str:
    return f'{{"{key}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}'


def truncated(at: int) -> Build:
    def build(folder: Path) -> Path:
        path = lora()(folder)
        path.write_bytes(path.read_bytes()[:at])
        return path

    return build


def link_to_nothing(folder: Path) -> Path:
    (folder / "epoch-1.safetensors").symlink_to("nowhere")
    return folder / "epoch-1.safetensors"


def folder_instead(folder: Path) -> Path:
    (folder / "runs").mkdir()
    return folder / "runs"


def pipe_instead(folder: Path) -> Path:
    os.mkfifo(folder / "lora.safetensors")
    return folder / "lora.safetensors"


def missing(folder: Path) -> Path:
    loras.write(folder / "epoch-10.safetensors", loras.random_lora(blocks=1))
    return folder / "epoch-1O.safetensors"


KOHYA = "lora_unet_blocks_0_self_attn_q"
COMFY = f"diffusion_model.{NAME}"
PEFT_BAD = "adapter_config.json: "

# what -> (how it is built, what its message must say)
BAD: dict[str, tuple[Build, tuple[str, ...]]] = {
    # not a file, or not this kind of file
    "missing": (missing, ("no such file", "epoch-10.safetensors", "next: pytest --lora")),
    "missing, nothing near": (
        lambda f: f / "a.safetensors",
        ("no such file", "no .safetensors file lies in"),
    ),
    "missing with its folder": (
        lambda f: f / "no" / "a.safetensors",
        ("no such file", "nor is there a folder"),
    ),
    "below a file": (lambda f: lora()(f) / "a.safetensors", ("no such file", "nor is there a folder")),
    "name too long": (lambda f: f / ("x" * 300), ("cannot be read", "too long")),
    "link to nothing": (link_to_nothing, ("is a link to `nowhere`, which is not there", "next: ls -l ")),
    "beside a link to nothing": (
        lambda f: link_to_nothing(f).with_name("epoch-2.safetensors"),
        ("no such file, and no .safetensors file lies in",),
    ),
    "folder": (folder_instead, ("is a folder", "next: ls -l ")),
    "pipe": (pipe_instead, ("not a regular file",)),
    "empty file": (raw_file(b""), ("is empty (0 bytes)",)),
    "pickle by suffix": (raw_file(b"", "epoch-1.pt"), ("is a pickle", "'.pt'", "allowed is .safetensors")),
    "pickle by suffix in capitals": (raw_file(b"", "EPOCH.CKPT"), ("is a pickle", "'.CKPT'")),
    "pickle by content": (raw_file(pickle.dumps({"a": 1})), ("is a pickle", "0x80", "never opened")),
    "torch archive": (raw_file(b"PK\x03\x04" + bytes(60)), ("is a pickle", "'PK'", "torch.save")),
    "Git LFS pointer": (
        raw_file(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        ("Git LFS pointer", " lfs pull --include lora.safetensors"),
    ),
    "web page": (raw_file(b"\n<!DOCTYPE html><html>Sign in</html>"), ("web page", "next: head -c 300 ")),
    "JSON answer": (raw_file(b'{"error": "Repository not found"}'), ("is JSON text",)),
    "GGUF": (raw_file(b"GGUF" + bytes(40)), ("is a GGUF file", "allowed is safetensors")),
    "shard": (
        lambda f: lora()(f).rename(f / "lora-00001-of-00002.safetensors"),
        ("part 1 of 2", "allowed is a LoRA in one file"),
    ),
    # a broken container
    "three bytes": (truncated(3), ("3 bytes that are no whole safetensors file", "header too small")),
    "header cut": (
        truncated(100),
        (
            "no whole safetensors file: it was cut off, in its header of ",
            "; allowed: a whole one, whose SHA-256",
        ),
    ),
    "data cut": (
        truncated(-1),
        (
            "no whole safetensors file: it was cut off, 1 byte before the end of the last tensor",
            "next: sha256sum ",
        ),
    ),
    "noise": (raw_file(bytes(range(1, 200))), ("no whole safetensors file: Error",)),
    "trailing bytes": (
        raw_file(header(entry(), bytes(9))),
        ("it is too long, by 5 bytes behind the last tensor",),
    ),
    "hole": (raw_file(header(entry(offsets="[4,8]"), bytes(8))), ("invalid offset", "`a`")),
    "shape against size": (raw_file(header(entry(shape="[3]"), bytes(4))), ("invalid shape",)),
    "negative shape": (raw_file(header(entry(shape="[-1]"), bytes(4))), ("-1",)),
    "shape beyond memory": (raw_file(header(entry(shape=f"[{2**62},{2**62}]"), bytes(4))), ("overflow",)),
    "unknown type": (raw_file(header(entry(dtype="F17"), bytes(4))), ("F17",)),
    "no tensors": (raw_file(header("{}")), ("no tensors at all",)),
    # not a plain LoRA
    "full model": (
        lambda f: loras.write(f / "m.safetensors", {f"{NAME}.weight": ONE}),
        ("no LoRA in it", f"'{NAME}.weight'", "lora_A"),
    ),
    "DoRA of PEFT": (
        lora({f"base_model.model.{NAME}.lora_magnitude_vector": ONE}, "peft"),
        ("DoRA", f"'base_model.model.{NAME}.lora_magnitude_vector'"),
    ),
    "DoRA of kohya": (lora({f"{KOHYA}.dora_scale": ONE}, "kohya"), ("DoRA", f"'{KOHYA}.dora_scale'")),
    "lora_B.bias": (
        lora({f"{NAME}.lora_B.default.bias": ONE}),
        ("bias", f"'{NAME}.lora_B.default.bias'", "lora_bias"),
    ),
    "embedding": (lora({"token.lora_embedding_A": ONE}), ("embedding", "'token.lora_embedding_A'")),
    "LoCon": (lora({f"{KOHYA}.lora_mid.weight": ONE}, "kohya"), ("lora_mid", f"'{KOHYA}.lora_mid.weight'")),
    "OFT": (lora({f"{NAME}.oft_blocks": ONE}), ("OFT", f"'{NAME}.oft_blocks'")),
    "whole layer": (
        lora({"head.modules_to_save.weight": ONE}),
        ("whole layer", "'head.modules_to_save.weight'"),
    ),
    "second expert of diffusers": (
        lora({f"transformer_2.blocks.0.attn1.to_q.lora_{half}.weight": ONE for half in "AB"}, "diffusers"),
        # the gate says it of the suite, `read` of the key
        ("expert",),
    ),
    "second expert of DiffSynth": (
        lora({f"pipe.dit2.{half}": GOOD[half] for half in (DOWN, UP)}, "pipe.dit"),
        ("expert",),
    ),
    "text encoder": (
        lora({"lora_te1_encoder_block_0.lora_down.weight": ONE}, "kohya"),
        ("text encoder", "'lora_te1_encoder_block_0.lora_down.weight'"),
    ),
    "image model": (lora({"lora_unet_down_blocks_0.lora_up.weight": ONE}, "kohya"), ("image UNet",)),
    "unknown key": (
        lora({"blocks.0.norm3.weight": ONE}),
        ("'blocks.0.norm3.weight' (1 of 21 keys) is unknown", "allowed are lora_A and lora_B"),
    ),
    "fp8 scale": (lora({f"{NAME}.scale_weight": ONE}), (f"'{NAME}.scale_weight'", "is unknown")),
    "key beyond measure": (lora({"x" * 1000: ONE}), ("key of 1000 characters, allowed are 300", "'xxx")),
    "key with a line break": (lora({f"a\nb.{DOWN}": ONE}), (r"'a\nb.blocks", "is unknown")),
    # pairs that do not pair
    "A without B": (
        lora({UP: None}),
        (f"'{DOWN}' has no partner", "lora_B (lora_up)", f"'{NAME}' is missing"),
    ),
    "B without A": (
        lora({DOWN: None}),
        (f"'{UP}' has no partner", "lora_A (lora_down)", f"'{NAME}' is missing"),
    ),
    "alpha alone": (
        lora({"lora_unet_blocks_7_ffn_0.alpha": ONE}, "kohya"),
        ("'lora_unet_blocks_7_ffn_0.alpha' has no partner", "'blocks.7.ffn.0' is missing"),
    ),
    "only alphas": (lambda f: loras.write(f / "a.safetensors", {f"{NAME}.alpha": ONE}), ("only alphas",)),
    "ranks differ": (
        lora({DOWN: loras.encode(np.ones((3, 16)))}),
        ("ranks differ: 3 by", f"'{DOWN}' [3, 16]", f"4 by '{UP}' [16, 4]", "(rank, in) and (out, rank)"),
    ),
    "A and B swapped": (
        lora({DOWN: loras.encode(np.ones((16, 4))), UP: loras.encode(np.ones((4, 16)))}),
        ("contradicts itself: the model's dim", NAME),
    ),
    "convolution": (
        lora({DOWN: loras.encode(np.ones((4, 16, 1, 2, 2)))}),
        (f"'{DOWN}' has shape [4, 16, 1, 2, 2]", "allowed are 2 dimensions"),
    ),
    "no rows": (lora({DOWN: loras.encode(np.ones((0, 16)))}), (f"'{DOWN}' has shape [0, 16]", "ZeRO-3")),
    "a number": (lora({DOWN: loras.encode(1.0)}), (f"'{DOWN}' has shape []", "allowed are 2 dimensions")),
    "integers": (
        lora({DOWN: loras.Raw("I8", (4, 16), bytes(64))}),
        (f"'{DOWN}' is of type I8", "allowed are F64, F32, F16, BF16"),
    ),
    "4 bits": (
        lora({DOWN: loras.Raw("F4", (4, 16), bytes(32))}),
        (f"'{DOWN}' is of type F4", "allowed are F64"),
    ),
    "two adapters": (
        lora({f"{NAME}.lora_A.other.weight": ONE}),
        ("mixes formats", f"'{DOWN}'", f"'{NAME}.lora_A.other.weight'"),
    ),
    "two prefixes": (lora({f"diffusion_model.{DOWN}": ONE}), ("mixes formats", f"'diffusion_model.{DOWN}'")),
    "lora_A beside lora_down": (lora({f"{NAME}.lora_down.weight": ONE}), ("mixes formats", "lora_down")),
    "an alpha of another format": (lora({f"{COMFY}.alpha": ONE}), ("mixes formats", f"'{COMFY}.alpha'")),
    "the same layer twice": (
        lora(
            {
                "condition_embedder.time_proj.lora_A.weight": ONE,
                "condition_embedder.time_proj.lora_down.weight": ONE,
            },
            "diffusers-bare",
        ),
        ("mixes formats", "lora_down"),
    ),
    # names of no Wan model
    "another model": (
        lambda f: loras.write(
            f / "a.safetensors",
            {f"diffusion_model.double_blocks.0.img_attn.proj.lora_{x}.weight": ONE for x in "AB"},
        ),
        ("none of its 1 target is", "'double_blocks.0.img_attn.proj'", "'blocks.0.self_attn.q'"),
    ),
    "another model of diffusers": (
        lora({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": ONE}, "diffusers"),
        ("'single_transformer_blocks.0.attn.to_q' is no layer of a Wan model", "diffusers"),
    ),
    "another model of kohya": (
        lora({"lora_unet_blocks_0_attn_q.lora_down.weight": ONE}, "kohya"),
        ("'blocks_0_attn_q' is no layer of a Wan model", "kohya"),
    ),
    "two widths": (
        lora(
            {
                "blocks.3.self_attn.q.lora_A.default.weight": loras.encode(np.ones((4, 24))),
                "blocks.3.self_attn.q.lora_B.default.weight": loras.encode(np.ones((24, 4))),
            }
        ),
        ("contradicts itself", "dim is 16 by 'blocks.0.cross_attn.k'", "24 by 'blocks.3.self_attn.q'"),
    ),
    # alpha
    "alpha of zero": (
        lora({f"{KOHYA}.alpha": loras.encode(0.0)}, "kohya"),
        (f"'{KOHYA}.alpha' is 0", "above 0"),
    ),
    "negative alpha": (
        lora({f"{KOHYA}.alpha": loras.encode(-4.0)}, "kohya"),
        (f"'{KOHYA}.alpha' is -4", "above 0"),
    ),
    "alpha of NaN": (
        lora({f"{KOHYA}.alpha": loras.encode(np.nan)}, "kohya"),
        (f"'{KOHYA}.alpha' is nan", "above 0"),
    ),
    "two alphas": (
        lora({f"{KOHYA}.alpha": loras.encode([1.0, 2.0])}, "kohya"),
        (f"'{KOHYA}.alpha' has shape [2]", "allowed is one number"),
    ),
    "alpha of no number": (
        lora({f"{KOHYA}.alpha": loras.Raw("BOOL", (), b"\x01")}, "kohya"),
        (f"'{KOHYA}.alpha' is of type BOOL", "allowed are F64"),
    ),
    # PEFT's config
    "PEFT without config": (
        config_text(None),
        ("adapter_config.json, which is not in", "strength", "next: ls -l "),
    ),
    "config no JSON": (config_text("{"), (PEFT_BAD, "is not JSON")),
    "config no UTF-8": (config_text("\xff"), (PEFT_BAD, "cannot be read")),
    "config a list": (config_text("[]"), (PEFT_BAD, "holds a list", "an object with r and lora_alpha")),
    "config too deep": (config_text("[" * 200_000), (PEFT_BAD, "is not JSON")),
    "config without r": (config(r=None), (PEFT_BAD, "r is None", "a whole number from 1")),
    "config with r true": (config(r=True), (PEFT_BAD, "r is True", "a whole number from 1")),
    "config of another rank": (
        config(r=8),
        (PEFT_BAD, f"rank of '{NAME.replace('self', 'cross')[:9]}", "belongs to"),
    ),
    "config with a rank of text": (
        config(rank_pattern={"q": "4"}),
        (PEFT_BAD, "q is '4'", "a whole number from 1"),
    ),
    "config with a list of ranks": (config(rank_pattern=[4]), (PEFT_BAD, "rank_pattern is [4]", "an object")),
    "config with a bad pattern": (
        config(alpha_pattern={"q(": 4}),
        (PEFT_BAD, "'q('", "a regular expression"),
    ),
    "config without alpha": (config(lora_alpha=None), (PEFT_BAD, "lora_alpha is None", "a number above 0")),
    "config with alpha NaN": (
        config(lora_alpha=float("nan")),
        (PEFT_BAD, "lora_alpha is nan", "a number above 0"),
    ),
    "config of DoRA": (config(use_dora=True), (PEFT_BAD, "use_dora is True", "allowed is none")),
    "config of LoHa": (config(peft_type="LOHA"), (PEFT_BAD, "peft_type is 'LOHA'", "allowed is LORA")),
    "config with biases": (config(bias="all"), (PEFT_BAD, "bias is 'all'", "allowed is 'none'")),
    "config of PiSSA": (
        config(init_lora_weights="pissa_niter_16"),
        (PEFT_BAD, "init_lora_weights is 'pissa_niter_16'", "gaussian"),
    ),
    "config with a list as start": (
        config(init_lora_weights=["x"]),
        (PEFT_BAD, "init_lora_weights is ['x']"),
    ),
    "config with rslora of text": (
        config(use_rslora="yes"),
        (PEFT_BAD, "use_rslora is 'yes'", "true or false"),
    ),
    "metadata no JSON": (metadata("{'r': 4}"), ("lora_adapter_metadata: is not JSON",)),
    "metadata of another rank": (
        metadata({"transformer.r": 9, "transformer.lora_alpha": 9}),
        ("is 9", "have 4"),
    ),
    "metadata without alpha": (metadata({"transformer.r": 4}), ("lora_alpha is None", "a number above 0")),
}
