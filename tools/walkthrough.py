"""Follow docs/wan2.2.md: run its commands in their order, those that need the network or your files replaced.

    python -m tools.walkthrough --out FOLDER            # full size, on a machine with a GPU: 34 GB of disk
    python -m tools.walkthrough --out FOLDER --smoke    # the embedded model's shapes, on a CPU

The commands are read from the page. What is replaced is marked in the log, FOLDER/walkthrough.log: weights
are random (`tools.hollow_wan`), reference videos are the packaged previews. So the verdicts mean nothing; the
commands and the seconds that they take are real.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "wan2.2.md"

#: Commands whose exit code is a verdict, which random weights may fail.
_VERDICTS = re.compile(r"pytest --lora (?!.*--wanlora-plan)|python -m pytest_wanlora (show|verify)")

_LINKS = "ln -s {hollow} models"
_SCORERS = (
    r"""sed -i -E "s|hub:timm/.*|../models/clip.safetensors|; s|hub:flateon/.*|../models/i3d.pt|" {suite}"""
    r""" && sed -i "s|e6d1bd7[0-9a-f]*|$(sha256sum models/clip.safetensors \| cut -c1-64)|;"""
    r""" s|bec6519[0-9a-f]*|$(sha256sum models/i3d.pt \| cut -c1-64)|" {suite}"""
).replace(r"\|", "|")
_SMALL = (
    " && sed -i -E 's/dim: 3072/dim: 192/; s/ffn_dim: 14336/ffn_dim: 768/; s/blocks: 30/blocks: 8/; "
    "/heads: 24/d; /text_dim: 4096/d; s/height: 480/height: 96/; s/width: 832/width: 160/; "
    "s/steps: 50/steps: 2/; "
    "s/compile: true .*/compile: false/; s|model: ViT-B-32.*|model: ../models/clip.json|; "
    "s/first: 3, most: 16/first: 2, most: 4/; "
    "s/^  architecture:/  register: pytest_wanlora.tiny.registration:register\\n  architecture:/' {suite}"
)
_VIDEOS = (
    "for pair in urban:test1_korean_city nature:test2_nature action:test3_action; do "
    "mkdir -p reference-videos/${{pair%%:*}} && "
    "cp {package}/baselines/tiny/base/videos/${{pair##*:}}-*.mp4 reference-videos/${{pair%%:*}}/; done"
)
#: Command of the page -> what runs in its place (empty for nothing), and why.
REPLACED: Mapping[str, tuple[str, str]] = {
    r"python3 -m venv .*": ("", "this environment is used"),
    r"\. ~/wanlora/bin/activate": ("", "this environment is used"),
    r"pip install pytest-wanlora": ("", "it is installed"),
    r"cp /path/to/your/\S+ my-lora\.safetensors": (
        "cp {hollow}/loras/epoch-1.safetensors my-lora.safetensors",
        "random",
    ),
    r"python -m pytest_wanlora init .*": ("{command}{small}", "the embedded model's shapes"),
    r"hf download Wan-AI/Wan2\.2-TI2V-5B .*": (_LINKS, "random weights, all parts"),
    r"hf download DiffSynth-Studio/.*": ("", "random weights, linked above"),
    r"hf download Wan-AI/Wan2\.1-T2V-1\.3B .*": ("", "linked above"),
    r"hf download timm/.*": (_SCORERS, "random scorers have other digests"),
    r"hf download flateon/.*": ("", "random weights, linked above"),
    r"python -m pytest_wanlora reference .*": ("{videos} && {command}", "videos of the embedded model"),
    r"xdg-open (.*)": ("ls -l {first}", "no browser"),
    r"pytest --lora next-lora\.safetensors .*": (
        "cp {hollow}/loras/epoch-0.safetensors next-lora.safetensors && {command}",
        "a random LoRA",
    ),
    r"hf upload .*": ("ls -R release", "no upload"),
}


@dataclass(frozen=True)
class Step:
    """A command of the page.

    Attributes:
        section: Its heading.
        command: As it stands there, continued lines joined.
    """

    section: str
    command: str


def shell_blocks(page: str) -> Iterator[tuple[str, str]]:
    """Headings with the code blocks without a language below them, which hold what a person types."""
    section = ""
    parts = re.compile(r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for heading, language, block in parts.findall(page):
        section = heading or section
        if block and not language:
            yield section, block


def steps(page: str) -> Iterator[Step]:
    """Read the commands of a page."""
    for section, block in shell_blocks(page):
        for line in re.sub(r" \\\n\s*", " ", block).splitlines():
            yield Step(section, line.strip())


def replacement(command: str) -> tuple[str, str, re.Match[str]] | None:
    """What runs in the place of a command, why, and the match; None for the command itself."""
    for pattern, (other, why) in REPLACED.items():
        if found := re.fullmatch(pattern, command):
            return other, why, found
    return None


@dataclass
class Walk:
    """Runs commands one after another, as in one shell.

    Attributes:
        out: Where everything happens.
        names: What stands in braces in replacements.
        log: Where commands, outputs and seconds go.
        failed: Commands that ended badly.
    """

    out: Path
    names: Mapping[str, str]
    log: TextIO
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = self.out

    def follow(self, step: Step) -> None:
        """Run one command, or what replaces it."""
        command = step.command
        if (found := replacement(command)) is not None:
            other, why, match = found
            first = match.group(1) if match.groups() else ""
            command = other.format(**self.names, command=command, first=first).strip()
            if command != step.command:
                self._say(f"# REPLACED ({why}): {step.command}")
        if command:
            self._run(command, verdict=_VERDICTS.match(step.command) is not None)

    def _run(self, command: str, *, verdict: bool) -> None:
        self._say(f"$ {command}")
        where = self.out / ".folder"
        line = f"cd {shlex.quote(str(self._folder))} && {{ {command}\n}}; code=$?; pwd > {where}; exit $code"
        began = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - the page's own commands
            ["bash", "-c", line],  # noqa: S607 - whichever bash there is
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=self._environment(),
        )
        self._folder = Path(where.read_text(encoding="utf-8").strip())
        self._say(done.stdout.rstrip())
        self._say(f"# exit code {done.returncode}, {time.perf_counter() - began:.1f} s\n")
        if done.returncode not in ((0, 1) if verdict else (0,)):
            self.failed.append(command)

    def _environment(self) -> dict[str, str]:
        person = {"NAME": "walkthrough", "EMAIL": "walkthrough@example.org"}
        return {
            **os.environ,
            **{
                f"GIT_{role}_{key}": value
                for role in ("AUTHOR", "COMMITTER")
                for key, value in person.items()
            },
            "HOME": str(self.out),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DIFFSYNTH_SKIP_DOWNLOAD": "true",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "160",
        }

    def _say(self, text: str) -> None:
        for stream in (self.log, sys.stdout):
            stream.write(f"{text}\n")
            stream.flush()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.walkthrough", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--hollow", type=Path, metavar="FOLDER", help="a hollow model; default: one is written"
    )
    parser.add_argument("--smoke", action="store_true", help="the embedded model's shapes, for a CPU")
    arguments = parser.parse_args()
    out: Path = arguments.out.absolute()
    out.mkdir(parents=True)
    hollow = (arguments.hollow or out / "hollow").absolute()
    if not hollow.exists():
        writer = [sys.executable, "-m", "tools.hollow_wan", "--out", str(hollow)]
        size = ["--smoke"] if arguments.smoke else []
        subprocess.run([*writer, *size], check=True, cwd=ROOT)  # noqa: S603 - a module of this repository
    suite, package = "suites/my-lora.yaml", str(ROOT / "pytest_wanlora")
    names = {"hollow": str(hollow), "suite": suite, "package": package}
    names |= {"videos": _VIDEOS.format(**names), "small": _SMALL.format(**names) if arguments.smoke else ""}
    with (out / "walkthrough.log").open("w", encoding="utf-8") as log:
        walk = Walk(out, names, log)
        for step in steps(PAGE.read_text(encoding="utf-8")):
            walk.follow(step)
    print(f"{len(walk.failed)} commands failed", *walk.failed, sep="\n  ")
    return 1 if walk.failed else 0


if __name__ == "__main__":
    sys.exit(main())
