"""`init`: what it asks, what it refuses, what it writes and prints."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

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

    @pytest.mark.parametrize(("ci", "machine"), [("none", ""), ("github", ", such as that of the CI job,")])
    def test_training_data_that_stays_on_this_machine_is_told(
        self,
        folder: Path,
        tmp_path_factory: pytest.TempPathFactory,
        ci: str,
        machine: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        outside = tmp_path_factory.mktemp("elsewhere") / "metadata.jsonl"
        outside.write_text('{"prompt": "a street"}\n{"prompt": "a plaza"}\n')
        assert cli.main([*FULL, "--ci", ci, "--training-data", str(outside)]) == 0
        (note,) = [line for line in capsys.readouterr().out.splitlines() if "lies outside of" in line]
        assert note.startswith(f"note: {outside} lies outside of {folder.resolve()}, and ")
        assert f"another machine{machine} does not have it" in note

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


def picture(folder: Path, name: str = "frames/a b.png", size: tuple[int, int] = (160, 96)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 90)).save(path)
    return path


class TestFirstFrames:
    PROMPTS = (
        "init",
        "--model",
        "tiny-i2v",
        "--name",
        "mine",
        "--prompt",
        STREET,
        "--prompt",
        "b=nature: a tree",
    )

    @pytest.mark.parametrize("model", ["tiny-i2v", "wan2.2-i2v-a14b", "wan2.2-ti2v-5b-i2v", "wan2.1-i2v-14b"])
    def test_each_prompt_needs_one_and_the_printed_command_works(
        self, folder: Path, model: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [model if word == "tiny-i2v" else word for word in self.PROMPTS]
        assert cli.main(words) == 4
        said = capsys.readouterr().err
        assert "--input-image: missing for street, b; " in said
        assert files(folder) == {}
        assert cli.main(shlex.split(said.rpartition("next: ")[2])[3:]) == 0
        scenarios = suites.load("suites/mine.yaml").scenarios
        assert all(Path(str(each.input_image)).is_file() for each in scenarios)
        assert all(len(each.input_image_sha256) == 64 for each in scenarios)

    def test_a_picture_of_the_folder_is_named_from_the_suite(self, folder: Path) -> None:
        picture(folder)
        more = ["--input-image", "street=frames/a b.png", "--input-image", f"b={folder}/frames/a b.png"]
        assert cli.main([*self.PROMPTS, *more]) == 0
        assert 'input_image: "../frames/a b.png"' in Path("suites/mine.yaml").read_text()
        suite = suites.load("suites/mine.yaml")
        suites.check_digests(suite, skip=["scoring.reference"])
        assert len({each.input_image_sha256 for each in suite.scenarios}) == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["street"], "--input-image: 'street' is not allowed; allowed: 'ID=FILE'"),
            (["other=x.png"], "--input-image: 'other' is no scenario; allowed: street, b"),
            (["b=none.png"], "none.png: not a picture that can be read"),
            (["b=square.png"], "100x100, which DiffSynth would stretch to the video's 160x96"),
        ],
    )
    def test_a_wrong_picture_is_refused(
        self, folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture(folder, "square.png", (100, 100))
        given = [word for each in arguments for word in ("--input-image", each)]
        assert cli.main([*self.PROMPTS, *given]) == 4
        said = capsys.readouterr().err
        assert words in said
        assert not Path("suites").exists()

    def test_a_file_of_prompts_may_name_them(self, folder: Path) -> None:
        picture(folder, "texts/one.png")
        (folder / "texts/prompts.yaml").write_text(
            "scenarios:\n- {id: rain, category: nature, prompt: rain, input_image: one.png}\n"
            "- {id: b, category: nature, prompt: b, input_image: 'package:suites/frames/tiny-nature.png'}\n"
        )
        words = ["init", "--model", "tiny-i2v", "--name", "mine", "--prompts", "texts/prompts.yaml"]
        assert cli.main(words) == 0
        text = Path("suites/mine.yaml").read_text()
        assert '"../texts/one.png"' in text
        assert '"package:suites/frames/tiny-nature.png"' in text
        assert len(suites.load("suites/mine.yaml").scenarios[0].input_image_sha256) == 64

    def test_a_text_to_video_suite_takes_none(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        picture(folder, "wide.png", (832, 480))
        words = ["init", "--model", "wan2.2-t2v-a14b", "--name", "mine", "--prompt", STREET]
        assert cli.main([*words, "--input-image", "street=wide.png"]) == 4
        assert "reads no first frame" in capsys.readouterr().err


class TestPairs:
    PAIR = ("init", "--model", "wan2.2-t2v-a14b", "--name", "mine", "--prompt", STREET)

    @pytest.mark.parametrize(
        ("given", "printed"),
        [
            ([], "high=HIGH.safetensors,low=LOW.safetensors"),
            (["--lora", "high=out/a.safetensors,low=out/b.safetensors"], None),
            (["--lora", "sub/out/"], "out"),
        ],
    )
    def test_the_printed_gate_is_of_two_files(
        self, folder: Path, given: list[str], printed: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wanted = printed or f"high={folder}/out/a.safetensors,low={folder}/out/b.safetensors"
        assert cli.main([*self.PAIR, "--folder", "sub", *given]) == 0
        assert f"  pytest --lora {wanted}\n" in capsys.readouterr().out

    def test_a_pair_is_refused_for_one_denoiser(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([*FULL, "--lora", "high=a.safetensors,low=b.safetensors"]) == 4
        assert "LoRAs of two experts, and the model of wan2.2-ti2v-5b has one" in capsys.readouterr().err


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

    def test_it_asks_for_first_frames(self, folder: Path) -> None:
        picture(folder)
        picture(folder, "square.png", (100, 100))
        answers = ["", "square.png", "frames/a b.png", "none", "yes"]
        words = ["init", "--model", "tiny-i2v", "--name", "mine", "--prompt", STREET]
        code, screen = on_terminal(words, answers, folder)
        assert code == 0, screen
        assert "First frame of street, a picture of 160x96 or of that ratio: " in screen
        assert "100x100, which DiffSynth would stretch" in screen
        (scenario,) = suites.load(folder / "suites/mine.yaml").scenarios
        assert scenario.input_image == str(folder / "suites/../frames/a b.png")

    def test_yes_asks_nothing(self, folder: Path) -> None:
        code, screen = on_terminal([*FULL, "--yes"], [], folder)
        assert code == 0, screen
        assert "?" not in screen
