"""The CI files that `init` writes: their commands are the package's own, and do what they say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import cli, options, testing
from pytest_wanlora import suite as suites
from pytest_wanlora.new_project import ci_files
from pytest_wanlora.publishing import receipt
from tests.unit.reports import gated

KINDS = sorted(ci_files.PATHS)


def document(kind: str, suite: suites.Suite | None = None) -> dict[str, Any]:
    text = ci_files.compose(kind, suite or suites.load("wan2.2-ti2v-5b"))
    # YAML 1.1 reads the key `on` as a boolean
    return {str(key): value for key, value in yaml.safe_load(text).items()}


def job(kind: str, name: str, suite: suites.Suite | None = None) -> dict[str, Any]:
    found = document(kind, suite)
    chosen: dict[str, Any] = found["jobs"][name] if kind == "github" else found[name]
    return chosen


def commands(kind: str, name: str, suite: suites.Suite | None = None) -> list[list[str]]:
    """The commands of a job, split as a shell would."""
    chosen = job(kind, name, suite)
    lines = chosen.get("script") or [step.get("run", "") for step in chosen["steps"]]
    text = "\n".join(lines).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_the_gates_options_exist_and_no_suite_is_named(self, kind: str) -> None:
        (words,) = [words for words in commands(kind, "gate") if words[0] == "pytest"]
        known = {f"--{option.name}" for option in options.OPTIONS} | {"--lora", "--junitxml"}
        assert {word for word in words if word.startswith("--")} <= known
        # pytest's settings name it, as for people
        assert "--wanlora-suite" not in words

    def test_nothing_is_published_before_it_is_verified(self, kind: str) -> None:
        said = [words[:4] for words in commands(kind, "publish")]
        upload = next(words for words in said if words[:2] == ["hf", "upload"])
        assert said.index(["python", "-m", "pytest_wanlora", "verify"]) < said.index(upload)
        assert job(kind, "publish")["needs"] in ("gate", ["gate"])
        assert job(kind, "publish")["environment"] == "release"

    def test_the_gate_does_not_see_the_token(self, kind: str) -> None:
        assert "HF_TOKEN" not in json.dumps(job(kind, "gate"))

    def test_no_input_is_pasted_into_a_script(self, kind: str) -> None:
        for name in ("gate", "publish"):
            for words in commands(kind, name):
                assert "${{" not in " ".join(words)

    def test_the_limits_of_the_suite_are_demanded(self, kind: str) -> None:
        limits = [
            suites.Limit(metric="clip", min=0.25, max=2.0),
            suites.Limit(metric="fvd", max=1140.0, scenario="each"),
            suites.Limit(metric="motion", min=0.001, scenario="test1_city"),
        ]
        suite = suites.load("tiny").model_copy(update={"limits": tuple(limits)})
        (words,) = [words for words in commands(kind, "publish", suite) if "verify" in words]
        after = words[words.index("--require") + 1 : words.index("--suite")]
        assert after == ["clip>=0.25", "clip<=2", "fvd<=1140@each", "motion>=0.001@test1_city"]

    def test_a_suite_without_limits_demands_its_name(self, kind: str) -> None:
        suite = suites.load("tiny").model_copy(update={"limits": ()})
        (words,) = [words for words in commands(kind, "publish", suite) if "verify" in words]
        assert words[words.index("--suite") :] == ["--suite", "tiny", "--max-runs", "3"]
        assert "--require" not in words

    def test_verify_lets_a_good_release_through_and_no_other(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        release = tmp_path / "release"
        release.mkdir()
        gated.checkpoint_file(release).rename(release / "lora.safetensors")
        data = receipt.canonical(receipt.statement(gated.record(), "epoch-2"))
        (release / "receipt.json").write_bytes(data)
        (words,) = [words for words in commands(kind, "publish") if "verify" in words]
        demanded = [*words[words.index("verify") :], "--suite", gated.record().suite.name]
        assert cli.main(demanded) == 0
        assert cli.main(words[words.index("verify") :]) == 1  # it was gated on another suite
        (release / "lora.safetensors").write_bytes(b"other bytes")
        assert cli.main(demanded) == 1

    def test_both_halves_of_a_pair_are_gated_copied_and_verified(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        suite = suites.load("tiny-pair")
        assert not re.search("checkpoint }}|CHECKPOINT|lora.safetensors", ci_files.compose(kind, suite))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "release").mkdir()
        paths = {"$HIGH": tmp_path / "my high.safetensors", "$LOW": tmp_path / "my low.safetensors"}
        for seed, path in enumerate(paths.values()):
            testing.write_lora(path, seed=seed)
        found = document(kind, suite)
        inputs = found["True"]["workflow_dispatch"]["inputs"] if kind == "github" else found["variables"]
        assert [name.lower() for name in inputs] == ["high", "low"]
        for words in commands(kind, "gate", suite):
            if words[0] == "cp" and words[1] in paths:
                shutil.copy(paths[words[1]], words[2])
        (words,) = [words for words in commands(kind, "gate", suite) if words[0] == "pytest"]
        given = words[words.index("--lora") + 1]
        for name, path in paths.items():
            given = given.replace(name, str(path))
        (pair,) = checkpoints.asked([given], by_name=True)
        checkpoint = pair.read("epoch-2")
        card = gated.card(sha256=checkpoint.sha256, checkpoint=checkpoint.describe())
        data = receipt.canonical(receipt.statement(gated.record(candidates=(card,)), "epoch-2"))
        (tmp_path / "release/receipt.json").write_bytes(data)
        (words,) = [words for words in commands(kind, "publish", suite) if "verify" in words]
        verified = words[words.index("verify") : words.index("verify") + 3]
        assert cli.main(verified) == 0
        shutil.copy(paths["$HIGH"], "release/low_noise.safetensors")
        assert cli.main(verified) == 1

    def test_what_is_installed_for_verify_is_what_the_publishing_guide_installs(self, kind: str) -> None:
        guide = (Path(__file__).parents[3] / "docs/examples/publish.yml").read_text(encoding="utf-8")
        wanted = [line.split("install ")[1].split() for line in guide.splitlines() if "pip install" in line][
            1:
        ]
        found = [
            words[words.index("install") + 1 :] for words in commands(kind, "publish") if "install" in words
        ]
        # pydantic brings pydantic-core in the version that it needs
        assert [{*words, "pydantic-core"} for words in found] == [
            {*words, "pydantic-core"} for words in wanted
        ]

    def test_settings_that_a_person_makes_are_named_at_the_top(self, kind: str) -> None:
        text = ci_files.compose(kind, suites.load("tiny"))
        top = text[: re.search(r"^[a-z]", text, re.MULTILINE).start()]  # type: ignore[union-attr]  # there is one
        for name in re.findall(r"(?:secrets|vars)\.(\w+)|\$(HF_\w+)", text):
            assert (name[0] or name[1]) in top
        assert "gpu" in top


def test_gitlabs_shell_lines_are_bash(tmp_path: Path) -> None:
    import subprocess

    gate = job("gitlab", "gate")
    for line in [*gate["script"], *gate["after_script"], *job("gitlab", "publish")["script"]]:
        subprocess.run([shutil.which("bash") or "bash", "-n", "-c", line], check=True, cwd=tmp_path)
