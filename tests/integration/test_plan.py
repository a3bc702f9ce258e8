"""`--wanlora-plan`: what a run needs, told without loading, rendering or judging anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora import results, testing
from pytest_wanlora.run import preflight
from pytest_wanlora.run.inputs import Download, ModelFiles
from pytest_wanlora.run.session import Gate
from pytest_wanlora.scoring import frechet
from tests import loras
from tests.integration.conftest import Project

PLAN = ("--lora", "good.safetensors", "--wanlora-plan")


@pytest.mark.parametrize("workers", ["none", "-n2", "no:xdist"])
def test_the_plan_renders_and_writes_nothing(based: Project, workers: str) -> None:
    based.forget()
    result = based.run(*PLAN, "--wanlora-seeds", "2:4", workers=workers)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "plan of good on suite fake; nothing was loaded, rendered or judged",
            # the base model's first video beside two of each scenario
            "videos up to the first look: 4, 0 of them in the cache, and 1 of the model without LoRA besides",
            # with the two that the baseline lacks of each
            "videos up to the last look: 8, 0 of them in the cache, and 5 of the model without LoRA besides",
            "time: unknown, no earlier run of this suite on cpu is stored here",
            "disk: *",
            "missing: nothing",
        ]
    )
    assert based.rendered() == []
    assert based.records() == []
    assert not (based.path / ".wanlora").exists()


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_the_plan_names_what_a_folder_holds_besides(based: Project, quiet: tuple[str, ...]) -> None:
    (based.path / "out").mkdir()
    shutil.copy(based.path / "good.safetensors", based.path / "out" / "epoch-2.SAFETENSORS")
    (based.path / "out" / "epoch-3.ckpt").touch()
    result = based.run("--lora", "out", "--wanlora-plan", *quiet)
    assert result.ret == pytest.ExitCode.OK
    assert "plan of epoch-2 on suite fake" in result.stdout.str()
    assert result.stdout.str().count("left out: out/epoch-3.ckpt; only .safetensors files are read") == 1


def test_the_plan_knows_earlier_runs(based: Project) -> None:
    based.producer(seconds=0.05)
    assert based.run("--lora", "good.safetensors").ret == pytest.ExitCode.OK
    based.forget()
    result = based.run("--lora", "bad.safetensors", "--wanlora-plan", workers="-n2")
    result.stdout.fnmatch_lines(
        [
            "videos up to the first look: 4, 0 of them in the cache; about *",
            "time: 0.1 s a video on cpu, as in 1 earlier run; 2 processes",
        ]
    )
    again = based.run("--lora", "good.safetensors", "--wanlora-plan")
    again.stdout.fnmatch_lines(["videos up to the first look: 4, 4 of them in the cache; about 0 s"])
    assert based.rendered() == []


def test_the_plan_is_of_the_items_that_were_chosen(based: Project) -> None:
    result = based.run(*PLAN, "-k", "checkpoint")
    result.stdout.fnmatch_lines(["videos up to the first look: 1, 0 of them in the cache, and 1 of *"])
    assert "last look" not in result.stdout.str()


def test_the_plan_names_all_that_is_missing(project: Project) -> None:
    (project.path / "fake-files" / "vae.safetensors").unlink()
    result = project.run(*PLAN)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "videos: not counted; files of the suite are missing",
            "missing: 2 things; nothing can be measured without",
            "1. *model.vae*",
            "2. *there is no baseline 'base'*",
            "   next: pytest --wanlora-suite fake.yaml --update-baselines",
        ]
    )


def test_the_plan_of_a_baseline(project: Project) -> None:
    result = project.run("--update-baselines", "--wanlora-plan", "--wanlora-seeds", "2:4")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["plan of base on *", "videos up to the first look: 8, *", "missing: nothing"]
    )
    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize("workers", ["none", "-n2"])
@pytest.mark.parametrize("broken", ["nan", "zero", "two"])
def test_the_plan_says_of_a_broken_file_what_the_run_will_say(
    based: Project, broken: str, workers: str
) -> None:
    files = _broken(based.path)
    chosen = files if broken == "two" else [f"{broken}.safetensors"]
    typed = [word for name in ["good.safetensors", *chosen] for word in ("--lora", name)]
    plan = based.run(*typed, "--wanlora-plan", "--wanlora-seeds", "2", workers=workers)
    run = based.run(*typed, "--wanlora-seeds", "2", workers=workers)
    assert plan.ret == run.ret == pytest.ExitCode.TESTS_FAILED
    record = results.load(based.records()[0])
    judged = {each.candidate: each for each in record.judgements if each.kind == "checkpoint"}
    plan.stdout.fnmatch_lines(
        [
            # nothing of them is rendered
            "videos up to the first look: * and 1 of the model without LoRA besides",
            *(
                line
                for name in (Path(each).stem for each in chosen)
                for line in (
                    f"FAIL checkpoint {name}: {judged[name].reason}".replace("[", "[[]"),
                    f"   next: python -m pytest_wanlora inspect {name}.safetensors",
                )
            ),
            "missing: nothing",
        ]
    )
    assert "videos up to the first look: 4, " in plan.stdout.str()
    assert not [each for each in record.videos if each.candidate in ("nan", "zero")]
    # one cause for each file, whatever it keeps from being measured
    assert [each.next_command for each in record.causes] == [
        f"python -m pytest_wanlora inspect {name}" for name in chosen
    ]


@pytest.mark.parametrize("workers", ["none", "-n2"])
def test_plan_run_and_record_say_that_the_cache_is_damaged(based: Project, workers: str) -> None:
    assert based.run("--lora", "good.safetensors", workers=workers).ret == pytest.ExitCode.OK
    entries = sorted((based.path / ".wanlora" / "cache").glob("*/result.json"))
    for path in entries:
        path.write_bytes(path.read_bytes()[:-20])
    (entries[0].parent / "features.safetensors").unlink()
    said = f"{len(entries)} results in the cache cannot be used, and the videos must be rendered again: the"
    plan = based.run(*PLAN, workers=workers)
    plan.stdout.fnmatch_lines([f"note: {said} first, base, test1_city, seed 0: *"])
    result = based.run("--lora", "good.safetensors", workers=workers)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"note: {said} first, base, test1_city, seed 0: *"])
    (note,) = results.load(based.records()[-1]).notes
    assert note.startswith(said)
    for report in ("report.md", "report.ko.md", "report.html"):
        assert said in (based.records()[-1].parent / report).read_text(encoding="utf-8")
    # what was rendered again is whole
    assert based.run("--lora", "good.safetensors", workers=workers).ret == pytest.ExitCode.OK
    assert results.load(based.records()[-1]).notes == ()


@pytest.mark.parametrize("workers", ["none", "-n2"])
def test_run_and_record_say_that_prompt_embeddings_are_damaged(based: Project, workers: str) -> None:
    based.producer(
        extra="""
import dataclasses


class FakeProducer(FakeProducer):
    def produce(self, job, checkpoint):
        told = [("prompt", f"prompts/{job.scenario}", "it does not fit its digest")]
        return dataclasses.replace(super().produce(job, checkpoint), notes={"prompts": told})
""",
    )
    result = based.run("--lora", "good.safetensors", workers=workers)
    assert result.ret == pytest.ExitCode.OK
    said = (
        "2 prompt embeddings in the cache cannot be used, and the prompts had to be encoded again: the "
        "first, prompts/test1_city: it does not fit its digest"
    )
    result.stdout.fnmatch_lines([f"note: {said}"])
    assert results.load(based.records()[-1]).notes == (said,)
    for report in ("report.md", "report.ko.md", "report.html"):
        assert said[:50] in (based.records()[-1].parent / report).read_text(encoding="utf-8")


def test_the_plan_of_what_does_not_concern_a_broken_file_ends_well(based: Project) -> None:
    _broken(based.path)
    typed = ("--lora", "nan.safetensors", "--lora", "good.safetensors", "--wanlora-plan")
    assert based.run(*typed, "-k", "good").ret == pytest.ExitCode.OK
    # a race drops it and goes on
    race = ("--wanlora-race", "--wanlora-seeds", "3")
    assert based.run(*typed, *race).ret == pytest.ExitCode.OK
    alone = based.run("--lora", "nan.safetensors", "--lora", "zero.safetensors", "--wanlora-plan", *race)
    assert alone.ret == pytest.ExitCode.TESTS_FAILED


def _broken(folder: Path) -> list[str]:
    """Write LoRAs that nothing is rendered with."""
    names = ["nan.safetensors", "zero.safetensors"]
    for name, size in zip(names, (float("nan"), 0.0), strict=True):
        testing.write_lora(folder / name, size=size)
    return names


@pytest.mark.parametrize("key", ["no key", "locked"])
def test_the_plan_reads_the_key_that_the_run_would_sign_with(based: Project, key: str) -> None:
    path = based.path / "key"
    if key == "locked":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
    else:
        path.write_text("no key\n", encoding="utf-8")
        path.chmod(0o600)
    said = []
    for plan in ((), ("--wanlora-plan",)):
        result = based.run("--lora", "good.safetensors", "--wanlora-sign-key", "key", *plan)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: --wanlora-sign-key (ini: wanlora_sign_key): */key: ssh-keygen *"]
        )
        said.append(result.errlines)
    assert said[0] == said[1]
    assert based.rendered() == []


@pytest.mark.parametrize(
    ("option", "purpose"),
    [
        ("cache", "keep the scores of rendered videos"),
        ("output", "write the record"),
        ("baselines", "read baselines"),
    ],
)
def test_the_plan_refuses_a_folder_that_the_run_could_not_make(
    based: Project, option: str, purpose: str
) -> None:
    (based.path / "taken").write_text("", encoding="utf-8")
    said = []
    for plan in ((), ("--wanlora-plan",)):
        result = based.run("--lora", "good.safetensors", f"--wanlora-{option}-dir", "taken/below", *plan)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [
                f"ERROR: */taken/below: cannot {purpose}: */taken is a file; allowed: a folder, named with "
                f"--wanlora-{option}-dir",
                "next: ls -l */taken",
            ]
        )
        said.append(result.errlines)
    assert said[0] == said[1]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can make one")
@pytest.mark.parametrize(
    ("option", "target"),
    [
        ("cache", ("--lora", "good.safetensors")),
        ("output", ("--lora", "good.safetensors")),
        ("baselines", ("--update-baselines",)),
    ],
)
def test_the_plan_refuses_a_folder_that_rights_alone_would_allow(
    based: Project, option: str, target: tuple[str, ...]
) -> None:
    said = []
    for plan in ((), ("--wanlora-plan",)):
        result = based.run(*target, f"--wanlora-{option}-dir", "/proc/x", *plan)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        names = f"*--wanlora-{option}-dir names*"
        result.stderr.fnmatch_lines(["ERROR: /proc/x*: cannot *", names, "next: ls -ld /proc"])
        said.append(result.errlines)
    assert said[0] == said[1]
    assert based.rendered() == []


@pytest.mark.parametrize("plan", [(), ("--wanlora-plan",)])
def test_a_baseline_that_cannot_be_written_is_not_measured(project: Project, plan: tuple[str, ...]) -> None:
    (project.path / "taken").mkdir()
    (project.path / "taken" / "fake").write_text("", encoding="utf-8")
    result = project.run("--update-baselines", "--wanlora-baselines-dir", "taken", *plan)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: */base: cannot store the baseline: */taken/fake is a file; *baselines-dir",
            "next: ls -l *fake",
        ]
    )
    assert project.rendered() == []


def test_the_plan_refuses_a_race_of_too_few_seeds_as_the_race_does(based: Project) -> None:
    said = []
    for plan in ((), ("--wanlora-plan",)):
        result = based.run("--lora", "*.safetensors", "--wanlora-race", "--wanlora-seeds", "2:2", *plan)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: --wanlora-race: 2 seeds a scenario at most; allowed: 3*"])
        said.append(next(line for line in result.errlines if line.startswith("ERROR: ")))
    assert said[0] == said[1]
    assert based.rendered() == []


@pytest.mark.parametrize("arguments", [("--update-baselines",), ("--lora", "good.safetensors")])
def test_a_reference_set_that_does_not_fit_is_told_before_anything_is_rendered(
    based: Project, arguments: tuple[str, ...]
) -> None:
    path = based.path / "fake-files" / "reference.safetensors"
    known = frechet.read_reference(path, sha256="", extractor_sha256=None)
    few = {name: rows[:3] for name, rows in known.sets.items()}
    frechet.write_reference(path, few, frames=5, extractor_sha256=known.extractor_sha256)
    based.forget()
    said = (
        "1. *: the reference set has too few videos, all of 3; allowed: 4 or more, as the suite compares fvd"
    )
    planned = based.run(*arguments, "--wanlora-plan")
    assert planned.ret == pytest.ExitCode.OK
    planned.stdout.fnmatch_lines(["missing: 1 thing; *", said, "   next: python -m * reference *"])
    ran = based.run(*arguments)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["not measured: 1 cause; nothing was loaded or rendered", said])
    assert based.rendered() == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("missing", "  it can be compared with no model without LoRA: *: there is no baseline 'base' of *"),
        ("incomparable", "  it can be compared with no model without LoRA: the baseline 'base' of suite *"),
        ("larger", "  test1_city: seeds 2 -> 1"),
    ],
)
def test_an_acceptance_that_is_refused_in_any_case_is_refused_before_it_is_rendered(
    based: Project, harm: str, said: str
) -> None:
    accept = ["--lora", "good.safetensors", "--update-baselines"]
    suite = based.path / "fake.yaml"
    if harm == "missing":
        shutil.rmtree(based.path / "baselines" / "fake" / "base")
    elif harm == "incomparable":
        suite.write_text(suite.read_text().replace("shift: 5.0", "shift: 4.0"))
    else:
        suite.write_text(suite.read_text() + "tolerances: {fvd: off}\n")
        assert based.run(*accept).ret == pytest.ExitCode.OK
        accept += ["--wanlora-seeds", "1"]
    based.forget()
    for plan in ((), ("--wanlora-plan",)):
        result = based.run(*accept, *plan)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        told = [
            "ERROR: refused, not stored as the baseline 'accepted'; nothing was changed:",
            said,
            "next: *",
        ]
        result.stderr.fnmatch_lines(told)
    assert based.rendered() == []
    assert based.run(*accept, "--wanlora-force").ret == pytest.ExitCode.OK


def test_what_was_fetched_is_looked_at_before_anything_is_rendered(
    based: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = based.path / "fake-files" / "reference.safetensors"
    away = [Download("model.vae", "hub:a/b:vae", based.path, 3)]

    class Files(ModelFiles):
        def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - as ModelFiles
            super().__init__(*arguments, **named)
            self.downloads = tuple(away)

    def fetch(_: Gate) -> None:
        path.write_bytes(b"")
        away.clear()

    monkeypatch.setattr(preflight, "ModelFiles", Files)
    monkeypatch.setattr(Gate, "fetch", fetch)
    based.forget()
    result = based.run("--update-baselines")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not measured: 1 cause; nothing was loaded or rendered", "1. *reference*"])
    assert based.rendered() == []


def test_a_plan_without_a_gate_is_a_usage_error(project: Project) -> None:
    result = project.pytester.runpytest_subprocess("--wanlora-plan")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --wanlora-plan: does nothing without a gate; *"])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\nwanlora_plan = yes\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\n'wanlora_plan' = 'yes'\n"),
    ],
)
def test_no_ini_file_can_turn_a_gate_into_a_plan(based: Project, file: str, text: str) -> None:
    (based.path / file).write_text(text, encoding="utf-8")
    result = based.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{file}: wanlora_plan: no such key; *"])


def test_a_mistyped_key_is_refused(based: Project) -> None:
    (based.path / "pytest.ini").write_text("[pytest]\nwanlora_suit = x.yaml\n", encoding="utf-8")
    result = based.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*wanlora_suit: no such key; did you mean wanlora_suite? *"])
    result = based.run("--lora", "good.safetensors", "-o", "wanlora_sale=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_the_plan_of_nothing_ends_well_and_says_so(based: Project) -> None:
    result = based.run(*PLAN, "-k", "unrelated")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["the selection leaves no item of the gate"])


def test_the_plan_tells_what_the_run_will_warn_of(based: Project) -> None:
    """The header of the file names another model than the suite has."""
    state = loras.read_state(based.path / "good.safetensors")
    header = {"ss_base_model_version": "wan2.1-vace-14b"}
    loras.write(based.path / "good.safetensors", state, metadata=header)
    result = based.run(*PLAN)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["WARN checkpoint good: the header of good.safetensors says ss_base_model_version *, of VACE, *"]
    )
