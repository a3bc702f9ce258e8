"""The documentation: its links, and that the options and commands it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pytest_wanlora import LoraFormat, Metric, Model, Report, Scenario, cli, options, registry
from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.reports.writing import write_all
from tests.unit.reports import gated
from tests.unit.test_packaging import RAW, REPOSITORY, targets, wrong
from tools import docs_home, walkthrough

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
ALL = {"README.md": README, **PAGES}


def typed(text: str) -> str:
    """What a person types, and what is printed."""
    return "\n".join(block for _, block in walkthrough.shell_blocks(text))


@pytest.mark.parametrize("name", sorted(PAGES))
class TestPages:
    def test_links_into_the_repository_lead_to_files(self, name: str) -> None:
        # the build of the site checks links between pages, and their anchors
        found = [
            (kind, address) for kind, address in targets(PAGES[name]) if address.startswith((REPOSITORY, RAW))
        ]
        assert [(address, why) for kind, address in found if (why := wrong(kind, address))] == []

    def test_no_link_leaves_the_folder(self, name: str) -> None:
        assert [address for _, address in targets(PAGES[name]) if address.startswith(("../", "/"))] == []

    def test_no_pipe_is_escaped_within_code(self, name: str) -> None:
        # the site shows the backslash, other renderers do not
        assert re.findall(r"`[^`\n]*\\\|[^`\n]*`", PAGES[name]) == []


class TestExamples:
    def test_the_command_of_the_reports_gates_the_three_of_their_pictures(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main(["examples", "examples"]) == 0
        command = re.findall(r"^pytest --lora .*$", typed(PAGES["reports.md"]), re.MULTILINE)[0]
        names = [path.stem for path in checkpoints.expand(shlex.split(command)[2:])]
        assert names == ["epoch-0", "epoch-1", "epoch-2"]

    @pytest.mark.parametrize("page", ["reports.md", "publishing.md"])
    def test_files_of_one_of_several_are_called_as_the_run_calls_them(
        self, page: str, tmp_path: Path
    ) -> None:
        record = gated.several("epoch-1", "epoch-2")
        written = write_all(record, tmp_path).paths
        for path in written:
            if "epoch-2" in path.name:
                assert f"`{path.name}`" in PAGES[page]
        assert {path.name for path in written} >= {"receipt-epoch-2.json", "model-card-epoch-2.md"}

    def test_what_data_categorize_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main(["examples", "examples"]) == 0
        capsys.readouterr()
        found = re.search(
            r"\$ python -m pytest_wanlora (data categorize .*)\n([^$]*)\$ head -2 decided.csv\n(.*\n.*\n)```",
            PAGES["training-data.md"],
        )
        assert found is not None
        assert cli.main(shlex.split(found[1])) == 0
        assert capsys.readouterr().out == found[2]
        assert (
            "".join(Path("decided.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:2]) == found[3]
        )


class TestReadme:
    def test_it_is_short(self) -> None:
        assert len(README.splitlines()) <= 120

    def test_ci_runs_its_test_command(self) -> None:
        command = "make test"
        assert command in typed(README)
        assert command in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
        assert "make gate" in typed(README)

    def test_it_is_the_sites_first_page_with_links_to_the_sites_pages(self) -> None:
        addresses = [address for _, address in targets(docs_home.home(README))]
        local = {address.partition("#")[0] for address in addresses if not address.startswith("https://")}
        assert {"wan2.2.md", "images/report-desktop.png"} <= local
        assert all((ROOT / "docs" / address).is_file() for address in local)
        assert not [address for address in addresses if f"{REPOSITORY}/blob/main/docs" in address]


class TestSite:
    def test_every_page_is_in_the_navigation(self) -> None:
        text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
        named = set(re.findall(r"[\w.-]+\.md", str(yaml.safe_load(text)["nav"])))
        assert named == {*PAGES, "index.md"}

    def test_a_broken_link_or_anchor_fails_the_build(self) -> None:
        config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
        assert config["strict"] is True
        assert set(config["validation"]["links"].values()) == {"warn"}
        assert config["theme"]["font"] is False

    def test_it_is_built_by_what_ci_runs(self) -> None:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        (checks,) = re.findall(r"^test: .*\n\t.*--output-sync=target ([a-z ]+)$", makefile, re.MULTILINE)
        assert checks.split() == ["lint", "types", "docs"]
        assert "mkdocs build --strict" in makefile


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


class TestExtending:
    def test_every_example_defines_what_its_entry_point_names(self) -> None:
        page = PAGES["extending.md"]
        code = [block for block in python_blocks(page) if "from pytest_wanlora import" in block]
        named = re.findall(r'entry-points\."(wanlora\.\w+)"\]\n\w+ = "\w+:(\w+)"', page)
        assert {group for group, _ in named} == set(registry.GROUPS)
        for block, (_, name) in zip(code, named, strict=True):
            namespace: dict[str, Any] = {"__file__": "example.py", "__name__": "example"}
            exec(block, namespace)  # noqa: S102 - our own page
            found = namespace[name]
            assert isinstance(found, (Metric, Report, LoraFormat, Model)) or issubclass(found, Scenario)

    def test_the_example_of_a_metric_scores_a_video(self) -> None:
        (block,) = (each for each in python_blocks(PAGES["extending.md"]) if "FLICKER" in each)
        namespace: dict[str, Any] = {}
        exec(block, namespace)  # noqa: S102 - our own page
        still = np.full((4, 2, 2, 3), 100, np.uint8)
        jumping = still.copy()
        jumping[2] = 110
        assert namespace["FLICKER"].score(still) == pytest.approx(0.0, abs=1e-9)
        # second differences are 10 and -20
        assert namespace["FLICKER"].score(jumping) == pytest.approx(15.0)


class TestWhatIsNamed:
    def test_the_options_page_lists_every_option_once(self) -> None:
        rows = re.findall(r"^\| `(--[a-z-]+)", PAGES["options.md"], re.MULTILINE)
        without_ini = ["--lora", "--update-baselines", "--wanlora-plan", "--wanlora-force"]
        assert rows == [*without_ini, *(f"--{option.name}" for option in options.OPTIONS)]
        flags = [option.name for option in options.OPTIONS if option.metavar is None]
        for name in flags:
            assert f"`--{name.replace('wanlora-', 'wanlora-no-')}`" in PAGES["options.md"]

    @pytest.mark.parametrize("name", sorted(ALL))
    def test_options_of_the_gate_exist(self, name: str) -> None:
        known = {option.name.removeprefix("wanlora-") for option in options.OPTIONS} | {"plan", "force"}
        known |= {
            f"no-{option.name.removeprefix('wanlora-')}" for option in options.OPTIONS if not option.metavar
        }
        assert set(re.findall(r"--wanlora-([a-z-]+)", ALL[name])) <= known

    @pytest.mark.parametrize("name", sorted(ALL))
    def test_commands_and_their_options_exist(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        text = typed(ALL[name]).replace("\\\n", " ")
        for command, rest in re.findall(r"python -m pytest_wanlora ((?:data |ray )?[a-z]+)(.*)", text):
            assert cli.main([*command.split(), "--help"]) == 0
            shown = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
            # what follows -- is pytest's
            own = re.split(r"#| -- ", rest)[0]
            assert set(re.findall(r"(?<![\w'])--[a-z0-9-]+", own)) <= shown

    def test_the_commands_page_lists_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["--help"]) == 0
        known = set(re.findall(r"^    ([a-z]+)\b", capsys.readouterr().out, re.MULTILINE))
        listed = set(
            re.findall(
                r"`([a-z]+)\b[^`]*`", "\n".join(re.findall(r"^\| (`.*?`) \|", PAGES["commands.md"], re.M))
            )
        )
        assert known <= listed

    def test_the_bands_of_the_suites_page_are_the_defaults(self) -> None:
        from pytest_wanlora.suite import DEFAULT_TOLERANCES

        rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) % \| ([\d.]+) % \|", PAGES["suites.md"], re.MULTILINE)
        found = {
            name: (round(float(warn) / 100, 6), round(float(fail) / 100, 6)) for name, warn, fail in rows
        }
        assert found == {name: (band.warn, band.fail) for name, band in DEFAULT_TOLERANCES.items()}


class TestWalkthrough:
    STEPS = tuple(walkthrough.steps(PAGES["wan2.2.md"]))

    def test_it_goes_from_an_installation_to_a_publication(self) -> None:
        order = [
            "pip install",
            "pytest_wanlora inspect",
            "pytest_wanlora init",
            "hf download",
            "pytest_wanlora reference",
            "pytest --update-baselines",
            "--wanlora-plan",
            "pytest --lora my-lora.safetensors",
            "pytest_wanlora show",
            "pytest_wanlora verify",
            "hf upload",
        ]
        at = -1
        for words in order:
            at = next(n for n, step in enumerate(self.STEPS) if n > at and words in step.command)

    def test_every_replacement_is_of_a_command_that_is_there(self) -> None:
        commands = [step.command for step in self.STEPS]
        unused = [p for p in walkthrough.REPLACED if not any(re.fullmatch(p, each) for each in commands)]
        assert unused == []

    def test_what_needs_the_network_or_a_persons_files_is_replaced(self) -> None:
        kept = [step.command for step in self.STEPS if walkthrough.replacement(step.command) is None]
        assert not [each for each in kept if re.match(r"hf |pip |python3 |xdg-open |cp /path", each)]
        assert len(kept) > 10

    def test_the_printed_commands_of_init_are_the_next_steps(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        commands = [step.command for step in self.STEPS]
        (init,) = [each for each in commands if "pytest_wanlora init" in each]
        assert cli.main(shlex.split(init)[3:]) == 0
        printed = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        assert {line for line in printed if not line.startswith("#")} <= set(commands)

    def test_the_model_files_are_those_of_the_packaged_suite(self) -> None:
        suite = suites.load("wan2.2-ti2v-5b")
        fetched = [step.command for step in self.STEPS if step.command.startswith("hf download")]
        for _, text in suites.references(suite):
            if text.startswith("hub:"):
                _, repository, pattern = text.split(":")
                wanted = f"{pattern}*" if pattern.endswith("/") else pattern
                (command,) = [each for each in fetched if repository in shlex.split(each)]
                assert wanted in shlex.split(command)


def test_the_readmes_exit_codes_name_what_judges_nothing() -> None:
    (zero,) = [line for line in README.splitlines() if line.startswith("| 0 |")]
    assert all(f"`{name}`" in zero for name in ("--update-baselines", "--collect-only", "--wanlora-plan"))
    (one,) = [line for line in README.splitlines() if line.startswith("| 1 |")]
    assert "With `--update-baselines`: it was not stored" in one
