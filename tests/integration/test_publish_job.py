"""The publish job from end to end: gate, receipt, policy, verify, upload to a hub that is a folder."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_wanlora import cli, testing
from pytest_wanlora.files import file_sha256
from pytest_wanlora.publishing import bundle, receipt, ssh_signature
from pytest_wanlora.publishing.verify import signature_path

ROOT = Path(__file__).parents[2]
PRODUCER = """
from pytest_wanlora.testing import FakeProducer


def pytest_wanlora_producer(suite):
    return FakeProducer(suite, {"bad": {"test2_nature": 0.4}})
"""
#: `hf upload`, as a folder.
HUB = '#!/bin/sh\nmkdir -p "$HUB" && cp -r "$3"/. "$HUB"\n'


@dataclass(frozen=True)
class Released:
    """What the gate's job hands to the publish job, in a folder of its own.

    Attributes:
        folder: The checkout of the publish job.
    """

    folder: Path

    @property
    def release(self) -> Path:
        """What is to be published."""
        return self.folder / "release"

    @property
    def receipt(self) -> Path:
        """The receipt in it."""
        return self.release / "receipt.json"

    def verify(self, *, bundled: bool = False, policy: str = "publish-policy.yaml") -> int:
        """The publish job's command, of a receipt or of its bundle."""
        github = self.folder / ".github"
        keys = ("--public-key", str(self.folder / "gate.pub"))
        signers = ("--allowed-signers", str(github / "allowed_signers"))
        path = bundle.bundle_path(self.receipt) if bundled else self.receipt
        required = () if policy == "unsigned.yaml" else keys if bundled else signers
        named = ("--policy", str(github / ("unsigned.yaml" if bundled else policy)))
        return cli.main(["verify", str(path), str(self.release / "lora.safetensors"), *named, *required])

    def publish(self) -> subprocess.CompletedProcess[str]:
        """Run the publish job's steps as its runner does: each ends the job if it fails."""
        workflow = yaml.safe_load((ROOT / "docs/examples/publish.yml").read_text(encoding="utf-8"))
        steps = [step["run"] for step in workflow["jobs"]["publish"]["steps"] if "run" in step]
        script = "\n".join(step for step in steps if "pip install" not in step)
        path = (
            f"{self.folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "HUB": str(self.folder / "hub"), "HF_TOKEN": "x"},
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Gate a checkpoint once, signed, as the workflow's first job does; only read from then on."""
    gate = tmp_path_factory.mktemp("gate")
    testing.write_suite(gate, name="release", seeds=(4, 4))
    testing.write_lora(gate / "good.safetensors")
    (gate / "conftest.py").write_text(PRODUCER)
    for name in ("key", "own"):
        command = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", str(gate / name)]
        subprocess.run(command, check=True)
    pytest_run = [sys.executable, "-m", "pytest", "-q", "--wanlora-suite", "release.yaml"]
    subprocess.run([*pytest_run, "--update-baselines"], cwd=gate, check=True, capture_output=True)
    signed = ["--lora", "good.safetensors", "--wanlora-sign-key", "key"]
    subprocess.run([*pytest_run, *signed], cwd=gate, check=True, capture_output=True)
    return Released(_handed_over(gate, gate / ".wanlora/runs/latest", tmp_path_factory.mktemp("publish")))


def _handed_over(gate: Path, run: Path, to: Path) -> Path:
    release, github = to / "release", to / ".github"
    for folder in (release, github, to / "bin"):
        folder.mkdir()
    shutil.copy(gate / "good.safetensors", release / "lora.safetensors")
    for name in ("receipt.json", "receipt.json.sig", "receipt.json.sigstore"):
        shutil.copy(run / name, release)
    shutil.copy(run / "model-card.md", release / "README.md")
    public = (gate / "key.pub").read_text()
    (to / "gate.pub").write_text(public)
    (github / "allowed_signers").write_text(f'gate@OWNER namespaces="pytest-wanlora" {public}')
    policy = yaml.safe_load((ROOT / "docs/examples/publish-policy.yaml").read_text(encoding="utf-8"))
    policy |= {
        "suite_sha256": file_sha256(gate / "release.yaml"),
        "baseline_sha256": file_sha256(gate / "baselines/release/base/baseline.json"),
        "require": ["clip>=0.3"],
        "bands": {"clip": 0.05, "sharpness": 0.15},
        "environment": {"device": "cpu"},
    }
    (github / "publish-policy.yaml").write_text(yaml.safe_dump(policy))
    (github / "unsigned.yaml").write_text(
        yaml.safe_dump({name: value for name, value in policy.items() if name != "signer"})
    )
    (to / "bin/hf").write_text(HUB)
    (to / "bin/hf").chmod(0o755)
    shutil.copy(gate / "key", to / "insider")
    shutil.copy(gate / "own", to / "own")
    return to


@pytest.fixture
def released(gated: Released, tmp_path: Path) -> Released:
    return Released(Path(shutil.copytree(gated.folder, tmp_path / "publish")))


def test_what_was_gated_is_uploaded(released: Released) -> None:
    done = released.publish()
    assert done.returncode == 0, done.stdout + done.stderr
    hub = released.folder / "hub"
    assert file_sha256(hub / "lora.safetensors") == file_sha256(released.release / "lora.safetensors")
    assert "signed by gate@OWNER" in done.stdout
    assert released.verify(bundled=True) == 0


def test_other_bytes_are_not(released: Released) -> None:
    testing.write_lora(released.release / "lora.safetensors", seed=1)
    done = released.publish()
    assert done.returncode == 1
    assert "these are other bytes" in done.stderr
    assert not (released.folder / "hub").exists()


Said = dict[str, Any]
Forgery = Callable[[Said], object]


def _of(said: Said, kind: str, metric: str = "") -> Said:
    found: Said = next(
        item for item in said["items"] if item["kind"] == kind and (item["metric"] == metric or not metric)
    )
    return found


def _without(said: Said, kind: str, **suite: object) -> None:
    said["suite"].update(suite)
    for name in ("items", "expected"):
        said[name] = [item for item in said[name] if item["kind"] != kind]


#: What somebody could write into a receipt, and seal again.
FORGERIES: dict[str, Forgery] = {
    "weaker": lambda said: said["checkpoint"].update(scale=1e-6),
    "stronger": lambda said: said["checkpoint"].update(scale=1.5),
    "no seeds": lambda said: said.update(seeds={}),
    "one seed": lambda said: said.update(seeds={name: [0] for name in said["seeds"]}),
    "one seed, counted often": lambda said: said.update(seeds={name: [0] * 4 for name in said["seeds"]}),
    "nothing counted": lambda said: [item.update(n=0) for item in said["items"]],
    "another suite": lambda said: said["suite"].update(name="easy"),
    "another file of the suite": lambda said: said["suite"]["digest"].update(sha256="1" * 64),
    "no limits": lambda said: _without(said, "limit", limits=[]),
    "a looser limit": lambda said: said["suite"]["limits"][0].update(min=0.1),
    "a limit of one scenario": lambda said: said["suite"]["limits"][0].update(scenario="test1_city"),
    "no scenarios": lambda said: said["suite"].update(scenarios=[]),
    "no looks": lambda said: said["suite"].update(looks=[]),
    "wide bands": lambda said: [band.update(fail=9.0) for band in said["suite"]["tolerances"].values()],
    "no bands": lambda said: _without(said, "regression", tolerances={}),
    "one band less": lambda said: said["suite"]["tolerances"].pop("sharpness"),
    "no comparisons": lambda said: _without(said, "regression"),
    "no single videos": lambda said: _without(said, "videos"),
    "no file": lambda said: _without(said, "checkpoint"),
    "no baseline": lambda said: said.update(baseline=None),
    "another baseline": lambda said: said["baseline"]["digest"].update(sha256="2" * 64),
    "another device": lambda said: said["environment"].update(device="tpu"),
    "a score below the limit": lambda said: _of(said, "limit", "clip").update(value=0.2),
    "no score": lambda said: _of(said, "limit", "clip").update(value=None),
    "a change beyond the band": lambda said: _of(said, "regression", "clip").update(change=0.5),
    "values beyond the band": lambda said: _of(said, "regression", "clip").update(value=0.1),
    "a band of its own": lambda said: _of(said, "regression", "clip")["evidence"].update(band=9.0),
    "a failing item": lambda said: _of(said, "videos").update(verdict="fail"),
    "a failed run": lambda said: said["run"].update(exit_status=1),
    "a partial run": lambda said: said["run"].update(partial=True),
    "a verdict": lambda said: said["verdict"].update(publishable=False),
    "many tries": lambda said: said.update(runs=4),
    "another checkpoint's items": lambda said: said["checkpoint"].update(name="other"),
    "a failed test": lambda said: said.update(
        project_tests=[{"name": "t.py::a", "candidate": None, "outcome": "failed", "detail": ""}]
    ),
}


def _version_1(document: Said) -> None:
    document["predicateType"] = "pytest-wanlora:receipt/v1"
    del document["predicate"]["project_tests"]
    del document["predicate"]["run"]["exit_status"]
    document["predicate"]["seeds"] = {}


def _forge(released: Released, change: Forgery | None) -> bytes:
    document = json.loads(released.receipt.read_bytes())
    if change is None:
        _version_1(document)
    else:
        change(document["predicate"])
    return receipt.canonical(receipt._sealed(document))


@pytest.mark.parametrize("name", [*FORGERIES, "an earlier version"])
def test_a_forgery_is_refused_signed_or_not(
    released: Released, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(FORGERIES) >= 30
    forged = _forge(released, FORGERIES.get(name))
    genuine = released.receipt.read_bytes()
    assert forged != genuine
    released.receipt.write_bytes(forged)
    # unsigned: with the genuine signature, and where none is asked for
    assert released.verify() == 1
    assert "not a good signature" in capsys.readouterr().err
    assert released.verify(policy="unsigned.yaml") == 1
    # signed by somebody with a key of their own, and by one who has the gate's
    signature_path(released.receipt).write_bytes(ssh_signature.sign(forged, released.folder / "own"))
    assert released.verify() == 1
    signature_path(released.receipt).write_bytes(ssh_signature.sign(forged, released.folder / "insider"))
    capsys.readouterr()
    assert released.verify() == 1
    assert "signature" not in capsys.readouterr().err


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_bundle_is_refused_signed_or_not(released: Released, name: str) -> None:
    document = json.loads(_forge(released, FORGERIES[name]))
    path = bundle.bundle_path(released.receipt)
    genuine = json.loads(path.read_bytes())
    for key in ("own", "insider"):
        path.write_bytes(bundle.sign(document, released.folder / key))
        assert released.verify(bundled=True) == 1
    payload = receipt.canonical(bundle.attestation(document))
    genuine["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    path.write_bytes(receipt.canonical(genuine))
    assert released.verify(bundled=True) == 1
