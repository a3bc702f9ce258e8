"""What is collected, where, and how one chooses among it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Project

METRICS = ("clip", "fvd", "temporal", "sharpness", "color", "motion", "overall")


def _ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line and not line.startswith("ERROR")]


def test_the_gate_is_collected_in_a_folder_with_nothing_but_the_file(project: Project) -> None:
    result = project.run("--lora", "good.safetensors", "--collect-only", "-q")
    assert result.ret == 0
    assert _ids(result) == [
        "wanlora::test_checkpoint[good]",
        "wanlora::test_videos[good-test1_city]",
        "wanlora::test_videos[good-test2_nature]",
        "wanlora::test_limit[good-test1_city-clip]",
        "wanlora::test_limit[good-test2_nature-clip]",
        *(
            f"wanlora::test_regression[good-{scenario}-{metric}]"
            for scenario in ("test1_city", "test2_nature", "all")
            for metric in METRICS
        ),
    ]


def test_a_list_says_that_nothing_was_judged(project: Project) -> None:
    result = project.run("--lora", "good.safetensors", "--co")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["nothing was judged: --collect-only lists the items of the gate"])


#: Of pytest: neither a test nor a fixture's value is judged.
LISTING = ("--setup-only", "--setup-plan", "--fixtures", "--fixtures-per-test", "--cache-show")


@pytest.mark.parametrize(
    "option", ["--co", "--wanlora-plan", "--help", "--version", "--markers", *LISTING, "--cache-show=x"]
)
@pytest.mark.parametrize("place", ["PYTEST_ADDOPTS", "pytest.ini"])
def test_what_only_lists_is_refused_where_every_run_reads_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, option: str, place: str
) -> None:
    if place == "PYTEST_ADDOPTS":
        monkeypatch.setenv(place, f"-p cacheprovider {option}")
        project.path.joinpath("pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    else:
        project.path.joinpath(place).write_text(f"[pytest]\naddopts = -p cacheprovider {option}\n")
    result = project.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    long = "--collect-only" if option == "--co" else option.partition("=")[0]
    result.stderr.fnmatch_lines(
        [f"ERROR: {long} in addopts, PYTEST_ADDOPTS or a plugin: no run would judge anything*"]
    )
    where = "printenv PYTEST_ADDOPTS" if place == "PYTEST_ADDOPTS" else "grep -n addopts *pytest.ini"
    result.stderr.fnmatch_lines([f"next: {where}"])


@pytest.mark.parametrize("typed", ["-qh", "-V", "--markers", "--wanlora-plan"])
def test_what_lists_may_be_typed(project: Project, typed: str) -> None:
    assert project.run("--lora", "good.safetensors", typed).ret == 0


@pytest.mark.parametrize("typed", [*LISTING, "--cache-show=*", "--funcargs", "--setuponly", "--setupplan"])
@pytest.mark.parametrize("workers", ["none", "-n2"])
def test_what_runs_no_item_says_that_nothing_was_judged(project: Project, typed: str, workers: str) -> None:
    result = project.run("--lora", "good.safetensors", typed, "-p", "cacheprovider", workers=workers)
    assert result.ret == 0
    names = {"--funcargs": "--fixtures", "--setuponly": "--setup-only", "--setupplan": "--setup-plan"}
    long = names.get(typed, typed.partition("=")[0])
    said = [line for line in result.outlines if "nothing was judged" in line]
    assert said == [f"nothing was judged: {long} runs no item of the gate"]
    assert (project.rendered(), project.records()) == ([], [])


def test_several_checkpoints_are_gated_one_after_the_other(project: Project) -> None:
    result = project.run("--lora", "good.safetensors", "--lora", "bad.safetensors", "--collect-only", "-q")
    checkpoints = [line for line in _ids(result) if "test_checkpoint" in line]
    assert checkpoints == ["wanlora::test_checkpoint[bad]", "wanlora::test_checkpoint[good]"]


@pytest.mark.parametrize(
    ("chosen", "count", "each"),
    [
        (["-k", "test2_nature"], 9, "test2_nature"),
        (["-k", "sharpness"], 3, "sharpness"),
        (["-k", "test_limit"], 2, "test_limit"),
        (["-m", "wanlora"], 26, "wanlora::"),
        (["wanlora::test_regression[good-test2_nature-sharpness]"], 1, "[good-test2_nature-sharpness]"),
        (["wanlora::test_limit"], 2, "test_limit"),
        (["wanlora::test_limit", "wanlora::test_checkpoint[good]"], 3, "wanlora::"),
        (["--deselect", "wanlora::test_regression"], 5, "wanlora::"),
    ],
    ids=lambda value: str(value) if not isinstance(value, list) else " ".join(value),
)
def test_choosing(project: Project, chosen: list[str], count: int, each: str) -> None:
    result = project.run("--lora", "good.safetensors", "--collect-only", "-q", *chosen)
    ids = _ids(result)
    assert len(ids) == count
    assert all(each in line for line in ids)


@pytest.mark.parametrize(
    "ini", ["", "disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true"]
)
def test_an_id_with_letters_that_are_not_ascii_in_both_forms(project: Project, ini: str) -> None:
    (project.path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="utf-8")
    (project.path / "good.safetensors").rename(project.path / "größe에.safetensors")
    words = ("--lora", "größe에.safetensors", "--collect-only", "-q")
    for name in ("größe에", r"gr\xf6\xdfe\uc5d0"):
        assert len(_ids(project.run(*words, f"wanlora::test_checkpoint[{name}]"))) == 1
    # each item is counted once
    assert "26 items" in project.run(*words, "wanlora::test_limit[good]").stderr.str()


def test_an_id_that_does_not_exist_is_a_usage_error(project: Project) -> None:
    result = project.run("--lora", "good.safetensors", "wanlora::test_limit[good-all-fvd]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*not found: wanlora::test_limit[[]good-all-fvd]; this run has 26 items*",
            "next: pytest *--collect-only -q",
        ]
    )


def test_a_selection_that_matches_nothing_collects_nothing(project: Project) -> None:
    result = project.run("--lora", "good.safetensors", "-k", "no_such_thing")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert project.rendered() == []


class TestOtherTests:
    @pytest.fixture(autouse=True)
    def _others(self, project: Project) -> None:
        tests = project.path / "tests"
        tests.mkdir()
        (tests / "test_own.py").write_text("def test_own(): pass\n")
        (project.path / "test_top.py").write_text("def test_top(): pass\n")

    def test_without_paths_the_gate_alone_is_collected(self, project: Project) -> None:
        result = project.run("--lora", "good.safetensors", "--collect-only", "-q")
        assert len(_ids(result)) == 26

    def test_testpaths_do_not_count_as_paths(self, project: Project) -> None:
        project.pytester.makeini("[pytest]\ntestpaths = tests")
        assert len(_ids(project.run("--lora", "good.safetensors", "--collect-only", "-q"))) == 26

    def test_paths_are_collected_beside_the_gate(self, project: Project) -> None:
        ids = _ids(project.run("--lora", "good.safetensors", "--collect-only", "-q", "tests"))
        assert len(ids) == 27
        assert ids[-1] == "tests/test_own.py::test_own"

    def test_ids_of_the_gate_and_paths_together(self, project: Project) -> None:
        ids = _ids(
            project.run(
                "--lora", "good.safetensors", "--collect-only", "-q", "tests", "wanlora::test_checkpoint"
            )
        )
        assert ids == ["wanlora::test_checkpoint[good]", "tests/test_own.py::test_own"]

    def test_without_lora_everything_else_is_as_ever(self, project: Project) -> None:
        result = project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q", "--collect-only")
        assert _ids(result) == ["test_top.py::test_top", "tests/test_own.py::test_own"]
        assert "wanlora:" not in result.stdout.str()

    def test_a_folder_called_wanlora_does_not_collide(self, project: Project) -> None:
        folder = project.path / "wanlora"
        folder.mkdir()
        (folder / "test_mine.py").write_text("def test_mine(): pass\n")
        ids = _ids(project.run("--lora", "good.safetensors", "--collect-only", "-q", "wanlora"))
        assert len(ids) == 27
        assert ids[-1] == "wanlora/test_mine.py::test_mine"

    def test_renamed_test_functions_do_not_hide_the_gate(self, project: Project) -> None:
        project.pytester.makeini("[pytest]\npython_functions = check_*\npython_files = check_*.py")
        assert len(_ids(project.run("--lora", "good.safetensors", "--collect-only", "-q"))) == 26

    @pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
    def test_import_modes(self, project: Project, mode: str) -> None:
        ids = _ids(
            project.run(
                *("--lora", "good.safetensors", "--collect-only", "-q", f"--import-mode={mode}", "tests"),
                workers="no:xdist",
            )
        )
        assert len(ids) == 27


def test_collecting_writes_nothing_and_loads_no_model(project: Project) -> None:
    check = "import sys\ndef pytest_sessionfinish():\n    assert 'torch' not in sys.modules\n"
    (project.path / "check_torch.py").write_text(check)
    result = project.run(
        "--lora", "good.safetensors", "--collect-only", "-q", "-p", "check_torch", workers="no:xdist"
    )
    assert result.ret == 0
    assert not (project.path / ".wanlora").exists()
    assert project.rendered() == []


def test_the_items_run_from_a_subfolder_too(project: Project) -> None:
    below = project.path / "below"
    below.mkdir()
    project.pytester.makeini("[pytest]\n")
    os.chdir(below)
    try:
        result = project.pytester.runpytest_subprocess(
            "--wanlora-suite", "../fake.yaml", "--lora", "../good.safetensors", "--collect-only", "-q"
        )
    finally:
        os.chdir(project.path)
    assert len(_ids(result)) == 26


def test_switched_off_nothing_of_the_gate_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    code = (
        "import sys, pytest\n"
        "assert pytest.main(['-q', '-p', 'no:cacheprovider']) == 0\n"
        "ours = ('pytest_wanlora', 'torch', 'pydantic', 'numpy')\n"
        "loaded = {name for name in sys.modules if name.startswith(ours)}\n"
        "assert loaded == {'pytest_wanlora', 'pytest_wanlora.plugin', 'pytest_wanlora.options', "
        "'pytest_wanlora.option_values', 'pytest_wanlora.errors', 'pytest_wanlora.settings', "
        "'pytest_wanlora.durations', 'pytest_wanlora.hookspecs', 'pytest_wanlora.phrases'}, loaded\n"
    )
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "pytest_wanlora.plugin",
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].startswith("."), "the plugin printed something"
