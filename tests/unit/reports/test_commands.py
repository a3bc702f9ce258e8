"""Commands that can be typed, and names of files: one for each checkpoint, safe on every file system."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.reports import commands
from pytest_wanlora.reports.commands import file_name, names_of
from pytest_wanlora.results.parts import Paths
from tests.unit.reports import gated
from tests.unit.reports.records import file_judged, race_card, run_record
from tests.unit.reports.sample_records import training_data


@given(st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20)))
def test_what_can_be_seen_is_quoted_for_any_shell(words: list[str]) -> None:
    assert shlex.split(commands.typed(*words)) == words


@pytest.mark.parametrize(
    "word", ["a\u202eb", "a\nb", "a'\u200bb", "\\\x1b[31m", "$(touch x)\r", "`id`\u2028", "e\U000e0041", "'"]
)
def test_what_cannot_be_seen_is_spelt_out_and_read_back(word: str) -> None:
    line = commands.quoted(word)
    assert line.isprintable()
    script = f"printf %s {line}"
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode() == word


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (("pytest", "--lora", "runs/a/epoch-0.safetensors"), "runs/a/epoch-0.safetensors"),
        (("pytest", "--lora", "C:\\runs\\epoch-0.safetensors"), "C:\\runs\\epoch-0.safetensors"),
        (("pytest", "--lora", "runs/"), "epoch-0.safetensors"),
        (("pytest", "--lora", "my-epoch-0.safetensors"), "epoch-0.safetensors"),
    ],
)
def test_the_checkpoint_is_named_as_it_was_typed(command: tuple[str, ...], file: str) -> None:
    record = run_record([file_judged()], command=command)
    assert commands.checkpoint_file(record, record.candidates[0]) == file


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("--wanlora-training-data", "data/train_metadata_1k.csv"), "data/train_metadata_1k.csv"),
        (("--wanlora-training-data=../a/train_metadata_1k.csv",), "../a/train_metadata_1k.csv"),
        ((), "train_metadata_1k.csv"),
    ],
)
def test_the_training_data_is_named_as_it_was_typed(words: tuple[str, ...], file: str) -> None:
    record = run_record([file_judged()], command=("pytest", *words), training_data=training_data())
    assert commands.metadata_file(record) == file
    untold = record.model_copy(update={"training_data": None})
    assert commands.metadata_file(untold) == "METADATA.csv"


@pytest.mark.parametrize(
    ("words", "name", "option"),
    [
        (("--wanlora-suite", "my suites/own.yaml"), "own", "--wanlora-suite 'my suites/own.yaml' "),
        (("--wanlora-suite=own.yaml",), "own", "--wanlora-suite=own.yaml "),
        # the shapes of the checkpoint chose it
        ((), "tiny", "--wanlora-suite tiny "),
        # an ini file names it, and will again
        ((), "own", ""),
    ],
)
def test_the_suite_is_named_as_it_was_typed(words: tuple[str, ...], name: str, option: str) -> None:
    record = run_record([file_judged()], command=("pytest", "--lora", "epoch-0.safetensors", *words))
    record = record.model_copy(update={"suite": record.suite.model_copy(update={"name": name})})
    assert commands.update_baseline(record) == f"pytest {option}--update-baselines"
    again = commands.gate_again(record, record.candidates[0], "-x")
    assert again == f"pytest --lora epoch-0.safetensors {option}-x"


def test_a_run_lies_where_runs_lie() -> None:
    record = run_record([file_judged()])
    assert commands.run_folder(record) == ".wanlora/runs/20260102-030405-1-epoch-0"
    assert commands.update_baseline(record) == "pytest --wanlora-suite tiny --update-baselines"
    again = commands.gate_again(record, record.candidates[0], "--wanlora-scale", "0.7")
    assert again == "pytest --lora loras/epoch-0.safetensors --wanlora-suite tiny --wanlora-scale 0.7"


PATHS = Paths(
    run="../out/run 1",
    suite="../own.yaml",
    checkpoints={"epoch-0": "../epochs/epoch-0.safetensors"},
    training_data="../data/a.csv",
)


def test_paths_start_where_the_user_stood() -> None:
    command = ("pytest", "--lora=../epochs", "--wanlora-output-dir", "../out", "--wanlora-baselines-dir=../b")
    record = run_record([file_judged()], command=command, paths=PATHS, training_data=training_data())
    card = record.candidates[0]
    folders = "--wanlora-output-dir ../out --wanlora-baselines-dir=../b"
    assert commands.run_folder(record) == "../out/run 1"
    assert commands.suite_file(record) == "../own.yaml"
    assert commands.metadata_file(record) == "../data/a.csv"
    assert (
        commands.gate_again(record, card, "--wanlora-scale", "0.7")
        == f"pytest --lora ../epochs/epoch-0.safetensors --wanlora-suite tiny {folders} --wanlora-scale 0.7"
    )
    assert commands.update_baseline(record) == f"pytest --wanlora-suite tiny {folders} --update-baselines"


@pytest.mark.parametrize("words", [("--wanlora-scale", "0.5"), ("--wanlora-scale=0.5",)])
def test_an_option_is_replaced_not_repeated(words: tuple[str, ...]) -> None:
    record = run_record([file_judged()], command=("pytest", "--lora", "epoch-0.safetensors", *words))
    card = record.candidates[0]
    assert "0.5" in commands.gate_again(record, card)
    assert "0.5" not in commands.gate_again(record, card, "--wanlora-scale", "0.7")
    assert "0.5" not in commands.update_baseline(record)


def test_the_strength_is_the_one_that_the_race_chose() -> None:
    words = ("pytest", "--lora", "epoch-1.safetensors", "--wanlora-scale", "0.8,1", "--wanlora-race")
    record = run_record([file_judged()], command=words, race=race_card())
    card = record.candidates[0].model_copy(update={"scale": 0.8})
    assert commands.gate_again(record, card).endswith(" --wanlora-suite tiny --wanlora-scale 0.8")


def test_another_baseline_is_not_measured_by_this_command() -> None:
    record = run_record([file_judged()], command=("pytest", "--wanlora-baseline", "accepted"))
    assert commands.update_baseline(record) == ""
    base = run_record([file_judged()], command=("pytest", "--wanlora-baseline=base"))
    assert commands.update_baseline(base) == "pytest --wanlora-suite tiny --update-baselines"


def test_what_was_typed_is_carried_on_and_what_one_run_alone_means_is_not() -> None:
    kept = ["--wanlora-sign-key", "my key", "--wanlora-ray=local", "--wanlora-no-previews"]
    kept += ["--wanlora-training-data", "a.csv", "--wanlora-export=wandb", "--wanlora-export=tensorboard"]
    once = ["--wanlora-race", "--lora", "b.safetensors", "--wanlora-budget", "2h", "--wanlora-scenario=a"]
    once += ["--wanlora-no-cache", "--wanlora-plan", "-k", "city", "-x", "wanlora::one"]
    record = run_record([file_judged()], command=("pytest", "--lora", "a/epoch-0.safetensors", *once, *kept))
    again = shlex.split(commands.gate_again(record, record.candidates[0]))
    assert again == ["pytest", "--lora", "a/epoch-0.safetensors", "--wanlora-suite", "tiny", *kept]
    measured = "pytest --wanlora-suite tiny --wanlora-ray=local --wanlora-no-previews --update-baselines"
    assert commands.update_baseline(record) == measured
    item = record.judgements[0].item
    loras = ["--lora", "a/epoch-0.safetensors", "--lora", "b.safetensors"]
    for typed in ((), ("--wanlora-seeds=2:8",)):
        several = record.model_copy(update={"command": (*record.command, *typed)})
        alone = shlex.split(commands.alone_again(several, item, 9))
        seeds = ["--wanlora-seeds", "4:9"]
        assert alone == ["pytest", *loras, "--wanlora-no-cache", *kept, *seeds, f"wanlora::{item}"]
    assert "--wanlora-seeds" not in commands.alone_again(record, item, 8)


def test_the_id_of_an_item_is_the_one_that_pytest_knows() -> None:
    record = run_record([file_judged()], command=("pytest", "--lora", "größe.safetensors"))
    item = replace(record.judgements[0].item, candidate="größe-에")
    again = shlex.split(commands.alone_again(record, item, 8))
    assert again[-1] == r"wanlora::test_checkpoint[gr\xf6\xdfe-\uc5d0]"


def test_one_item_is_run_without_options_that_choose_tests_or_write_files() -> None:
    command = ["pytest", "--junitxml", "all.xml", "--lora=a.safetensors", "tests", "-k", "city"]
    command += ["-p", "no:xdist", "--lora", "b c.safetensors", "--wanlora-no-cache", "-x"]
    command += ["--wanlora-seeds=2", "wanlora::one"]
    assert commands.item_again(command, "wanlora::two[a]") == (
        "pytest --lora=a.safetensors --lora 'b c.safetensors' -p no:xdist --wanlora-no-cache "
        "--wanlora-seeds=2 'wanlora::two[a]'"
    )


def test_one_checkpoint_needs_no_name() -> None:
    assert file_name(gated.record(), "epoch-2", "receipt", ".json") == "receipt.json"


def test_several_have_theirs() -> None:
    record = gated.several("epoch-1", "epoch-2")
    assert file_name(record, "epoch-1", "receipt", ".json") == "receipt-epoch-1.json"


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a b",
        "에포크-2",
        "x" * 300,
        ".hidden",
        "CON.",
        "tab\there",
        "half \udcff of it",
        "🎬",
        "",
    ],
)
def test_what_is_no_plain_name_gets_a_digest(name: str) -> None:
    card = gated.card(publishable=False).model_copy(update={"name": name})
    found = names_of(gated.record(candidates=(card,)))
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*-[0-9a-f]{8}|[0-9a-f]{8}", found[name])
    assert len(found[name]) < 100


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
def test_no_two_are_alike_whatever_the_case(names: list[str]) -> None:
    cards = tuple(gated.card(publishable=False).model_copy(update={"name": name}) for name in names)
    found = names_of(gated.record(candidates=cards))
    assert len({name.casefold() for name in found.values()}) == len(names)
    assert not any(set(name) & set('/\\:*?"<>|') for name in found.values())


def test_a_candidate_of_several_strengths_is_gated_again_at_its_own() -> None:
    command = ("pytest", "--lora", "e.safetensors", "--wanlora-scale=0.6,1")
    record = run_record([file_judged()], command=command)
    card = record.candidates[0]
    cards = (card.model_copy(update={"scale": 0.6}), card.model_copy(update={"name": "e@1", "scale": 1.0}))
    several = record.model_copy(update={"candidates": cards})
    assert commands.gate_again(several, cards[0]).endswith("--wanlora-scale 0.6")
    assert commands.gate_again(several, cards[1], "--wanlora-seeds", "2").endswith(
        "--wanlora-seeds 2 --wanlora-scale 1"
    )
    assert "0.6,1" not in commands.gate_again(several, cards[1])
