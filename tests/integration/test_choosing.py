"""What is printed where a checkpoint and its suite do not go together leads to a run when it is pasted."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib import resources
from pathlib import Path

import pytest

EXAMPLES = Path(str(resources.files("pytest_wanlora"))) / "examples"
HIGH, LOW = "pair/cities_high_noise.safetensors", "pair/cities_low_noise.safetensors"
PAIR = ("--wanlora-suite", "tiny-pair")


@pytest.mark.parametrize(
    ("ini", "words", "names"),
    [
        ("wanlora_suite = tiny-pair", ["--lora", "epoch-2.safetensors"], "epoch-2 on suite tiny"),
        ("wanlora_suite = wan2.2-ti2v-5b", ["--lora", "epoch-1.safetensors"], "epoch-1 on suite tiny"),
        ("wanlora_suite = tiny-pair", ["--lora", HIGH], "cities on suite tiny-pair"),
        ("", ["--lora", HIGH, *PAIR], "cities on suite tiny-pair"),
        ("", ["--lora", f"high={HIGH}@abc,low={LOW}", *PAIR], "cities on suite tiny-pair"),
        ("", ["--lora", f"high={HIGH}@11,low={LOW}@12", *PAIR], "cities on suite tiny-pair"),
        ("", ["--lora", f"{HIGH},{LOW}", *PAIR], "cities on suite tiny-pair"),
        ("", ["--lora", f"high={HIGH},low={LOW[:-1]}", *PAIR], "cities on suite tiny-pair"),
        ("", ["--lora", "epoch-1.safetensors", "--lora", "epoch-3.safetensors"], "epoch-1 on suite tiny"),
    ],
)
def test_the_next_command_works_when_it_is_pasted(
    pytester: pytest.Pytester, ini: str, words: list[str], names: str
) -> None:
    shutil.copytree(EXAMPLES, pytester.path, dirs_exist_ok=True)
    pytester.makeini(f"[pytest]\n{ini}\n")
    plan = ("--wanlora-plan", "-p", "no:cacheprovider")
    first = pytester.runpytest_subprocess(*words, *plan)
    assert first.ret == pytest.ExitCode.USAGE_ERROR
    (command,) = re.findall("^next: (.*)$", first.stderr.str(), re.MULTILINE)
    pytest_, *again = shlex.split(command)
    assert pytest_ == "pytest"
    assert again[-3:] == list(plan)
    second = pytester.runpytest_subprocess(*again)
    assert second.ret == pytest.ExitCode.OK, second.stdout.str() + second.stderr.str()
    second.stdout.fnmatch_lines([f"plan of {names}; nothing was loaded, rendered or judged"])


def test_a_checkpoint_without_its_option_is_told_of_it(pytester: pytest.Pytester) -> None:
    shutil.copytree(EXAMPLES, pytester.path, dirs_exist_ok=True)
    ran = pytester.runpytest_subprocess("-q", "epoch-0.safetensors", "epoch-1.safetensors")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(
        [
            "ERROR: not found: *",
            "a checkpoint is gated with --lora",
            "next: pytest --lora=epoch-0.safetensors --lora=epoch-1.safetensors *-q",
        ]
    )
    assert "--lora" not in pytester.runpytest_subprocess("nowhere.py").stderr.str()


def test_the_plan_warns_of_swapped_names_as_the_run_does(pytester: pytest.Pytester) -> None:
    shutil.copytree(EXAMPLES, pytester.path, dirs_exist_ok=True)
    result = pytester.runpytest_subprocess("--lora", f"high={LOW},low={HIGH}", *PAIR, "--wanlora-plan")
    result.stdout.fnmatch_lines(
        [
            "WARN checkpoint cities: cities_low_noise.safetensors is given as the high-noise LoRA, *low",
            "WARN checkpoint cities: cities_high_noise.safetensors is given as the low-noise LoRA, *high",
        ]
    )
