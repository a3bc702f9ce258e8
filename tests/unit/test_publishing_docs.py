"""The publishing guide and its workflow do what they say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_wanlora import cli, options
from pytest_wanlora import suite as suites
from pytest_wanlora.publishing import receipt, ssh_signature
from pytest_wanlora.publishing.policy import read_policy
from pytest_wanlora.publishing.predicate import PREDICATE_TYPE
from pytest_wanlora.publishing.verify import signature_path
from pytest_wanlora.suite import Suite
from pytest_wanlora.verdict.judgement import Judgement, Verdict
from tests.unit.reports import gated

ROOT = Path(__file__).parents[2]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / "docs/examples/publish.yml").read_text(encoding="utf-8"))
GUIDE = (ROOT / "docs/publishing.md").read_text(encoding="utf-8")


def commands(job: str) -> list[list[str]]:
    """The commands of a job, split as a shell would."""
    text = "\n".join(step.get("run", "") for step in WORKFLOW["jobs"][job]["steps"]).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines()]


def verify_command() -> list[str]:
    (found,) = [words for words in commands("publish") if "verify" in words]
    return found[found.index("verify") :]


def test_nothing_is_published_before_it_is_verified() -> None:
    publish = WORKFLOW["jobs"]["publish"]
    assert publish["needs"] == "gate"
    assert publish["environment"] == "release"
    said = [words[:4] for words in commands("publish")]
    assert said.index(["python", "-m", "pytest_wanlora", "verify"]) < said.index(
        ["hf", "upload", "OWNER/REPO", "release"]
    )
    assert "HF_TOKEN" not in json.dumps(WORKFLOW["jobs"]["gate"])
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_no_input_is_pasted_into_a_script() -> None:
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_the_gates_options_exist() -> None:
    known = {f"--{option.name}" for option in options.OPTIONS} | {"--lora", "--junitxml"}
    (words,) = [words for words in commands("gate") if words[:1] == ["pytest"]]
    assert {word for word in words if word.startswith("--")} <= known


def _of_more(judged: Judgement, seeds: int) -> Judgement:
    """An item of 2 seeds as one of more."""
    n = judged.n * seeds // 2
    return replace(judged, n=n, evidence=judged.evidence and replace(judged.evidence, n=n))


def documented_suite(folder: Path) -> Suite:
    """The suite that `init` writes on the model of the walkthrough."""
    words = [
        "init",
        "--model",
        "wan2.2-ti2v-5b",
        "--name",
        "release",
        "--yes",
        "--prompt",
        "test=urban: a city",
    ]
    assert cli.main([*words, "--folder", str(folder)]) == 0
    return suites.load(folder / "suites" / "release.yaml")


def test_the_example_policy_asks_for_no_more_than_the_documented_suite_has(tmp_path: Path) -> None:
    suite = documented_suite(tmp_path)
    example = read_policy(ROOT / "docs/examples/publish-policy.yaml")
    (shown,) = [text for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.S) if "min_seeds" in text]
    assert example.min_seeds is not None
    assert yaml.safe_load(shown)["min_seeds"] == example.min_seeds <= suite.seeds.first
    for metric, widest in example.bands.items():
        assert suite.tolerances[metric].fail <= widest
    stated = {f"{each.metric}{'>=' if each.max is None else '<='}" for each in suite.limits}
    assert {re.sub(r"[\d.]+$", "", each) for each in example.require} <= stated


def test_the_verify_command_lets_a_good_release_through_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release = tmp_path / "release"
    release.mkdir()
    gated.checkpoint_file(release).rename(release / "lora.safetensors")
    first = documented_suite(tmp_path / "project").seeds.first
    suite = gated.record().suite.model_copy(
        update={"name": "release", "sha256": "00" * 32, "looks": (first, first)}
    )
    baseline = gated.record().baseline
    assert baseline is not None
    single = tuple(
        Judgement("videos", "epoch-2", name, "", Verdict.PASS, "sound", n=first) for name in gated.SCENARIOS
    )
    more = [
        video.model_copy(update={"seed": seed})
        for video in gated.videos()
        if not video.seed
        for seed in range(2, first)
    ]
    record = gated.record(
        suite=suite,
        environment={"device_name": "NVIDIA H200"},
        baseline=baseline.model_copy(update={"digest": "00" * 32}),
        judgements=(*(_of_more(each, first) for each in gated.judgements()), *single),
        videos=(*gated.videos(), *more),
    )
    data = receipt.canonical(receipt.statement(record, "epoch-2"))
    (release / "receipt.json").write_bytes(data)
    key = tmp_path / "sign-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signature_path(release / "receipt.json").write_bytes(ssh_signature.sign(data, key))
    (tmp_path / ".github").mkdir()
    policy = (ROOT / "docs/examples/publish-policy.yaml").read_text(encoding="utf-8")
    (tmp_path / ".github/publish-policy.yaml").write_text(
        policy.replace("bands: {clip: 0.05,", "bands: {clip: 0.15,")
    )
    public = key.with_suffix(".pub").read_text()
    (tmp_path / ".github/allowed_signers").write_text(f'gate@OWNER namespaces="pytest-wanlora" {public}')
    assert cli.main(verify_command()) == 0
    (release / "lora.safetensors").write_bytes(b"other bytes")
    assert cli.main(verify_command()) == 1


def test_what_the_publish_job_installs_is_all_that_verify_needs(tmp_path: Path) -> None:
    installed = {
        word
        for words in commands("publish")
        if "install" in words
        for word in words[words.index("install") + 1 :]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]}
    assert installed - {"--no-deps", "pytest-wanlora"} <= needed | {"rfc8785"}
    left_out = needed - installed
    modules = {
        name for name, of in metadata.packages_distributions().items() if left_out & {*map(_plain, of)}
    }
    assert {"torch", "diffsynth", "cv2", "pytest"} <= modules
    (tmp_path / "receipt.json").write_bytes(receipt.canonical(receipt.statement(gated.record(), "epoch-2")))
    gated.checkpoint_file(tmp_path)
    code = (
        "import sys; from pytest_wanlora.cli import main; "
        "code = main(['verify', 'receipt.json', 'epoch-2.safetensors']); "
        f"assert not {modules!r} & set(sys.modules), {modules!r} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_guides_options_and_names_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "init"):
        assert cli.main([command, "--help"]) == 0
    known = {f"--{each.name}" for each in options.OPTIONS}
    known |= set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    named = set(re.findall(r"`(--[a-z0-9-]+)", GUIDE))
    assert len(named) > 5
    assert named <= known
    assert PREDICATE_TYPE in GUIDE
    assert ssh_signature.NAMESPACE in GUIDE
    assert (ROOT / "pytest_wanlora/reports/receipt.schema.json").is_file()
