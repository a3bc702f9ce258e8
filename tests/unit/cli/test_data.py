from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pytest_wanlora import cli
from pytest_wanlora.cli.data import add_parser
from pytest_wanlora.errors import DataError, WanloraError
from pytest_wanlora.suite.loading import packaged
from tests.unit.training_data.sets import CAPTIONS, prompts, write_csv, write_prompts
from tests.unit.training_data.test_balance import write_run
from tests.unit.training_data.test_videos import video

SHARE = "urban=0.3,nature=0.3,action=0.2,other=0.2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str | int | Path) -> int:
    """What the command line does with `data ...`, errors passed on."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    chosen = parser.parse_args(["data", *map(str, arguments)])
    code = chosen.run_command(chosen)
    assert isinstance(code, int)
    return code


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_report_prints_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(folder / "m.csv", prompts(urban=8, nature=2))
    assert run("report", "m.csv", "--videos", "none") == 0
    printed = capsys.readouterr()
    assert re.search(r"^urban +8  80\.0 %", printed.out, re.MULTILINE)
    assert printed.err == ""


def test_report_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(folder / "m.json", prompts(urban=8, nature=2))
    assert run("report", "m.json", "--videos", "none", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shares"]["urban"] == 0.8


def test_report_knows_the_trigger_of_the_option_and_of_the_suite(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_prompts(folder / "m.csv", ["qqv, a tram", "a QQV lake"])
    suite = yaml.safe_load(packaged()["tiny"].read_text("utf-8"))
    suite |= {"name": "subject", "subject": {"trigger": "qqv", "references": "references"}}
    suite["scenarios"][0]["prompt"] = "{trigger} in a city"
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    (folder / "references").mkdir()
    plain = ("report", "m.csv", "--videos", "none")
    assert run(*plain) == 0
    assert "trigger" not in capsys.readouterr().out
    assert run(*plain, "--json") == 0
    assert "triggers" not in json.loads(capsys.readouterr().out)
    for named in (("--trigger", "qqv"), ("--suite", "suite.yaml")):
        assert run(*plain, *named) == 0
        assert "trigger 'qqv': a word of its own in 1 of 2 captions, 50.0 %" in capsys.readouterr().out
        assert run(*plain, *named, "--json") == 0
        (use,) = json.loads(capsys.readouterr().out)["triggers"]
        assert use["near"] == [{"text": "QQV", "captions": 1, "example": "line 3: a QQV lake"}]


@pytest.mark.parametrize("row", [("gone.mp4", "a tram"), ("a.mp4", "")])
def test_report_fails_where_the_training_would(folder: Path, row: tuple[str, str]) -> None:
    (folder / "a.mp4").write_bytes(b"x")
    write_csv(folder / "m.csv", [("a.mp4", "a forest"), row])
    assert run("report", "m.csv") == 1


def test_report_looks_for_videos_in_the_base(folder: Path) -> None:
    (folder / "clips").mkdir()
    (folder / "clips" / "a.mp4").write_bytes(b"x")
    write_csv(folder / "m.csv", [("a.mp4", "a forest")])
    assert run("report", "m.csv") == 1
    assert run("report", "m.csv", "--base", "clips") == 0


@pytest.mark.parametrize(("command", "reads"), [("report", True), ("balance", False), ("import", False)])
def test_the_help_of_videos_offers_what_the_command_does(
    command: str, reads: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(command, "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "look for the video files" in text
    assert ("decode each of them" in text) == reads


def test_the_base_of_a_folder_is_refused_and_not_advised(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "clips").mkdir()
    (folder / "clips" / "a.mp4").write_bytes(b"x")
    (folder / "clips" / "a.txt").write_text("a tram")
    with pytest.raises(DataError, match=r"--base: clips says itself.*\nnext: leave --base out$"):
        run("report", "clips", "--base", ".")
    for name in ("a.mp4", "a.txt"):
        (folder / "clips" / name).unlink()
    write_csv(folder / "clips" / "m.csv", [("gone.mp4", "a forest")])
    for path, advice in (
        ("clips", "correct the names"),
        ("clips/m.csv", "name the folder of the videos with"),
    ):
        assert run("report", path) == 1
        assert f"next: {advice}" in capsys.readouterr().out


def test_report_reads_videos_at_the_sizes_of_the_suite_or_of_the_options(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video(folder / "a.mp4", 6)
    write_csv(folder / "m.csv", [("a.mp4", "a forest")])
    assert run("report", "m.csv", "--videos", "read", "--suite", "wan2.2-ti2v-5b") == 0
    assert "trained at 832x480 and up to 9 frames" in capsys.readouterr().out
    assert run("report", "m.csv", "--videos", "read", "--height", "64", "--width", "64", "--frames", "5") == 0
    assert "trained at 64x64 and up to 5 frames" in capsys.readouterr().out
    assert run("report", "m.csv", "--videos", "read") == 0
    assert "trained at their own size and up to 81 frames" in capsys.readouterr().out
    with pytest.raises(DataError, match="are given together"):
        run("report", "m.csv", "--videos", "read", "--height", "64")


def test_report_and_import_refuse_the_videos_of_an_archive(folder: Path) -> None:
    with zipfile.ZipFile("data.zip", "w") as archive:
        archive.writestr("a.mp4", "x")
        archive.writestr("a.txt", "a tram")
    assert run("report", "data.zip") == 0
    with pytest.raises(DataError, match=r"--videos read: no video in data\.zip is read") as caught:
        run("report", "data.zip", "--videos", "read")
    assert caught.value.next_command == "unzip -n data.zip -d data"
    with pytest.raises(DataError, match="DiffSynth reads no archive") as caught:
        run("import", "data.zip", "--to", "diffsynth")
    assert caught.value.next_command == "unzip -n data.zip -d data"


PACKED = {
    "a.mp4": b"x",
    "a.txt": "벚꽃이 핀 연못".encode(),
    "b.mp4": b"x",
    "b.txt": b"skslighthouse a tram",
}


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (
            [
                "report",
                "set 1.zip",
                "--videos",
                "read",
                "--trigger",
                "skslighthouse",
                "--near-duplicates=0.7",
            ],
            {},
        ),
        (["import", "./set 1.zip", "--to", "diffsynth", "--output", "o.json", "--videos", "exist"], {}),
        (
            [
                "balance",
                "--samples",
                "2",
                "set 1.zip",
                "--share",
                "nature=1",
                "--repeat",
                "--output",
                "o.csv",
            ],
            {"a.txt": "벚꽃이 핀 연못".encode("cp949")},
        ),
        (
            ["categorize", "set 1.zip", "--categories", "subjects", "--output", "o.jsonl"],
            {"a.txt": None, "b.txt": None, "m.csv": b"video,caption\na.mp4,a tram\n"},
        ),
        (
            ["report", "set 1.zip", "--prompt-column", "caption"],
            {"a.txt": None, "b.txt": None, "m.csv": b"video,caption\na.mp4,a tram\n"},
        ),
    ],
)
def test_the_command_that_unpacks_is_the_whole_command_that_was_typed(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], files: dict[str, bytes | None]
) -> None:
    with zipfile.ZipFile("set 1.zip", "w") as archive:
        for name, data in (PACKED | files).items():
            if data is not None:
                archive.writestr(name, data)
    assert cli.main(["data", *command]) == 4
    following = capsys.readouterr().err.rstrip().rpartition("\nnext: ")[2]
    *shell, again = following.split(" && ")
    subprocess.run(["bash", "-c", " && ".join(shell)], check=True, capture_output=True)
    program, words = shlex.split(again)[:3], shlex.split(again)[3:]
    assert program == ["python", "-m", "pytest_wanlora"]
    assert [word if word != "set 1" else "SET" for word in words] == [
        "data",
        *(word if not word.endswith("set 1.zip") else "SET" for word in command),
    ]
    # 1 says that the videos, which are none, cannot be read
    assert cli.main(words) == ("read" in words), capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["report", "m.csv", "--videos", "none"], "m.csv"),
        (["report", "./m.csv", "--videos", "none"], "m.csv"),
        (["report", "set", "--videos", "none"], "set/metadata.csv"),
        (["report", "set", "--videos", "none"], "set/a.txt"),
        (["report", "set.toml", "--videos", "none"], "set/metadata.csv"),
    ],
)
def test_the_command_that_changes_an_encoding_keeps_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], file: str
) -> None:
    text = "벚꽃이 핀 연못"
    (folder / "set").mkdir()
    (folder / "set" / "a.mp4").touch()
    (folder / "set.toml").write_text('[[datasets]]\nvideo_jsonl_file = "set/metadata.csv"\n')
    old = (text if file.endswith("txt") else f"video,prompt\na.mp4,{text}\n").encode("cp949")
    (folder / file).write_bytes(old)
    # what was there before is not written over
    taken = [folder / f"{file}.cp949", (folder / file).with_suffix(".utf8.csv")]
    for each in taken:
        each.write_text("mine")
    assert cli.main(["data", *words]) == 4
    following = capsys.readouterr().err.rstrip().rpartition("\nnext: ")[2]
    *shell, again = following.split(" && ")
    subprocess.run(["bash", "-c", " && ".join(shell)], check=True, capture_output=True)
    assert [each.read_text() for each in taken] == ["mine", "mine"]
    files = [each.read_bytes() for each in folder.rglob("*") if each.is_file()]
    assert files.count(old) == 1
    assert files.count(old.decode("cp949").encode()) == 1
    assert cli.main(shlex.split(again)[3:]) == 0, capsys.readouterr().err
    if len(shell) > 1:
        # once more it does nothing
        assert subprocess.run(["bash", "-c", " && ".join(shell)], capture_output=True).returncode


@pytest.mark.parametrize("output", [["--output", "o.txt"], ["--output=o.txt"], ["--outp", "o.txt"]])
def test_an_option_that_is_corrected_comes_with_the_whole_command(
    folder: Path, capsys: pytest.CaptureFixture[str], output: list[str]
) -> None:
    write_prompts(folder / "m.csv", ["a tram", "a forest"])
    typed = ["data", "categorize", "m.csv", *output, "--categories", "subjects"]
    assert cli.main(typed) == 4
    following = capsys.readouterr().err.rstrip().rpartition("\nnext: ")[2]
    assert following.endswith(" --categories subjects --output o.csv")
    assert cli.main(shlex.split(following)[3:]) == 0
    assert (folder / "o.csv").is_file()


BALANCE = ("balance", "m.csv", "--videos", "none", "--output", "b.csv")


@pytest.mark.parametrize(
    "words",
    [
        ("report", "m.csv", "--videos", "none", "--dev", "cuda"),
        ("report", "m.csv", "--videos", "none", "--frames=81"),
        ("report", "m.csv", "--videos", "none", "--prompt-column", "prompt", "--video-column", "prompt"),
        ("report", "clips", "--videos=none", "--base", "."),
        ("report", "clips", "--videos=none", "--prompt-column", "words", "--video-column", "file"),
        ("import", "clips", "--to", "diffsynth", "--videos", "none", "--output", "m.csv"),
        (*BALANCE, "--samples", "4"),
        (*BALANCE, "--samples", "0", "--share", SHARE),
        (*BALANCE, "--samples", "4", "--share", SHARE, "--candidate", "x"),
        (*BALANCE, "--samples", "4", "--share", SHARE, "--near-duplicates", "0.5"),
        (*BALANCE[:-1], "m.csv", "--overwrite", "--samples", "4", "--share", SHARE),
        (*BALANCE, "--samples", "9", "--share", "urban=0.5"),
        (*BALANCE, "--samples", "9", "--share", "urban"),
        (*BALANCE, "--samples", "9", "--share", "urban=2"),
        (*BALANCE, "--samples", "9", "--share", "urban=x"),
        (*BALANCE, "--samples", "9", "--share", "urban=0.5,urban=0.5"),
        (*BALANCE, "--samples", "9", "--share", "rail=1"),
        (*BALANCE, "--samples", "4", "--toward", "run", "--candidate", "x"),
    ],
)
def test_the_next_command_of_an_option_works_as_printed(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    write_prompts(folder / "m.csv", prompts(urban=9, nature=9, action=9, other=9))
    (folder / "clips").mkdir()
    (folder / "clips" / "a.mp4").write_bytes(b"x")
    (folder / "clips" / "a.txt").write_text("a tram")
    (folder / "run").mkdir()
    write_run(folder / "run" / "results.json", nature="fail", urban="pass")
    before = (folder / "m.csv").read_bytes()
    typed = ["data", *words]
    for _ in range(3):
        code = cli.main(typed)
        error = capsys.readouterr().err
        if code != 4:
            break
        following = error.rstrip().rpartition("\nnext: ")[2]
        assert following.startswith("python -m pytest_wanlora data "), following
        assert shlex.split(following)[3:] != typed
        typed = shlex.split(following)[3:]
    assert typed != ["data", *words]
    # 1 says that the one clip cannot be read
    assert code in (0, 1), error
    assert (folder / "m.csv").read_bytes() == before


def test_report_takes_categories_from_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "w.yaml").write_text("categories: {rail: {en: [tram]}}")
    write_prompts(folder / "m.csv", ["a tram", "a forest"])
    assert run("report", "m.csv", "--videos", "none", "--json", "--categories", "w.yaml") == 0
    assert json.loads(capsys.readouterr().out)["categories"]["rail"] == 1


def test_progress_goes_to_a_terminal_only(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(folder / "m.csv", prompts(urban=3))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run("report", "m.csv", "--videos", "none") == 0
    assert capsys.readouterr().err == "\r3 rows, 50 %\r3 rows, 99 %\r3 rows, 100 %\n"


@pytest.mark.parametrize("value", ["0", "1.5", "much", "nan"])
def test_a_similarity_that_is_none_is_a_usage_error(
    folder: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("report", "m.csv", "--near-duplicates", value)
    assert f"'{value}' is not above 0 and up to 1" in capsys.readouterr().err


def test_clip_needs_a_suite(folder: Path) -> None:
    write_prompts(folder / "m.csv", ["a tram"])
    with pytest.raises(DataError, match=r"--clip needs a suite.*\nnext: --suite wan"):
        run("report", "m.csv", "--clip")


def test_balance_writes_the_wanted_shares_with_all_columns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run("balance", CAPTIONS, "--videos", "none", "--samples", 100, "--share", SHARE, "--output", "b.csv")
        == 0
    )
    drawn = rows(folder / "b.csv")
    known = {tuple(row.items()) for row in rows(CAPTIONS)}
    assert len(drawn) == 100
    assert all(tuple(row.items()) in known for row in drawn)
    assert len({row["video"] for row in drawn}) == 100
    assert "100 rows, seed 0" in capsys.readouterr().out
    assert run("report", "b.csv", "--videos", "none", "--json") == 0
    assert json.loads(capsys.readouterr().out)["categories"] == {
        "action": 20,
        "urban": 30,
        "nature": 30,
        "other": 20,
    }


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_balance_keeps_the_format(folder: Path, kind: str) -> None:
    source = write_prompts(folder / f"m.{kind}", prompts(urban=6, nature=6, action=4, other=4))
    output = folder / f"b.{kind}"
    assert (
        run("balance", source, "--videos", "none", "--samples", 10, "--share", SHARE, "--output", output) == 0
    )
    text = output.read_text()
    drawn = json.loads(text) if kind == "json" else [json.loads(line) for line in text.splitlines()]
    assert len(drawn) == 10
    assert set(drawn[0]) == {"video", "prompt"}


def test_balance_writes_the_same_bytes_for_the_same_seed(folder: Path) -> None:
    common = ("balance", CAPTIONS, "--videos", "none", "--samples", 60, "--share", SHARE)
    for name, seed in (("a.csv", 4), ("b.csv", 4), ("c.csv", 5)):
        assert run(*common, "--seed", seed, "--output", name) == 0
    assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()
    assert (folder / "a.csv").read_bytes() != (folder / "c.csv").read_bytes()


def test_balance_states_repeats(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(folder / "m.csv", prompts(urban=6, nature=2, action=4, other=4))
    common = ("balance", "m.csv", "--videos", "none", "--samples", 20, "--share", SHARE, "--output", "b.csv")
    assert run(*common, "--repeat") == 0
    assert "repeated: nature has 2 different rows, each is taken 3 times" in capsys.readouterr().out
    assert max(Counter(row["video"] for row in rows(folder / "b.csv")).values()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", 1000, "--share", SHARE], ["urban: 300 wanted", "short", "next: --samples"]),
        (["--samples", 10, "--share", "urban=0.5,nature=0.4"], ["sum to 0.9"]),
        (["--samples", 10], ["--share or --toward"]),
        (["--samples", 10, "--share", SHARE, "--candidate", "x"], ["--candidate: said only of a run"]),
        (["--samples", 10, "--share", SHARE, "--near-duplicates", "0.5"], ["next: --drop near"]),
        (["--samples", 10, "--share", SHARE, "--device", "cuda"], ["--device: said only of CLIP"]),
        (["--samples", 10, "--share", SHARE, "--trigger", " "], ["--trigger: it is empty"]),
        (["--samples", 10, "--share", SHARE, "--output", "b.json"], ["b.json", "does not end in .csv"]),
        (
            ["--samples", 10, "--share", SHARE, "--output", "m.csv", "--overwrite"],
            ["is the file that is read"],
        ),
        (["--samples", 10, "--share", SHARE, "--output", "old.csv"], ["old.csv exists"]),
    ],
)
def test_balance_that_is_refused_writes_nothing(
    folder: Path, arguments: list[str | int], words: list[str]
) -> None:
    write_prompts(folder / "m.csv", prompts(urban=20, nature=20, action=20, other=20))
    (folder / "old.csv").write_text("old")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(WanloraError) as caught:
        run("balance", "m.csv", "--videos", "none", "--output", "b.csv", *map(str, arguments))
    for word in words:
        assert word in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_balance_toward_a_run_raises_what_regressed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(folder / "m.csv", prompts(urban=40, nature=40, action=40, other=40))
    write_run(folder / "results.json", nature="fail", action="warn", urban="pass")
    common = ("balance", "m.csv", "--videos", "none", "--samples", 110, "--toward", "results.json")
    assert run(*common, "--output", "b.csv") == 0
    capsys.readouterr()
    assert run("report", "b.csv", "--videos", "none", "--json") == 0
    assert json.loads(capsys.readouterr().out)["categories"] == {
        "action": 30,
        "urban": 20,
        "nature": 40,
        "other": 20,
    }


def test_balance_leaves_out_rows_without_a_video(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.mp4").write_bytes(b"x")
    write_csv(folder / "m.csv", [("a.mp4", "a tram"), ("gone.mp4", "a skyline at night")])
    assert run("balance", "m.csv", "--samples", 1, "--share", "urban=1", "--output", "b.csv") == 0
    assert [row["video"] for row in rows(folder / "b.csv")] == ["a.mp4"]
    assert "left out before: 1 without a usable video" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_categorize_writes_every_prompt_with_its_reason(folder: Path, kind: str) -> None:
    output = folder / f"c.{kind}"
    assert run("categorize", CAPTIONS, "--output", output) == 0
    text = output.read_text(encoding="utf-8")
    if kind == "csv":
        said = list(csv.DictReader(text.splitlines()))
    else:
        said = json.loads(text) if kind == "json" else [json.loads(line) for line in text.splitlines()]
    assert len(said) == 366
    assert {row["decided_by"] for row in said} <= {"words", "tie", "nothing"}
    assert all(0 <= float(row["confidence"]) <= 1 for row in said)
    assert all(row["reason"] for row in said)


def test_categorize_refuses_another_ending_and_an_old_file(folder: Path) -> None:
    (folder / "old.csv").write_text("old")
    with pytest.raises(DataError, match=r"\.csv or \.tsv or \.json or \.jsonl"):
        run("categorize", CAPTIONS, "--output", "c.txt")
    with pytest.raises(DataError, match="exists"):
        run("categorize", CAPTIONS, "--output", "old.csv")
    assert run("categorize", CAPTIONS, "--output", "old.csv", "--overwrite") == 0


def test_import_writes_what_diffsynth_trains_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = folder / "clips"
    clips.mkdir()
    for name in "ab":
        (clips / f"{name}.mp4").write_bytes(b"x")
        (clips / f"{name}.txt").write_text(f"a tram, {name}")
    assert run("import", "clips", "--to", "diffsynth") == 0
    assert (clips / "metadata.csv").read_text() == 'video,prompt\na.mp4,"a tram, a"\nb.mp4,"a tram, b"\n'
    assert "--dataset_base_path clips --dataset_metadata_path clips/metadata.csv" in capsys.readouterr().out
    (folder / "d.toml").write_text('[[directory]]\npath = "clips"\nnum_repeats = 2\n')
    assert run("import", "d.toml", "--to", "diffsynth", "--output", "m.jsonl") == 0
    lines = [json.loads(line) for line in (folder / "m.jsonl").read_text().splitlines()]
    assert [line["video"] for line in lines] == ["clips/a.mp4"] * 2 + ["clips/b.mp4"] * 2
    assert run("report", "m.jsonl") == 0


def test_import_refuses_what_would_stop_the_training(folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 of 1 row would stop the training.*a.mp4 has no prompt"):
        run("import", ".", "--to", "diffsynth")
    (folder / "a.txt").write_text("a tram")
    with pytest.raises(DataError, match=r"does not end in .csv, .json or .jsonl"):
        run("import", ".", "--to", "diffsynth", "--output", "m.tsv")
    assert not (folder / "metadata.csv").exists()


def test_rows_without_a_prompt_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.mp4").write_bytes(b"x")
    write_csv(folder / "m.csv", [("a.mp4", "a tram"), ("a.mp4", " "), ("", "NaN"), ("b.mp4", "a lake")])
    assert run("report", "m.csv") == 1
    text = capsys.readouterr().out
    assert "2 rows have no prompt" in text
    assert "    such as line 3: a.mp4\n    such as line 4: (no name)\n" in text
    with pytest.raises(DataError) as caught:
        run("import", "m.csv", "--to", "diffsynth", "--output", "b.csv")
    assert (
        "3 of 4 rows would stop the training, such as line 3: a.mp4 has no prompt; line 4: (no name) has no "
        "prompt; line 5: b.mp4 has no usable video; nothing was written"
    ) in str(caught.value)


def test_import_prints_the_report_of_the_same_rows(folder: Path) -> None:
    (folder / "m.csv").write_text("file,words\na.mp4,a tram\n")
    (folder / "base").mkdir()
    with pytest.raises(DataError) as caught:
        run("import", "m.csv", "--to", "diffsynth", "--base", "base", "--prompt-column", "words")
    words = str(caught.value.next_command).removeprefix("python -m pytest_wanlora data ").split()
    assert words == ["report", "m.csv", "--base", "base", "--prompt-column", "words"]
    assert run(*words) == 1
    (folder / "m.toml").write_text("path = 'base'")
    with pytest.raises(DataError, match=r"--base: m\.toml says itself"):
        run("import", "m.toml", "--to", "diffsynth", "--base", "base")
    with pytest.raises(DataError, match="'words' is the column of the prompts and of the videos"):
        run("report", "m.csv", "--prompt-column", "words", "--video-column", "words")
    with pytest.raises(DataError, match="--workers: said only of videos that are read"):
        run("report", "m.csv", "--workers", 2)


def test_a_folder_is_balanced_into_a_table(folder: Path) -> None:
    (folder / "clips").mkdir()
    for name, prompt in (("a", "a tram"), ("b", "a lake")):
        (folder / "clips" / f"{name}.mp4").write_bytes(b"x")
        (folder / "clips" / f"{name}.txt").write_text(prompt)
    common = ("balance", "clips", "--samples", 1, "--share", "nature=1")
    assert run(*common, "--output", "b.jsonl") == 0
    assert json.loads((folder / "b.jsonl").read_text()) == {"video": "b.mp4", "prompt": "a lake"}
    with pytest.raises(DataError, match=r"does not end in \.csv or"):
        run(*common, "--output", "b.txt")
