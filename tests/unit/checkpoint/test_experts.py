"""LoRAs of two experts: files that hold both, pairs of files, and how they are named."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import testing
from pytest_wanlora.checkpoint import (
    asked,
    container,
    experts,
    names_of,
    pairs,
    pairs_by_name,
    reading,
)
from pytest_wanlora.checkpoint.experts import named_in, split
from pytest_wanlora.checkpoint.pairs import absolute
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import from_here
from tests import loras


def files(folder: Path, *names: str) -> Path:
    """A LoRA of its own under each name."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        loras.write(folder / f"{name}.safetensors", loras.random_lora(seed=number))
    return folder


def found(*arguments: str, by_name: bool = True) -> dict[str, dict[str, str]]:
    """Name of each candidate -> expert -> file name; of a single file under an empty expert."""
    all_of = asked(arguments, by_name=by_name)
    return {
        name: {expert: path.name for expert, path in (each.halves or {"": each.path}).items()}
        for name, each in zip(names_of(all_of), all_of, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("seoul_000002000_high_noise", ("high", "seoul_000002000")),
        ("seoul-low-noise", ("low", "seoul")),
        ("MyStyleHighNoise", ("high", "MyStyle")),
        ("low_light_high_noise", ("high", "low_light")),
        ("wan22_HIGH_v1", ("high", "wan22_v1")),
        ("style-low-000010", ("low", "style-000010")),
        ("styleLow", ("low", "style")),
        ("hn_style", ("high", "style")),
        ("low_light", ("low", "light")),
        ("high_noise", ("high", "")),
        ("from_high_to_low", None),
        ("highlight", None),
        ("slow_flow", None),
        ("epoch-4", None),
    ],
)
def test_what_a_name_says(name: str, said: tuple[str, str] | None) -> None:
    assert named_in(name) == said


def test_ai_toolkit_leaves_many_pairs_in_one_folder(tmp_path: Path) -> None:
    steps = [f"seoul_{step:09}" for step in range(250, 2750, 250)]
    files(tmp_path, *(f"{step}_{side}_noise" for step in (*steps, "seoul") for side in ("high", "low")))
    pairs = found(str(tmp_path))
    assert len(pairs) == 11
    assert pairs["seoul_000000250"] == {
        "high": "seoul_000000250_high_noise.safetensors",
        "low": "seoul_000000250_low_noise.safetensors",
    }
    assert found(f"{tmp_path}/*_noise.safetensors") == pairs
    assert pairs_by_name([str(tmp_path)])


def test_diffsynth_leaves_two_folders_of_equal_names(tmp_path: Path) -> None:
    folders = [f"Wan2.2-T2V-A14B_{side}_noise_lora" for side in ("high", "low")]
    files(tmp_path, *(f"{folder}/epoch-{epoch}" for folder in folders for epoch in (2, 10)))
    expected = {f"epoch-{n}": dict.fromkeys(("high", "low"), f"epoch-{n}.safetensors") for n in (2, 10)}
    for arguments in ([str(tmp_path)], [str(tmp_path / each) for each in folders], [f"{tmp_path}/*/*"]):
        assert found(*arguments) == expected
    text = ",".join(f"{side}={tmp_path}/*_{side}_noise_lora/*.safetensors" for side in ("low", "high"))
    assert found(text) == expected
    (one, _) = asked([text], by_name=False)
    assert [path.parent.name for path in one.halves.values()] == folders


def test_a_pair_is_named_by_hand_with_strengths(tmp_path: Path) -> None:
    files(tmp_path, "a", "b@2", "seoul_high", "seoul_low")
    high, low = tmp_path / "seoul_high.safetensors", tmp_path / "seoul_low.safetensors"
    (pair,) = asked([f"low={low}@0.5,high={high}@1.25"], by_name=False)
    assert dict(pair.strengths) == {"high": 1.25, "low": 0.5}
    assert names_of([pair]) == ("seoul",)
    # a name that ends so is a name
    (pair,) = asked([f"high={tmp_path}/a.safetensors,low={tmp_path}/b@2.safetensors"], by_name=False)
    assert pair.strengths["low"] == 1.0
    assert names_of([pair]) == ("a-b@2",)


def test_a_pair_given_twice_is_one_candidate_and_at_other_strengths_another(tmp_path: Path) -> None:
    folder = files(tmp_path, "a_high", "a_low")
    pair = f"high={folder}/a_high.safetensors,low={folder}/a_low.safetensors"
    assert list(
        found(
            str(folder),
            pair,
            pair,
            f"high={folder}/../{folder.name}/a_high.safetensors@1,low={folder}/a_low.safetensors",
        )
    ) == ["a"]
    weaker = pair.replace("a_high.safetensors", "a_high.safetensors@0.5")
    assert list(found(pair, weaker)) == ["a@1", "a@high0.5,low1"]
    assert list(found(weaker)) == ["a"]
    near = [pair.replace(",", f"@{strength},") for strength in ("0.12345678", "0.12345679")]
    assert list(found(*near)) == ["a@high0.12345678,low1", "a@high0.12345679,low1"]
    for each in asked(near, by_name=True):
        (again,) = asked([each.argument], by_name=True)
        assert again.strengths == each.strengths
    # a file may be called so
    files(tmp_path / "other", "a@1")
    assert list(found(pair, weaker, f"{folder}/other")) == ["a@1", "a@high0.5,low1", "a@1-2"]


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (("seoul/HIGH", "seoul/low"), "seoul"),
        (("seoul/high_noise", "seoul/low_noise"), "seoul"),
        (("seoul/high_noise_model", "seoul/low_noise_model"), "seoul-model"),
        (("seoul/lora/HighNoise", "seoul/lora/LowNoise"), "seoul"),
        (("seoul/wan_high", "seoul/wan_low"), "wan"),
    ],
)
def test_a_pair_whose_names_say_nothing_is_called_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], called: str
) -> None:
    folder = files(tmp_path, *names)
    high, low = (folder / f"{name}.safetensors" for name in names)
    assert list(found(str(high.parent))) == [called]
    assert list(found(f"high={high},low={low}")) == [called]
    monkeypatch.chdir(high.parent)
    assert list(found(f"high={high.name},low={low.name}")) == [called]
    assert list(found(".")) == [called]


def test_one_half_alone_and_the_same_file_for_both_are_named(tmp_path: Path) -> None:
    files(tmp_path, "x_high_noise", "both")
    (alone,) = asked([f"high={tmp_path}/x_high_noise.safetensors"], by_name=True)
    assert names_of([alone]) == ("x_high_noise",)
    assert [hint.code for hint in alone.read("x").hints] == ["one_expert"]
    (same,) = asked([f"high={tmp_path}/both.safetensors,low={tmp_path}/both.safetensors"], by_name=True)
    assert names_of([same]) == ("both",)
    checkpoint = same.read("both")
    assert [hint.words for hint in checkpoint.hints] == ["both experts have the same LoRA"]
    assert not checkpoint.problems
    assert not checkpoint.warnings


@pytest.mark.parametrize(
    ("names", "argument", "words"),
    [
        (["a_high_noise", "b_high_noise", "b_low_noise"], "{0}", "no partner for {0}/a_high_noise"),
        (["a_low_noise"], "{0}/*.safetensors", "no partner for {0}/a_low_noise"),
        (["x_high/epoch-1", "x_low/epoch-2"], "{0}", "no partner for {0}/x_high/epoch-1"),
        (["a_high", "b_high", "b_low"], "high={0}/*high*,low={0}/*low*", "no partner for {0}/a_high"),
        (
            ["a_high", "a-high", "a_low"],
            "high={0}/*high*,low={0}/*low*",
            "are both the high-noise half of 'a'",
        ),
        (["a_high"], "high={0}/a_high.safetensors@0", "the strength of high is 0; allowed"),
        (["a_high"], "high={0}/a_high.safetensors,high=b", "high is given twice; allowed: high=FILE"),
        (["a_high"], "middle={0}/a_high.safetensors", "middle is no expert; allowed: high=FILE"),
        (["a_high"], "high=,low=b", "high has no file; allowed"),
        (["a_high"], "high={0}/none.safetensors", "none.safetensors"),
    ],
)
def test_what_is_no_pair_is_refused_by_name(
    tmp_path: Path, names: list[str], argument: str, words: str
) -> None:
    files(tmp_path, *names)
    with pytest.raises(CheckpointError) as caught:
        [each.read("x") for each in asked([argument.format(tmp_path)], by_name=True)]
    assert words.format(tmp_path) in caught.value.message
    assert caught.value.next_command
    assert not pairs_by_name([argument.format(tmp_path)])


def test_a_model_with_one_denoiser_takes_each_file_on_its_own(tmp_path: Path) -> None:
    files(tmp_path, "x_high_noise", "x_low_noise", "low_light")
    assert found(str(tmp_path), by_name=False) == {
        name: {"": f"{name}.safetensors"} for name in ("low_light", "x_high_noise", "x_low_noise")
    }
    odd = tmp_path / "high=x.safetensors"
    os.link(tmp_path / "low_light.safetensors", odd)
    assert found(absolute("high=x.safetensors", tmp_path), by_name=False) == {"high=x": {"": odd.name}}
    text = absolute("high=a.safetensors@2,low=~/b", tmp_path)
    assert text == f"high={tmp_path}/a.safetensors@2,low={Path.home()}/b"


def test_a_pair_has_one_digest_and_one_identity(tmp_path: Path) -> None:
    files(tmp_path, "a", "b")
    read = {name: checkpoints.read(tmp_path / f"{name}.safetensors") for name in "ab"}

    def made(high: str, low: str, strength: float = 1.0) -> checkpoints.Checkpoint:
        return experts.pair("x", {"low": read[low], "high": read[high]}, {"high": 1.0, "low": strength})

    pair = made("a", "b")
    assert (pair.sha256, pair.identity) == (made("a", "b").sha256, made("a", "b").identity)
    others = [made("b", "a"), made("a", "a"), made("b", "b")]
    assert len({each.sha256 for each in (pair, *others)}) == 4
    weaker = made("a", "b", 0.5)
    assert weaker.sha256 == pair.sha256
    assert weaker.identity != pair.identity
    assert len(pair.targets) == 2 * len(read["a"].targets)
    assert (pair.dim, pair.blocks, pair.rank) == (read["a"].dim, read["a"].blocks, read["a"].rank)
    card = pair.describe()
    assert card["file"] == "a.safetensors, b.safetensors"
    assert {name: half["sha256"] for name, half in card["experts"].items()} == {
        "high": read["a"].sha256,
        "low": read["b"].sha256,
    }
    json.dumps(asdict(pair), default=str)
    assert "experts" not in read["a"].describe()


def test_a_broken_half_breaks_the_pair_and_is_named(tmp_path: Path) -> None:
    testing.write_lora(tmp_path / "x_high.safetensors")
    testing.write_lora(tmp_path / "x_low.safetensors", size=0)
    (pair,) = asked([str(tmp_path)], by_name=True)
    problems = pair.read("x").problems
    assert [problem.code for problem in problems] == ["zero_b"]
    assert problems[0].words.startswith("low-noise LoRA: ")
    assert problems[0].targets[0].startswith("low:blocks.0.")


@pytest.mark.parametrize(
    ("high", "low", "told"),
    [
        ("x_high_noise", "x_low_noise", []),
        ("x_low_noise", "x_high_noise", ["'x_low_noise' says low", "'x_high_noise' says high"]),
        ("x_low_lora/epoch-4", "y/epoch-4", ["'x_low_lora' says low"]),
        ("low_light_high_noise", "low_light_low_noise", []),
    ],
)
def test_names_that_contradict_the_experts_are_a_warning(
    tmp_path: Path, high: str, low: str, told: list[str]
) -> None:
    files(tmp_path, high, low)
    (pair,) = asked([f"high={tmp_path}/{high}.safetensors,low={tmp_path}/{low}.safetensors"], by_name=True)
    warnings = pair.read("x").warnings
    assert [warning.code for warning in warnings] == ["expert_name"] * len(told)
    assert all(words in warning.words for words, warning in zip(told, warnings, strict=True))


MARKS = [
    ("transformer_1.", "transformer_2."),
    ("diffusion_model.transformer_1.", "diffusion_model.transformer_2."),
    ("transformer.", "transformer_2."),
    ("high_noise_model.", "low_noise_model."),
    ("pipe.dit.", "pipe.dit2."),
]


@pytest.mark.parametrize("marks", MARKS, ids=[high for high, _ in MARKS])
def test_a_file_with_both_experts_is_split(tmp_path: Path, marks: tuple[str, str]) -> None:
    parts = [loras.random_lora(seed=seed) for seed in (1, 2)]
    state = {
        f"{mark}{key}": value for mark, part in zip(marks, parts, strict=True) for key, value in part.items()
    }
    path = loras.write(tmp_path / "both.safetensors", state)
    with pytest.raises(CheckpointError, match="two experts"):
        checkpoints.read(path)
    (given,) = asked([str(path)], by_name=True)
    pair = given.read("both")
    alone = [
        checkpoints.read(loras.write(tmp_path / f"{number}.safetensors", part))
        for number, part in enumerate(parts)
    ]
    assert [dict(half.norms) for half in pair.experts.values()] == [dict(each.norms) for each in alone]
    for half, each in zip(pair.experts.values(), alone, strict=True):
        own, theirs = checkpoints.weights(half), checkpoints.weights(each)
        assert {name: bytes(value.data) for name, value in own.items()} == {
            name: bytes(value.data) for name, value in theirs.items()
        }
    # one file has one digest
    assert pair.sha256 == checkpoints.read(path, expert="high").sha256
    assert len({half.sha256 for half in pair.experts.values()}) == 1
    assert not pair.hints


def test_a_file_for_the_other_expert_alone_is_refused(tmp_path: Path) -> None:
    state = {f"transformer_2.{key}": value for key, value in loras.random_lora().items()}
    path = loras.write(tmp_path / "x.safetensors", state)
    assert list(split(state)) == ["low"]
    with pytest.raises(CheckpointError, match="its keys name the low-noise expert alone") as caught:
        checkpoints.read(path, expert="high")
    assert caught.value.next_command == f"pytest --lora low={from_here(path)}"
    (given,) = asked([str(path)], by_name=True)
    assert list(given.read("x").experts) == ["low"]


@pytest.mark.parametrize("halves", [1, 2])
def test_the_header_of_a_file_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halves: int
) -> None:
    plain = loras.random_lora()
    marks = ["transformer.", "transformer_2."][:halves] if halves > 1 else [""]
    state = {f"{mark}{key}": value for mark in marks for key, value in plain.items()}
    loras.write(tmp_path / "x.safetensors", state)
    opened, real = [], container.open_container

    def once(path: Path) -> container.Container:
        opened.append(path)
        return real(path)

    for module in (pairs, reading):
        monkeypatch.setattr(module, "open_container", once)
    (one,) = asked([str(tmp_path / "x.safetensors")], by_name=False)
    assert len(one.read("x").experts) == (halves if halves > 1 else 0)
    assert len(opened) == 1


@pytest.mark.parametrize("argument", ["high={0},low={1}", "high={0}", "low={0}@0.5", "high={1},low={0}"])
def test_no_half_of_a_file_is_dropped(tmp_path: Path, argument: str) -> None:
    files(tmp_path, "one")
    both = {
        f"{mark}.{key}": value for mark in ("transformer_1", "transformer_2") for key, value in LORA.items()
    }
    path = loras.write(tmp_path / "both.safetensors", both)
    (given,) = asked([argument.format(path, tmp_path / "one.safetensors")], by_name=True)
    with pytest.raises(
        CheckpointError, match=r"both\.safetensors: given as the .* would be dropped"
    ) as caught:
        given.read("x")
    if "," in argument:
        # the file for both would leave the other one out
        assert str(caught.value.next_command).startswith("python -m pytest_wanlora inspect ")
    else:
        assert caught.value.options == {"--lora": from_here(path)}
    (whole,) = asked([f"high={path}@0.5,low={path}"], by_name=True)
    assert list(whole.read("x").experts) == ["high", "low"]


LORA = loras.random_lora()


@pytest.mark.parametrize(
    ("typed", "words", "meant"),
    [
        (["x_high"], "no partner for", ["high=x_high"]),
        (["y", "x_high"], "no partner for", ["y", "high=x_high"]),
        (["."], "no partner for", ["high=z_high,low=z_low", "one, v2=new", "y", "high=x_high"]),
        (
            ["high=x_high@abc,low=z_low"],
            "of high is abc; allowed: .* high=FILE@0.8",
            ["high=x_high@1,low=z_low"],
        ),
        (["high=x_high@0,5,low=z_low"], "of high is 0,5; allowed", ["high=x_high@1,low=z_low"]),
        (["high=x_high@11,low=z_low@12"], "of high is 11; allowed", ["high=x_high@1,low=z_low@1"]),
        (["high=x_high@11,low=z_low@0.5"], "of high is 11; allowed", ["high=x_high@1,low=z_low@0.5"]),
        (
            ["z_high,z_low"],
            "a list of 2 that are there; allowed: high=FILE,low=FILE",
            ["high=z_high,low=z_low"],
        ),
        (["y,z_low"], "a list of 2 that are there", ["y", "z_low"]),
        (["high=x_high,high=y", "y"], "high is given twice", ["y", "high=x_high,low=y"]),
        (["high=x_high,lwo=z_low"], "lwo is no expert", ["high=x_high,low=z_low"]),
        (["HIGH_NOISE=z_high,low_noise=z_low"], "HIGH_NOISE is no expert", ["high=z_high,low=z_low"]),
        (["a=z_low,b=z_high"], "a is no expert", ["high=z_high,low=z_low"]),
        (["low=y,a=x_high@0.5"], "a is no expert", ["high=x_high@0.5,low=y"]),
        (["high=z_low,high=z_high"], "high is given twice", ["high=z_high,low=z_low"]),
        (["z_high"], "its other half lies beside it; allowed: both", ["high=z_high,low=z_low"]),
        (["y", "low=,high=z_high@0.5"], "low has no file", ["y", "high=z_high@0.5,low=z_low"]),
        (["high=z_high;low=z_low"], "are separated by ';', and not", ["high=z_high,low=z_low"]),
        (["high=y low=z_low"], "are separated by ' ', and not", ["high=y,low=z_low"]),
        (["high=r/*,low=r/*@0.5"], "are both the high-noise half", ["high=r/a_high/e,low=r/a_low/e@0.5"]),
        (["hi=x_high"], "hi is no expert", ["high=x_high"]),
        (["hi=x_high@0.5,Low=z_low"], "hi is no expert", ["high=x_high@0.5,low=z_low"]),
        (["y", "high=deep,low=z_low"], "one in a folder below", ["y", "high=deep/*,low=z_low"]),
        (["y", "deep", "high=z_high,low=z_low"], "a folder below", ["high=z_high,low=z_low", "y", "deep/*"]),
    ],
)
def test_what_was_meant_is_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], words: str, meant: list[str]
) -> None:
    """Whole, with everything that was given besides; and it works when it is pasted."""
    names = ("x_high", "y", "z_high", "z_low", "one, v2=new", "deep/er/lora", "r/a_high/e", "r/a_low/e")
    files(tmp_path, *names)
    monkeypatch.chdir(tmp_path)

    def spelt(text: str) -> str:
        return re.sub(r"\b(x_high|y|z_high|z_low|one, v2=new|r/a_\w+/e)", r"\g<0>.safetensors", text)

    with pytest.raises(CheckpointError, match=words) as caught:
        asked([absolute(spelt(each), tmp_path) for each in typed], by_name=True)
    assert caught.value.options == {"--lora": tuple(map(spelt, meant))}
    asked([absolute(spelt(each), tmp_path) for each in meant], by_name=meant != ["y", "z_low"])


def test_a_file_in_the_place_of_one_that_is_missing_stays_in_its_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "a", "b")
    monkeypatch.chdir(tmp_path)
    (given,) = asked(["high=a.safetensors@0.5,low=b.safetensor"], by_name=True)
    with pytest.raises(CheckpointError, match="no such file") as caught:
        given.read("x")
    assert caught.value.options == {"--lora": "high=a.safetensors@0.5,low=b.safetensors"}
    # of no similar name the partner of the other half; else nobody knows
    files(tmp_path, "c_high", "c_low")
    for typed, meant in (
        ("high=nofile,low=c_low.safetensors", "high=c_high.safetensors,low=c_low.safetensors"),
        ("high=bb,low=c_low.safetensors", "high=c_high.safetensors,low=c_low.safetensors"),
        ("high=a,low=c_low.safetensors", "high=a.safetensors,low=c_low.safetensors"),
        ("high=c_lo,low=c_low.safetensors", "high=c_high.safetensors,low=c_low.safetensors"),
        ("high=c_hig,low=c_lo", "high=c_high.safetensors,low=c_low.safetensors"),
        ("high=nofile,low=a.safetensors", ""),
        ("high=nofile", ""),
    ):
        (given,) = asked([typed], by_name=True)
        with pytest.raises(CheckpointError, match="no such file; in the same folder lie: ") as caught:
            given.read("x")
        assert caught.value.options == ({"--lora": meant} if meant else {})
        assert meant or caught.value.next_command == "ls -l ."


@pytest.mark.parametrize("folder", [".", "deep,low=x"])
def test_names_with_commas_and_equals_signs_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    files(place, "my lora, v2=final_high_noise", "my lora, v2=final_low_noise")
    monkeypatch.chdir(tmp_path)
    (pair,) = asked([str(place)], by_name=True)
    assert names_of([pair]) == ("my lora, v2=final",)
    for text in (pair.argument, pair.argument.replace(".safetensors,low=", ".safetensors@0.5,low=")):
        (again,) = asked([absolute(text, tmp_path)], by_name=True)
        assert dict(again.halves) == dict(pair.halves)


def test_a_strength_behind_a_file_without_an_expert_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "a", "b@2")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"allowed: --wanlora-scale 0\.5, or a strength") as caught:
        asked(["b@2.safetensors", "a.safetensors@0.5"], by_name=False)
    assert caught.value.options == {"--lora": ("b@2.safetensors", "a.safetensors"), "--wanlora-scale": "0.5"}


@pytest.mark.parametrize(
    ("names", "typed"),
    [
        (["x_high", "x_hn", "x_low"], "."),
        (["x_high", "x_hn", "x_low"], "high=x_h*,low=x_low.safetensors"),
        (["x_high", "y_low"], "."),
        (["x_high", "y_high", "z_low"], "high=*_high.*,low=z_low.safetensors"),
        (["x"], "high=x.safetensors,low="),
        (["x", "y", "z"], "high=x.safetensors,low=y.safetensors,low=z.safetensors"),
    ],
)
def test_where_nobody_knows_which_halves_are_a_pair_the_next_command_lists_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], typed: str
) -> None:
    files(tmp_path, *names)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        asked([typed], by_name=True)
    assert not caught.value.options
    assert str(caught.value.next_command).startswith("ls -l ")


def test_half_of_a_file_that_is_for_the_other_expert_does_not_drop_the_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {f"transformer_2.{key}": value for key, value in loras.random_lora().items()}
    low, other = loras.write(Path("x.safetensors"), state), loras.write(Path("y.safetensors"), LORA)
    (given,) = asked([f"high={low},low={other}"], by_name=True)
    with pytest.raises(CheckpointError, match="name the low-noise expert alone") as caught:
        given.read("x")
    assert caught.value.next_command == "python -m pytest_wanlora inspect x.safetensors y.safetensors"
