"""`init`: what it asks, what it refuses, what it writes and prints."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_wanlora import cli
from pytest_wanlora import suite as suites

STREET = "street=urban: a street in Seoul at night"
FULL = ["init", "--model", "wan2.2-ti2v-5b", "--name", "mine", "--prompt", STREET]
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield tmp_path


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestOptions:
    def test_a_suite_and_settings_are_written(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([*FULL, "--lora", "loras/*.safetensors"]) == 0
        assert set(files(folder)) == {"suites/mine.yaml", "pytest.ini", ".gitignore"}
        suite = suites.load("suites/mine.yaml")
        assert suite.name == "mine"
        assert [each.id for each in suite.scenarios] == ["street"]
        assert files(folder)[".gitignore"] == b"/.wanlora/\n/models/\n"
        printed = capsys.readouterr().out
        commands = [
            line.strip() for line in printed.splitlines() if line.startswith("  ") and "#" not in line
        ]
        assert commands == [
            "python -m pytest_wanlora reference --suite suites/mine.yaml --videos reference-videos",
            "pytest --update-baselines",
            "pytest --lora 'loras/*.safetensors'",
        ]
        assert "reference-videos/urban: 256 or more" in printed
        assert "32 videos of the model without a LoRA" in printed

    @pytest.mark.parametrize(
        ("kind", "path"), [("github", ".github/workflows/wanlora.yml"), ("gitlab", ".gitlab-ci.yml")]
    )
    def test_a_ci_file(self, folder: Path, kind: str, path: str) -> None:
        assert cli.main([*FULL, "--ci", kind]) == 0
        assert b"--suite mine" in files(folder)[path]

    def test_another_folder_is_made_and_entered(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            cli.main([*FULL, "--folder", "my gate", "--videos", "my gate/clips", "--lora", "x.safetensors"])
            == 0
        )
        printed = capsys.readouterr().out
        assert "  cd 'my gate'\n" in printed
        assert "--videos clips\n" in printed
        assert f"pytest --lora {folder}/x.safetensors\n" in printed
        assert "my gate/suites/mine.yaml" in files(folder)

    def test_help_names_every_packaged_suite(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "500")  # a narrow terminal breaks names at their hyphens
        assert cli.main(["init", "--help"]) == 0
        printed = capsys.readouterr().out.replace(",", " ").split()
        assert set(suites.packaged()) <= set(printed)

    @pytest.mark.parametrize("model", ["wan2.1-t2v-1.3b", "wan2.2-t2v-a14b", "wan2.2-t2v-a14b-4step"])
    def test_any_packaged_suite_is_one_to_start_from(self, folder: Path, model: str) -> None:
        assert cli.main(["init", "--model", model, "--name", "mine", "--prompt", STREET]) == 0
        assert (
            suites.load(folder / "suites" / "mine.yaml").model == suites.load(suites.packaged()[model]).model
        )

    def test_training_data_is_counted_and_named_in_the_settings(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "data").mkdir()
        (folder / "data/metadata.jsonl").write_text(
            '{"prompt": "ohwx, a street"}\n{"prompt": "ohwx, a plaza"}\n'
        )
        more = ["--prompt", "space=space: a rocket", "--prompt", "tree=nature: a tree"]
        assert cli.main([*FULL, *more, "--training-data", "data/metadata.jsonl"]) == 0
        assert b"wanlora_training_data = data/metadata.jsonl\n" in files(folder)["pytest.ini"]
        printed = capsys.readouterr().out
        assert "training data metadata.jsonl, 2 prompts: urban 100.0%" in printed
        assert "note: no word list has 'space'" in printed
        assert "note: no training prompt is of the category 'nature'" in printed
        assert (
            "note: 100% of the training prompts begin with 'ohwx', and street, space, tree without it"
            in printed
        )

    def test_a_trigger_is_put_in_front(self, folder: Path) -> None:
        assert cli.main([*FULL, "--trigger", "ohwx style"]) == 0
        (scenario,) = suites.load("suites/mine.yaml").scenarios
        assert scenario.prompt == "ohwx style, a street in Seoul at night"
        assert scenario.caption == "a street in Seoul at night"

    def test_prompts_of_a_file_come_behind_those_of_options(self, folder: Path) -> None:
        Path("prompts.yaml").write_text(
            "scenarios:\n- {id: rain, category: nature, prompt: 비}\n", encoding="utf-8"
        )
        assert cli.main([*FULL, "--prompts", "prompts.yaml"]) == 4
        assert cli.main([*FULL, "--prompts", "prompts.yaml", "--caption", "rain=rain in a forest"]) == 0
        assert [each.id for each in suites.load("suites/mine.yaml").scenarios] == ["street", "rain"]

    def test_what_is_in_gitignore_stays(self, folder: Path) -> None:
        Path(".gitignore").write_text("*.pyc\n.wanlora")
        Path("models").mkdir()
        assert cli.main(FULL) == 0
        assert files(folder)[".gitignore"] == b"*.pyc\n.wanlora"

    def test_a_model_of_the_package_needs_no_folder_for_downloads(self, folder: Path) -> None:
        assert cli.main(["init", "--model", "tiny", "--name", "mine", "--prompt", STREET]) == 0
        assert files(folder)[".gitignore"] == b"/.wanlora/\n"


class TestRefusals:
    @pytest.mark.parametrize("extra", [[], ["--yes"]])
    def test_what_is_missing_is_listed_at_once(
        self, folder: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["init", *extra]) == 4
        said = capsys.readouterr().err
        for option in ("--model", "--name", "--prompt"):
            assert f"  {option}" in said
        assert files(folder) == {}
        assert cli.main(["init", "--name", "mine", *extra]) == 4
        assert "  --name" not in capsys.readouterr().err

    def test_the_next_command_works_as_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        import shlex

        cli.main(["init"])
        command = capsys.readouterr().err.rpartition("next: ")[2]
        assert cli.main(shlex.split(command)[3:]) == 0

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--model", "wan"], "--model: 'wan' is no packaged suite; allowed: tiny, wan2.1-i2v-14b"),
            (["--name", "tiny"], "--name: 'tiny' is the name of a packaged suite"),
            (["--name", "a/b"], "--name: 'a/b' is not allowed"),
            (["--name", "mine.yaml"], "--name: 'mine.yaml' is not allowed"),
            (["--ci", "jenkins"], "--ci: 'jenkins' is not allowed; allowed: github, gitlab, none"),
            (["--prompt", "a street"], "--prompt: 'a street' is not allowed"),
            (["--prompt", "street=urban: again"], "2 scenarios have it"),
            (["--prompt", "rain=nature: 비"], "scenario 'rain': the prompt has the letter '비'"),
            (["--prompts", "nowhere.yaml"], "--prompts: nowhere.yaml: no such file"),
            (["--training-data", "nowhere.csv"], "--training-data: nowhere.csv cannot be read"),
        ],
    )
    def test_a_wrong_value_names_its_option(
        self, folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*FULL, *arguments]) == 4
        said = capsys.readouterr().err
        assert words in said
        assert "allowed" in said or "next: " in said
        assert files(folder) == {}

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("suites/mine.yaml", "name: mine\n"),
            (".github/workflows/wanlora.yml", "name: ours\n"),
            ("pytest.ini", "[pytest]\nwanlora_suite = ours.yaml\n"),
        ],
    )
    def test_a_file_that_is_there_stays_and_nothing_else_is_written(
        self, folder: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
        assert cli.main([*FULL, "--ci", "github"]) == 4
        assert files(folder) == {name: text.encode()}
        assert "there already" in capsys.readouterr().err

    def test_a_second_time_changes_nothing(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(FULL) == 0
        before = files(folder)
        assert cli.main(FULL) == 4
        assert files(folder) == before

    def test_a_ci_file_belongs_in_the_root_of_the_repository(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path(".git").mkdir()
        assert cli.main([*FULL, "--ci", "gitlab", "--folder", "sub"]) == 4
        assert "in the root of the repository only" in capsys.readouterr().err
        assert not Path("sub").exists()
        assert cli.main([*FULL, "--ci", "gitlab"]) == 0


class TestWithoutTerminal:
    @pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
    def test_it_ends_and_asks_nothing(self, folder: Path, stdin: int) -> None:
        command = [sys.executable, "-m", "pytest_wanlora", "init"]
        done = subprocess.run(command, stdin=stdin, timeout=60, capture_output=True, text=True, check=False)
        assert done.returncode == 4
        assert done.stdout == ""
        assert "standard input is no terminal" in done.stderr


def on_terminal(arguments: Sequence[str], answers: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a command on a terminal of its own and answer each question; its exit code and the screen.

    `^D` ends the input.
    """
    ours, theirs = pty.openpty()
    waiting = list(answers)
    screen = b""
    with subprocess.Popen(
        [sys.executable, "-m", "pytest_wanlora", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
    ) as process:
        os.close(theirs)
        try:
            while select.select([ours], [], [], 60)[0]:
                part = os.read(ours, 4096)
                screen += part
                if screen.endswith(b": ") and waiting:
                    answer = waiting.pop(0)
                    os.write(ours, b"\x04" if answer == "^D" else f"{answer}\n".encode())
        except OSError:
            pass  # what Linux says of a terminal whose other side has closed
        process.kill()
    os.close(ours)
    assert waiting == []
    return process.returncode, screen.decode("utf-8", errors="replace").replace("\r\n", "\n")


class TestOnTerminal:
    def test_it_asks_for_everything(self, folder: Path) -> None:
        answers = [
            "wan2.2",  # no such suite: asked again
            "",  # the usual one
            "hanok",
            str(EXAMPLES / "epoch-0-metadata.csv"),
            "a street in Seoul at night",
            "",  # urban, decided by its words
            "",  # test1_urban
            "비 내리는 숲",
            "nature",
            "rain",
            "비",  # not English: asked again
            "a forest in the rain",
            "a tea house",
            "한옥 마을",
            "",  # test3: no id can be made of this category
            "",  # no more
            "github",
            "",  # yes
        ]
        code, screen = on_terminal(["init"], answers, folder)
        assert code == 0, screen
        suite = suites.load(folder / "suites/hanok.yaml")
        assert [(each.id, each.category, each.caption) for each in suite.scenarios] == [
            ("test1_urban", "urban", None),
            ("rain", "nature", "a forest in the rain"),
            ("test3", "한옥 마을", None),
        ]
        assert ".github/workflows/wanlora.yml" in files(folder)
        assert "'wan2.2' is no packaged suite; allowed: tiny, wan2.1-i2v-14b" in screen
        assert "urban 80.0%" in screen

    @pytest.mark.parametrize("answer", ["no", "^D"])
    def test_nothing_is_written_without_a_yes(self, folder: Path, answer: str) -> None:
        code, screen = on_terminal([*FULL, "--ci", "none"], ["", answer], folder)
        assert code == 4, screen
        assert "nothing was written" in screen
        assert "Traceback" not in screen
        assert files(folder) == {}

    def test_an_interrupt_writes_nothing(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupted(question: str) -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr("builtins.input", interrupted)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        assert cli.main(["init"]) == 4
        assert "stopped at a question; nothing was written" in capsys.readouterr().err
        assert files(folder) == {}

    def test_yes_asks_nothing(self, folder: Path) -> None:
        code, screen = on_terminal([*FULL, "--yes"], [], folder)
        assert code == 0, screen
        assert "?" not in screen
