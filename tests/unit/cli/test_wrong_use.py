"""Every command that is used wrongly says in one message what is wrong, what is allowed and what is next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pytest_wanlora import cli

# two words of the message, and what was typed; MISSING is not there, WRONG.* are there and of the wrong kind
CASES: tuple[tuple[tuple[str, str], tuple[str, ...]], ...] = (
    (("COMMAND", "required"), ()),
    (("nosuch", "inspect"), ("nosuch",)),
    (("inspect", "FILE"), ("inspect",)),
    (("--nosuch", "not known"), ("inspect", "MISSING", "--nosuch")),
    (("MISSING", "no such file"), ("inspect", "MISSING")),
    (("WRONG.txt", "safetensors"), ("inspect", "WRONG.txt")),
    (("EMPTY", "no .safetensors file"), ("inspect", "EMPTY")),
    (("an argument", "empty"), ("inspect", "")),
    (("'nosuch'", "comfyui"), ("inspect", "MISSING", "--for", "nosuch")),
    (("--for", "empty"), ("inspect", "MISSING", "--for", "")),
    (("--to", "required"), ("convert", "MISSING")),
    (("'nosuch'", "peft"), ("convert", "MISSING", "--to", "nosuch")),
    (("MISSING", "no such file"), ("convert", "MISSING", "--to", "peft")),
    (("WRONG.txt", "safetensors"), ("convert", "WRONG.txt", "--to", "peft")),
    (("EMPTY", "folder"), ("convert", "EMPTY", "--to", "peft")),
    (("an argument", "empty"), ("convert", "", "--to", "peft")),
    (("MISSING", "results.json"), ("show", "MISSING")),
    (("WRONG.txt", "not JSON"), ("show", "WRONG.txt")),
    (("schema_version", "1 to"), ("show", "WRONG.json")),
    (("EMPTY", "no run"), ("show", "--runs", "EMPTY")),
    (
        ("--runs", "empty"),
        (
            "show",
            "--runs=",
        ),
    ),
    (("compare", "RUN"), ("compare",)),
    (("MISSING", "results.json"), ("compare", "MISSING", "MISSING")),
    (("EMPTY", "results.json"), ("compare", "EMPTY")),
    (("WRONG.txt", "not JSON"), ("compare", "WRONG.txt")),
    (("an argument", "empty"), ("compare", " ")),
    (("verify", "RECEIPT"), ("verify",)),
    (("MISSING", "receipt.json"), ("verify", "MISSING", "MISSING")),
    (("MISSING", "to be published"), ("verify", "WRONG.json", "MISSING")),
    (("'nosuch'", "METRIC>=NUMBER"), ("verify", "WRONG.json", "WRONG.txt", "--require", "nosuch")),
    (("'nosuch'", "METRIC<=NUMBER"), ("verify", "WRONG.json", "WRONG.txt", "--band", "nosuch")),
    (("'x'", "1.0"), ("verify", "WRONG.json", "WRONG.txt", "--scale", "x")),
    (("'x'", "whole number"), ("verify", "WRONG.json", "WRONG.txt", "--min-seeds", "x")),
    (("'x'", "KEY=VALUE"), ("verify", "WRONG.json", "WRONG.txt", "--environment", "x")),
    (("'x'", "64 hexadecimal"), ("verify", "WRONG.json", "WRONG.txt", "--suite-sha256", "x")),
    (("--policy", "MISSING"), ("verify", "WRONG.json", "WRONG.txt", "--policy", "MISSING")),
    (("nosuch", "tiny"), ("doctor", "--suite", "nosuch")),
    (("--suite", "empty"), ("doctor", "--suite", "")),
    (("ray", "COMMAND"), ("ray",)),
    (("'x'", "float"), ("ray", "doctor", "local", "--wait", "x")),
    (("WRONG.txt", "cannot be written"), ("examples", "WRONG.txt")),
    (("--suite", "--videos"), ("reference",)),
    (("EMPTY", ".mp4"), ("reference", "--suite", "tiny", "--videos", "EMPTY", "--output", "o.safetensors")),
    (("o.txt", ".safetensors"), ("reference", "--suite", "tiny", "--videos", "EMPTY", "--output", "o.txt")),
    (("--output", "a folder"), ("reference", "--suite", "tiny", "--videos", "EMPTY", "--output", "EMPTY")),
    (
        ("'nosuch'", "cuda"),
        (
            *("reference", "--suite", "tiny", "--videos", "EMPTY"),
            *("--output", "o.safetensors", "--device", "nosuch"),
        ),
    ),
    (("data", "COMMAND"), ("data",)),
    (("metadata", "required"), ("data", "report")),
    (("MISSING", "cannot be read"), ("data", "report", "MISSING")),
    (("an argument", "empty"), ("data", "report", "")),
    (("--near-duplicates", "up to 1"), ("data", "report", "WRONG.json", "--near-duplicates", "3")),
    (("MISSING", "YAML"), ("data", "report", "WRONG.json", "--categories", "MISSING")),
    (("--videos", "exist"), ("data", "report", "WRONG.json", "--videos", "x")),
    (("--samples", "required"), ("data", "balance", "WRONG.json", "--output", "o.json")),
    (("--to", "required"), ("data", "import", "WRONG.json")),
    (
        ("--categories: https://h/w.yaml", "a path"),
        ("data", "report", "m", "--categories", "https://h/w.yaml"),
    ),
    (("--base: s3://h/v", "a path"), ("data", "report", "WRONG.json", "--base=s3://h/v")),
    (("metadata: https://h/m.csv", "a path"), ("data", "report", "https://h/m.csv")),
    (("--output: https://h/o.csv", "a path"), ("data", "categorize", "m", "--output", "https://h/o.csv")),
    (("receipt: https://h/r.json", "a path"), ("verify", "https://h/r.json", "WRONG.txt")),
    (("watch", "FOLDER"), ("watch",)),
    (("WRONG.txt", "no folder"), ("watch", "WRONG.txt")),
    (("--idle", "90s"), ("watch", "EMPTY", "--idle", "x")),
    (("--keep-size", "20GB"), ("clean", "--keep-size", "x")),
    (("MISSING", "not a folder"), ("clean", "--runs", "MISSING")),
    (("nosuch", "tiny"), ("init", "--yes", "--name", "a", "--prompt", "a=b: text", "--model", "nosuch")),
)
# what a command that can be pasted begins with; words would say what to do
PROGRAMS = ("ls", "cat", "head", "python", "pytest", "sha256sum", "find", "grep", "curl")


@pytest.mark.parametrize(("said", "typed"), CASES, ids=[" ".join(typed) or "nothing" for _, typed in CASES])
def test_what_is_wrong_and_what_to_do_next(
    said: tuple[str, str],
    typed: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("WRONG.txt").write_text("hello", encoding="utf-8")
    Path("WRONG.json").write_text('{"a": 1}', encoding="utf-8")
    Path("EMPTY").mkdir()
    assert cli.main(typed) in (1, 4)
    captured = capsys.readouterr()
    message, _, command = captured.err.rstrip("\n").rpartition("\nnext: ")
    assert message, captured
    assert command.strip(), captured
    assert all(word in message for word in said), message
    assert "\n" not in command
    words = shlex.split(command)
    assert words[0] in PROGRAMS, command
    if words[:1] == ["ls"]:
        assert all(Path(word).exists() for word in words[1:] if not word.startswith(("-", "*"))), command
    if words[:3] == ["python", "-m", "pytest_wanlora"] and words[-1] == "--help":
        # of the command that was typed, and not of all
        assert words[3:-1] == list(typed[: len(words) - 4])
        assert cli.main(words[3:]) == 0


def test_a_checkpoint_of_another_name_is_offered_to_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytest_wanlora import testing

    monkeypatch.chdir(tmp_path)
    testing.write_lora(tmp_path / "epoch 2.safetensors")
    for typed in (["inspect", "epoch2.safetensors"], ["convert", "epoch2.safetensors", "--to", "peft"]):
        assert cli.main(typed) == 4
        error = capsys.readouterr().err
        assert "--lora" not in error
        _, _, command = error.rstrip("\n").rpartition("\nnext: ")
        words = shlex.split(command)
        assert words[:4] == ["python", "-m", "pytest_wanlora", typed[0]]
        assert cli.main(words[3:]) in (0, 1)
        capsys.readouterr()


def test_an_option_goes_with_its_value_and_stays_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("video,prompt\na.mp4,x\n", encoding="utf-8")
    for typed, following in (
        ("watch . -- -q --lora x -s", "watch . -- -q -s"),
        ("watch . -- --co -v", "watch . -- -v"),
        ("watch . -- -k clip", "watch ."),
        ("watch . --every 9s -- -vkclip -n 2 -xq", "watch . --every 9s -- -v -n 2 -q"),
        (
            "watch . -- -m x -mx --deselect a --deselect=b --maxfail 1 --lf --sw -s tests",
            "watch . -- -s tests",
        ),
        ("watch . -- --wanlora-scenario a wanlora::test_checkpoint -n 2 -rx", "watch . -- -n 2 -rx"),
        ("watch . --idle x -- -q", "watch . --idle 30m -- -q"),
        ("watch . --idle=-1 -- -q", "watch . --idle 30m -- -q"),
        ("watch . -- --wanlora-plan --wanlora-scale -1", "watch . -- --wanlora-scale -1"),
        (
            "data balance a.csv --samples 1 --share urban=1 --output=-x.txt",
            "data balance a.csv --samples 1 --share urban=1 --output=-x.csv",
        ),
    ):
        assert cli.main(typed.split()) == 4
        assert capsys.readouterr().err.endswith(f"\nnext: python -m pytest_wanlora {following}\n")


@pytest.mark.parametrize("prompts", [["x"], ["x", "a=b: text"]])
def test_an_option_that_is_repeated_is_not_replaced(
    prompts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word for prompt in prompts for word in ("--prompt", prompt)]
    assert cli.main(["init", "--yes", "--model", "tiny", "--name", "mine", *given]) == 4
    following = capsys.readouterr().err.rstrip().rpartition("\nnext: ")[2]
    if len(prompts) > 1:
        assert following.startswith("write --prompt 'test1_street=urban: ")
    else:
        assert cli.main(shlex.split(following)[3:]) == 0


def test_a_refused_receipt_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("receipt.json").write_text("{}", encoding="utf-8")
    Path("a b.safetensors").write_bytes(b"0")
    assert cli.main(["verify", "receipt.json", "a b.safetensors"]) == 1
    refused, following = capsys.readouterr().err.splitlines()
    assert refused.startswith("refused: receipt.json: predicateType")
    assert following == "next: pytest --lora 'a b.safetensors'"
