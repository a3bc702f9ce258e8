"""`init` and the commands that it prints, as a person types them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import cli, results
from tools.tiny_world.dataset import write_video
from tools.tiny_world.draw import draw
from tools.tiny_world.factors import SCENARIOS, caption

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPTS = {"city": "urban", "tree": "nature"}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as it was printed; `python` and `pytest` are those of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "COLUMNS": "160", "HF_HUB_OFFLINE": "1"},
    )


def test_the_printed_commands_lead_to_a_verdict(tmp_path: Path) -> None:
    prompts = [
        f"--prompt '{name}={kind}: {caption(kind, SCENARIOS[kind])}'" for name, kind in PROMPTS.items()
    ]
    options = f"--model tiny --name mine --lora epoch-2.safetensors {' '.join(prompts)}"
    done = shell(f"python -m pytest_wanlora init {options}", tmp_path)
    assert done.returncode == 0, done.stderr
    commands = [
        line.strip() for line in done.stdout.splitlines() if line.startswith("  ") and "  #" not in line
    ]
    assert [command.split()[0] for command in commands] == ["python", "pytest", "pytest"]

    # a person's part: videos, a checkpoint, and here fewer steps and seeds, to be sooner done
    for kind in PROMPTS.values():
        (tmp_path / "reference-videos" / kind).mkdir(parents=True)
        videos = draw(kind, np.array([SCENARIOS[kind]] * 6), 7).numpy()
        for number, video in enumerate(videos):
            write_video(tmp_path / "reference-videos" / kind / f"{number}.mkv", video)
    shutil.copy(EXAMPLES / "epoch-2.safetensors", tmp_path)
    suite = tmp_path / "suites" / "mine.yaml"
    text = suite.read_text(encoding="utf-8")
    assert "steps: 20\n" in text
    assert "seeds: {first: 3, most: 8, start: 0}\n" in text
    text = text.replace("steps: 20\n", "steps: 2\n").replace("{first: 3, most: 8,", "{first: 2, most: 2,")
    suite.write_text(text, encoding="utf-8")

    reference, baseline, gate = commands
    plan = shell(f"{gate} --wanlora-plan", tmp_path).stdout
    missing = re.findall(r"^\d+\. (.*)$", plan, re.MULTILINE)
    assert len(missing) == 2, plan
    assert "scoring.reference: " in missing[0]
    assert "there is no baseline 'base' of suite 'mine'" in missing[1]
    for command, made in ((reference, "reference.safetensors"), (baseline, "base/baseline.json")):
        done = shell(command, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "baselines/mine" / made).is_file()
    assert "missing: nothing" in shell(f"{gate} --wanlora-plan", tmp_path).stdout
    done = shell(gate, tmp_path)
    # with so few steps the verdict is open; that everything was judged is not
    assert done.returncode in (0, 1), done.stdout + done.stderr
    record = results.load(max(tmp_path.glob(".wanlora/runs/*-epoch-2/results.json")))
    assert {str(each.verdict) for each in record.judgements} <= {
        "better",
        "pass",
        "warn",
        "undecided",
        "fail",
    }
    assert {each.scenario for each in record.judgements} >= {*PROMPTS, "all"}
    (card,) = record.candidates
    assert card.publishable == (done.returncode == 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, ""),
        ("pytest.ini", "[pytest]\naddopts = -q\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-q'\n"),
        ("pyproject.toml", "[tool.pytest]\naddopts = ['-q']\n"),
        ("pyproject.toml", "[project]\nname = 'x'\n"),
        ("pytest.toml", "[pytest]\naddopts = ['-q']\n"),
        ("tox.ini", "[pytest]\naddopts = -q\n"),
        ("setup.cfg", "[tool:pytest]\naddopts = -q\n"),
    ],
)
def test_pytest_reads_what_was_written(
    pytester: pytest.Pytester, name: str | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name is not None:
        (pytester.path / name).write_text(text)
    prompt = "street=urban: a street in Seoul at night"
    assert cli.main(["init", "--model", "tiny", "--name", "mine", "--prompt", prompt, "--yes"]) == 0
    config = pytester.parseconfig()
    assert config.getini("wanlora_suite") == "suites/mine.yaml"
    assert config.getini("wanlora_baselines_dir") == "baselines"
    assert config.rootpath == pytester.path
    assert config.option.verbose == (-1 if "addopts" in text else 0)
    if name is not None:
        written = (pytester.path / name).read_text()
        assert all(line in written.splitlines() for line in text.splitlines())
