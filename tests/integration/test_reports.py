"""What a run leaves behind for people and machines: a real pytest run, with pictures instead of a model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_wanlora import cli, results, testing
from pytest_wanlora.publishing.bounds import parse_bound
from pytest_wanlora.publishing.verify import Demands, verify
from tests import schemas
from tests.integration.conftest import Project

Run = Callable[..., pytest.RunResult]

ONE = {"model-card.md", "receipt.json", "report.html", "report.ko.md", "report.md", "results.json"}


def folder_of(project: Project) -> Path:
    return project.records()[-1].parent


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestArtefacts:
    def test_a_run_leaves_every_report_and_says_where(self, based: Project) -> None:
        result = based.run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        folder = folder_of(based)
        assert names(folder) == ONE
        result.stdout.fnmatch_lines(
            [
                "record: .wanlora/runs/*/results.json",
                "reports: .wanlora/runs/*/report.html, and beside it report.md, report.ko.md, receipt.json, "
                "model-card.md",
            ]
        )
        assert schemas.check_runs(based.path) == 2

    def test_the_receipt_lets_this_file_through_and_no_other(self, based: Project) -> None:
        based.run("--lora", "good.safetensors")
        receipt, good = folder_of(based) / "receipt.json", based.path / "good.safetensors"
        demands = Demands(bounds=(parse_bound("clip>=0.3"),), suite="fake", max_runs=1)
        assert verify(receipt, good, demands).verified
        assert not verify(receipt, based.path / "bad.safetensors", demands).verified
        record = (folder_of(based) / "results.json").read_bytes()
        said = json.loads(receipt.read_bytes())["predicate"]
        assert said["run"]["record"]["sha256"] == hashlib.sha256(record).hexdigest()

    def test_workers_change_no_byte_of_what_was_judged(self, based: Project) -> None:
        said = []
        for workers in ("none", "-n2"):
            based.run("--lora", "good.safetensors", workers=workers)
            document = json.loads((folder_of(based) / "receipt.json").read_bytes())
            for key in ("run", "runs", "digest"):
                del document["predicate"][key]
            said.append(document)
        assert said[0] == said[1]

    def test_running_again_until_green_shows(self, based: Project) -> None:
        based.run("--update-baselines", "--wanlora-seeds", "4")
        # a run that renders nothing new is no further try
        for seeds, number in (("2", 1), ("2", 1), ("3", 2), ("4", 3)):
            based.run("--lora", "good.safetensors", "--wanlora-seeds", seeds)
            newest = based.records()[-1].with_name("receipt.json")
            assert json.loads(newest.read_bytes())["predicate"]["runs"] == number
        good = based.path / "good.safetensors"
        assert not verify(newest, good, Demands(max_runs=2)).verified
        assert verify(newest, good, Demands(max_runs=3)).verified

    def test_several_checkpoints_have_theirs_and_are_compared(
        self, based: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        based.run("--lora", ".")
        folder = folder_of(based)
        assert names(folder) == (ONE - {"receipt.json", "model-card.md"}) | {
            *("receipt-good.json", "receipt-bad.json", "model-card-good.md")
        }
        # good may be published, and a run that ended with 1 because of bad does not prove it
        assert [card.publishable for card in results.load(folder).candidates] == [False, True]
        (problem,) = verify(folder / "receipt-good.json", based.path / "good.safetensors", Demands()).problems
        assert "gate this checkpoint alone, with the other options of its run" in problem
        assert not verify(folder / "receipt-bad.json", based.path / "bad.safetensors", Demands()).verified
        capsys.readouterr()
        assert cli.main(["compare", str(folder)]) == 0
        assert "Gate good alone, then publish it." in capsys.readouterr().out

    def test_runs_of_their_own_are_compared_too(
        self, based: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("bad", "good"):
            based.run("--lora", f"{name}.safetensors")
        capsys.readouterr()
        assert cli.main(["compare", "--json", *map(str, based.records())]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [each["name"] for each in found["checkpoints"]] == ["bad", "good"]
        assert found["best"]["checkpoint"] == "good"

    def test_storing_a_baseline_publishes_nothing(self, based: Project) -> None:
        result = based.run("--lora", "good.safetensors", "--update-baselines")
        assert result.ret == pytest.ExitCode.OK
        assert "was not written" not in result.stdout.str()
        found = verify(folder_of(based) / "receipt.json", based.path / "good.safetensors", Demands())
        assert not found.verified

    def test_measuring_the_model_without_lora_has_no_reports(self, based: Project) -> None:
        based.run("--update-baselines")
        assert names(folder_of(based)) == {"results.json"}

    def test_a_view_that_breaks_loses_nothing_else(self, based: Project) -> None:
        text = (based.path / "conftest.py").read_text()
        (based.path / "conftest.py").write_text(
            text + "\n\n@pytest.fixture(autouse=True, scope='session')\ndef broken():\n"
            "    from pytest_wanlora.reports import html\n\n"
            "    def made(record, folder):\n        raise KeyError('a mistake')\n\n"
            "    html.made = made\n"
        )
        result = based.run("--lora", "good.safetensors", workers="no:xdist")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["report.html was not written: KeyError: 'a mistake'"])
        assert names(folder_of(based)) == ONE - {"report.html"}


class TestHostileNames:
    NAMES = (
        "<script>alert(1)<script>",
        "مرحبا \u202e sdrawkcab",
        "🎬 에포크 | `2`",
        "a' onload='x",
        "x" * 200,
        "%0A::error::boo",
        "-rf",
    )

    def test_they_break_nothing_and_inject_nothing(
        self, based: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = based.path / "loras"
        for seed, name in enumerate(self.NAMES):
            testing.write_lora(folder / f"{name}.safetensors", seed=seed)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(based.path / "summary.md"))
        result = based.run("--lora", "loras", workers="no:xdist")
        assert result.ret == pytest.ExitCode.OK
        assert "was not written" not in result.stdout.str()
        run = folder_of(based)
        record = results.load(run)
        assert not record.partial
        assert all(card.publishable for card in record.candidates), "a name must not keep one from publishing"
        assert len(list(run.glob("receipt-*.json"))) == len(self.NAMES)
        assert len(list(run.glob("model-card-*.md"))) == len(self.NAMES)
        for path in run.glob("*"):
            assert re.fullmatch(r"[A-Za-z0-9_.-]{1,120}", path.name)
        for path in run.glob("model-card-*.md"):
            front = path.read_text(encoding="utf-8").split("\n---\n")[0].removeprefix("---\n")
            assert set(yaml.safe_load(front)) <= {
                *("library_name", "pipeline_tag", "tags", "model-index", "widget"),
                *("base_model", "base_model_relation"),
            }
        assert "<script>alert" not in (run / "report.html").read_text(encoding="utf-8")
        for page in (*run.glob("*.md"), based.path / "summary.md"):
            body = page.read_text(encoding="utf-8").split("\n---\n")[-1]
            # in code it is shown as it is
            text = re.sub("```.*?```|`[^`\n]*`", "", body, flags=re.DOTALL)
            assert "<script>alert" not in text
        assert not [line for line in result.outlines if line.strip().startswith("::error::boo")]
        receipts = {
            json.loads(path.read_bytes())["subject"][0]["digest"]["sha256"]: path
            for path in run.glob("receipt-*.json")
        }
        for path in folder.iterdir():
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            assert verify(receipts[sha256], path, Demands()).verified

    def test_a_prompt_of_ten_thousand_characters(self, project: Project) -> None:
        long = ("</script><img src=x onerror=alert(1)> | --- 🎬 \u202e שלום " * 220)[:10_000]
        suite = yaml.safe_load((project.path / "fake.yaml").read_text())
        suite["scenarios"][0] |= {"prompt": long, "caption": "a city"}
        (project.path / "fake.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
        project.measure_base()
        result = project.run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        assert "was not written" not in result.stdout.str()
        assert names(folder_of(project)) == ONE
        assert "<img src=x" not in (folder_of(project) / "report.html").read_text(encoding="utf-8")
        assert "<img src=x" not in (folder_of(project) / "report.md").read_text(encoding="utf-8")


class TestSigning:
    @pytest.fixture
    def key(self, based: Project) -> Path:
        path = based.path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        (based.path / "signers").write_text(f"ci {path.with_suffix('.pub').read_text()}")
        return path

    def test_the_receipt_is_signed(self, based: Project, key: Path) -> None:
        assert (
            based.run("--lora", "good.safetensors", "--wanlora-sign-key", key.name).ret == pytest.ExitCode.OK
        )
        assert names(folder_of(based)) == ONE | {"receipt.json.sig", "receipt.json.sigstore"}
        asked = Demands(allowed_signers=based.path / "signers", signer="ci")
        found = verify(folder_of(based) / "receipt.json", based.path / "good.safetensors", asked)
        assert found.verified
        assert found.signed

    def test_a_key_that_cannot_sign_stops_the_run_before_it_renders(self, based: Project, key: Path) -> None:
        based.forget()
        key.write_text("no key\n")
        result = based.run("--lora", "good.safetensors", "--wanlora-sign-key", "key")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: --wanlora-sign-key (ini: wanlora_sign_key): */key: ssh-keygen *"]
        )
        assert based.rendered() == []
        assert based.records() == []

    def test_a_key_that_goes_away_during_the_run_fails_it(self, based: Project, key: Path) -> None:
        based.producer(
            before="lose", extra="def lose(job):\n    note(job)\n    (HERE / 'key').unlink(missing_ok=True)\n"
        )
        result = based.run("--lora", "good.safetensors", "--wanlora-sign-key", "key")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            [
                "receipt.json was not written: --wanlora-sign-key*",
                "the receipt was to be signed and is not there: nothing can be published by it",
            ]
        )
        assert not list(folder_of(based).glob("receipt*"))
        record = results.load(folder_of(based))
        assert record.exit_status == result.ret
        assert not record.candidates[0].publishable

    def test_a_receipt_that_no_longer_holds_and_cannot_be_signed_again_goes(
        self, based: Project, key: Path
    ) -> None:
        based.producer(
            extra="@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_sessionfinish(session):\n"
            "    yield\n    session.exitstatus = 6\n    (HERE / 'key').unlink()\n"
        )
        result = based.run("--lora", "good.safetensors", "--wanlora-sign-key", key.name)
        assert result.ret == 6
        assert not list(folder_of(based).glob("receipt*"))
        record = results.load(folder_of(based))
        assert (record.exit_status, record.candidates[0].publishable) == (6, False)


class TestGitHub:
    @pytest.fixture
    def actions(self, based: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A step of GitHub Actions; returns its summary."""
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        path = based.path / "summary.md"
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
        return path

    def test_a_failing_run_is_summed_up_and_annotated(self, based: Project, actions: Path) -> None:
        actions.write_text("# from another step")
        result = based.run("--lora", "bad.safetensors")
        lines = actions.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "# from another step"
        assert len(lines) > 10
        errors = [line for line in result.outlines if line.startswith("::error")]
        assert 0 < len(errors) <= 10
        assert any("test2_nature" in line for line in errors)

    def test_a_good_run_has_no_errors(self, based: Project, actions: Path) -> None:
        result = based.run("--lora", "good.safetensors", "-q")
        assert not [line for line in result.outlines if line.startswith("::error")]
        assert "good" in actions.read_text(encoding="utf-8")

    def test_the_next_step_learns_where_the_run_lies(
        self, based: Project, actions: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outputs = based.path / "outputs"
        outputs.write_text("mine=1\n")
        monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
        based.run("--lora", "good.safetensors")
        assert outputs.read_text().splitlines() == ["mine=1", f"wanlora_run={folder_of(based)}"]
        assert actions.exists()

    def test_a_summary_that_has_no_room_left_is_one_line(self, based: Project, actions: Path) -> None:
        actions.write_bytes(b"x" * 2**20)
        result = based.run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["wanlora: the job summary was not written: ValueError: *"])
        assert actions.stat().st_size == 2**20

    def test_elsewhere_nothing_is_said_to_it(
        self, based: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
        result = based.run("--lora", "bad.safetensors")
        assert not (tmp_path / "summary.md").exists()
        assert not [line for line in result.outlines if line.startswith("::")]


def test_users_own_properties_stay_in_junits_file(based: Project) -> None:
    (based.path / "test_own.py").write_text(
        "def test_mine(request, wanlora_candidate):\n    request.node.user_properties.append(('mine', 1))\n"
    )
    based.run("--lora", "good.safetensors", "test_own.py", "--junitxml", "junit.xml")
    root = ET.parse(based.path / "junit.xml").getroot()  # noqa: S314 - written by the run above
    (own,) = root.iterfind(".//testcase[@name='test_mine[good]']")
    assert [each.attrib for each in own.iter("property")] == [
        {"name": "wanlora_candidate", "value": "good"},
        {"name": "mine", "value": "1"},
    ]


class TestFromOutside:
    def test_a_publish_job_sees_what_the_gate_saw(self, based: Project, tmp_path: Path) -> None:
        """The receipt and the file go to another machine, which has neither pytest's project nor the run."""
        based.run("--lora", "good.safetensors")
        there = tmp_path / "elsewhere"
        there.mkdir()
        shutil.copy(folder_of(based) / "receipt.json", there)
        shutil.copy(based.path / "good.safetensors", there)

        def published(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "pytest_wanlora", "verify", "receipt.json", "good.safetensors"]
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            return subprocess.run(
                [*command, *arguments],
                cwd=there,
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )

        assert published("--require", "clip>=0.3", "--max-runs", "1").returncode == 0
        refused = published("--require", "clip>=0.7")
        assert refused.returncode == 1
        assert refused.stdout == ""
        spoilt = bytearray((there / "good.safetensors").read_bytes())
        spoilt[-1] ^= 1
        (there / "good.safetensors").write_bytes(spoilt)
        assert published().returncode == 1


def test_every_record_of_the_project_fits_its_schema(based: Project) -> None:
    """The check that every test of this folder ends with can fail."""
    based.run("--lora", "good.safetensors")
    path = based.records()[-1]
    good = path.read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(good)
    document["surprise"] = 1
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(Exception, match="surprise"):
        schemas.check_runs(based.path)
    path.write_text(good, encoding="utf-8")
    assert schemas.check_runs(based.path) == 2
