"""A watch on a folder that is written to, killed and started again; what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_wanlora import cli, results, testing
from tests.integration.conftest import Project
from tests.integration.test_pairs import two_experts


def start(project: Project, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest_wanlora", "watch", "out", "--every", "0.1s", *options, "--"]
    return subprocess.Popen(
        [*command, "-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(what: str, done: object) -> None:
    end = time.monotonic() + 120
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_every_epoch_is_gated_once_however_often_the_watch_is_killed(based: Project) -> None:
    out = based.path / "out"
    out.mkdir()
    based.producer(seconds=0.1, quality={"epoch-2": {"test2_nature": 0.4}})
    trainer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    options = ("--pid", str(trainer.pid))
    watches: list[subprocess.Popen[str]] = []
    try:
        testing.write_lora(out / "epoch-1.safetensors", seed=1)
        watch = start(based, *options)
        until("the first gate renders", lambda: len(based.rendered()) > 1)
        watch.kill()  # its gate outlives it
        watch.communicate()
        watches += [start(based, *options), start(based, *options)]
        testing.write_lora(out / "epoch-2.safetensors", seed=2)
        until("the second gate renders", lambda: any("epoch-2" in line for line in based.rendered()))
        for watch in watches:
            children = Path(f"/proc/{watch.pid}/task/{watch.pid}/children").read_text().split()
            watch.kill()
            watch.communicate()
            for child in map(int, children):
                os.killpg(child, signal.SIGKILL)
        (out / "epoch-1.safetensors").rename(out / "first.safetensors")
        (out / "model-00001-of-00002.safetensors").write_bytes(b"half")
        watch = start(based, *options)
        time.sleep(0.5)
    finally:
        trainer.communicate(b"\n")
        for each in watches:
            if each.poll() is None:
                each.kill()
                each.communicate()
    printed, _ = watch.communicate(timeout=120)
    assert watch.returncode == 0, printed
    assert "the watch ended: the trainer has ended; 2 gated, 0 not measured" in printed
    assert "ignored: out/model-00001-of-00002.safetensors: part 1 of 2" in printed
    assert "Publish epoch-1." in printed
    whole = [results.load(path) for path in based.records() if not (path.parent / "board").exists()]
    assert Counter(card.name for record in whole for card in record.candidates) == {
        "epoch-1": 1,
        "epoch-2": 1,
    }
    again = {line: count for line, count in Counter(based.rendered()).items() if count > 1}
    assert len(again) <= 1  # what the killed gate was rendering
    (page,) = (based.path / ".wanlora" / "watch").glob("out-*/history.html")
    assert "1 of 2 checkpoints may be published" in page.read_text(encoding="utf-8")


def test_ctrl_c_ends_a_gate_in_good_order_and_the_next_watch_goes_on(based: Project) -> None:
    out = based.path / "out"
    out.mkdir()
    testing.write_lora(out / "epoch-1.safetensors", seed=1)
    based.producer(seconds=0.3)
    watch = start(based)
    until("the gate renders", lambda: len(based.rendered()) > 1)
    watch.send_signal(signal.SIGINT)
    printed, _ = watch.communicate(timeout=60)
    assert watch.returncode == 1
    assert "stopped by hand; 0 gated, 0 not measured, 1 not gated" in printed
    based.producer()
    watch = start(based, "--idle", "0.5s")
    printed, _ = watch.communicate(timeout=120)
    assert watch.returncode == 0, printed
    assert "the watch ended: no new file for 0.5 s" in printed
    assert "epoch-1" in printed
    assert max(Counter(based.rendered()).values()) <= 2


def test_a_checkpoint_that_cannot_be_measured_and_a_file_in_part_are_1(based: Project) -> None:
    out = based.path / "out"
    out.mkdir()
    testing.write_lora(out / "good.safetensors")
    (out / "part.safetensors").write_bytes((out / "good.safetensors").read_bytes()[:-1])
    testing.write_lora(out / "wide.safetensors", dim=32)
    watch = start(based, "--idle", "0.5s")
    printed, _ = watch.communicate(timeout=120)
    assert watch.returncode == 1
    assert "1 gated, 1 not measured, 0 not gated, 1 other file in part or alone" in printed
    assert "wide: NOT MEASURED: " in printed
    notes = (based.path / ".wanlora" / "watch").glob("*/*.json")
    answers = [json.loads(path.read_text()) for path in notes if not path.name.endswith(".job.json")]
    assert sorted(next(iter(answer)) for answer in answers) == ["error", "folder"]


@pytest.mark.parametrize(
    ("experts", "files", "name"),
    [(True, ("a_high_noise", "a_low_noise"), "a"), (False, ("my_low_key",), "my_low_key")],
)
def test_the_suite_of_the_ini_file_says_whether_files_are_halves(
    project: Project, experts: bool, files: tuple[str, ...], name: str
) -> None:
    if experts:
        two_experts(project)
    project.measure_base()
    (project.path / "pytest.ini").write_text("[pytest]\nwanlora_suite = fake.yaml\n", encoding="utf-8")
    for seed, file in enumerate(files):
        testing.write_lora(project.path / "out" / f"{file}.safetensors", seed=seed)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_wanlora", "watch", "out", "--every", "0.1s", "--idle", "0.5s"],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{name}: may be published" in done.stdout, done.stdout + done.stderr
    assert "; 1 gated" in done.stdout
    assert done.returncode == 0


def test_a_folder_that_is_not_there_yet_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["watch", "none", "--idle", "0.15s", "--every", "0.1s"]) == 1
    printed = capsys.readouterr().out
    assert "none is not there yet; what is written to it later is gated" in printed
    assert "the watch ended: no new file for 0.15 s; 0 gated" in printed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["good.safetensors"], "watch: good.safetensors: is no folder"),
        ([".", "--idle", "soon"], "--idle: 'soon' is not allowed; allowed: a time such as"),
        ([".", "--until-worse", "0"], "--until-worse: 0 is not allowed"),
        ([".", "--", "--lora=x"], "watch: --lora=x: not behind --"),
        ([".", "--", "-qk", "clip", "-x"], "watch: -k, -x: not behind --"),
        ([".", "--", "--wanlora-suite", "none.yaml"], "none.yaml"),
    ],
)
def test_what_it_refuses(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    testing.write_lora(tmp_path / "good.safetensors")
    assert cli.main(["watch", *arguments]) == 4
    printed = capsys.readouterr().err
    assert problem in printed
    assert "next: " in printed


def test_a_checkpoint_that_fits_several_suites_is_told_in_one_line_with_the_command_that_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for seed in (1, 2):
        values = np.random.default_rng(seed).normal(size=5120).astype(np.float32)
        halves = {"lora_A": values.reshape(1, 5120), "lora_B": values.reshape(5120, 1)}
        state = {f"blocks.0.self_attn.q.{half}.weight": each for half, each in halves.items()}
        save_file(state, tmp_path / "out" / f"epoch-{seed}.safetensors")
    assert cli.main(["watch", "out", "--idle", "1s", "--every", "1s", "--", "--wanlora-seeds=2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    command = "python -m pytest_wanlora watch out --idle 1s --every 1s -- --wanlora-suite=wan2.1-t2v-14b"
    assert lines.count(f"next: {command} --wanlora-seeds=2") == 1
    told = [
        line for line in lines if line.startswith("epoch-1: NOT MEASURED: fits several packaged suites (")
    ]
    assert len(told) == 1
    assert all("\N{REPLACEMENT CHARACTER}" not in line and len(line) < 400 for line in lines)
