"""What can be known before anything is loaded: files, scorers, reference set, baseline, disk and GPU memory.

All that is missing is found at once, each with the command that helps. A gate reports it before it loads a
model, `--wanlora-plan` prints it with the plan, and `doctor` prints it for a suite.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora import baseline as baselines
from pytest_wanlora import suite as suites
from pytest_wanlora.environment import installed
from pytest_wanlora.errors import BaselineError, IncomparableError, SuiteError, WanloraError
from pytest_wanlora.files import dangling, from_here, listing
from pytest_wanlora.registry import GROUPS, ExtensionFile, extensions
from pytest_wanlora.run import machine, stack
from pytest_wanlora.run.findings import COMPARISONS, SETS, STORING, Finding, Preflight
from pytest_wanlora.run.inputs import ModelFiles, prompts
from pytest_wanlora.run.pictures import complaint
from pytest_wanlora.scoring import captions, frechet
from pytest_wanlora.suite import hub
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.verdict.judgement import Verdict

if TYPE_CHECKING:
    from pytest_wanlora.baseline import Baseline
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Scenario, Suite


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run needs, beyond its suite.

    Attributes:
        baselines_dir: Where baselines are stored.
        baseline: Name below it, or an absolute folder; None where none is compared with.
        scenarios: Those that are rendered.
        allow_environment: Whether a baseline of another GPU is accepted.
        previews: Whether mp4 files are written.
        device_number: Of the GPU, among the visible ones.
        cpu_named: Whether the suite or the user named the CPU, which is else what is there without a GPU.
        typed: Options that were typed and change what a baseline measures, such as `--wanlora-seeds=4:64`.
        cache_dir: Where results are kept.
        videos: How many are rendered at most.
        with_baseline: What was typed, with another baseline's name.
        model_files: Whether the model and the scorers will be loaded; a producer of the user may do without.
        answers: Of the hub, for several suites: see `hub.sizes`.
        loras: What is gated; one that the suite itself lays on the model is warned of.
    """

    baselines_dir: Path
    baseline: str | None
    scenarios: tuple[Scenario, ...]
    allow_environment: bool = False
    previews: bool = True
    device_number: int = 0
    cpu_named: bool = False
    typed: tuple[str, ...] = ()
    with_baseline: Callable[[str], str] = "--wanlora-baseline {}".format
    cache_dir: Path = Path(".wanlora/cache")
    videos: int = 0
    model_files: bool = True
    answers: dict[str, hub.Listing] | None = None
    loras: tuple[Checkpoint, ...] = ()


def examine(suite: Suite, environment: Environment, request: Request) -> Preflight:
    """Find everything that is missing for a run; nothing is loaded, downloaded or stored as a result.

    Args:
        suite: What is gated on.
        environment: On what it will be rendered.
        request: What the run needs.
    """
    files = ModelFiles(suite, whole=request.model_files, answers=request.answers)
    findings = [
        Finding(problem.key, problem.message, problem.next_command)
        for problem in files.problems
        if problem.key != _REFERENCE
    ]
    findings += _extension_files()
    stacked: dict[str, Checkpoint] = {}
    if request.model_files:
        findings += stack.unfit(suite, files, stacked)
        findings += stack.one_expert(suite, files, stacked)
        findings += _captions(suite, files, request.scenarios)
        findings += _frame(suite, files)
        findings += _ffmpeg() if request.previews else []
        findings += _attention(suite, environment)
        findings += machine.gpu_memory_of(
            suite, files, environment, number=request.device_number, cpu_named=request.cpu_named
        )
    free = machine.free_bytes(request.cache_dir)
    findings += machine.disk(suite, files.downloads, request.cache_dir, request.videos, free)
    unread = list(_reference(suite, files, request))
    findings += unread
    if request.baseline is not None:
        # a file that is missing or damaged has another digest than the baseline's; that is not a second cause
        whole = not files.problems and not unread
        findings += _baseline(suite, environment, request, request.baseline, whole=whole)
        findings += _subject(suite, request)
    needs = tuple(machine.needs(suite, files)) if request.model_files else ()
    warnings = tuple(dict.fromkeys(stack.warnings(suite, stacked, request.loras)))
    return Preflight(tuple(findings), files.downloads, free, needs, warnings)


_REFERENCE: Final = "scoring.reference"


def _subject(suite: Suite, request: Request) -> Iterator[Finding]:
    """What is wrong with the pictures of a suite's subject."""
    if suite.subject is None:
        return
    try:
        error: WanloraError | None = complaint(suite, request.cache_dir)
    except WanloraError as found:
        error = found
    if error is not None:
        yield _of_error("subject", error)


def _extension_files() -> Iterator[Finding]:
    """What is wrong with the files that extensions name."""
    for extension in chain.from_iterable(extensions(group, object) for group in GROUPS):
        for file in extension.files():
            if complaint := _wrong_file(file):
                error = extension.wrong(f"{file.path} {complaint}")
                yield _of_error(f"{extension.group}.{extension.name}", error)


def _wrong_file(file: ExtensionFile) -> str:
    try:
        size = file.path.stat().st_size
        if size != file.size:
            return f"has {size} bytes; allowed: {file.size}"
        found = digest(file.path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if found == file.sha256 else f"has SHA-256 {found}; allowed: {file.sha256}"


def _captions(suite: Suite, files: ModelFiles, scenarios: Iterable[Scenario]) -> Iterator[Finding]:
    config = files.found.get("scoring.clip.model")
    if config is None and suite.scoring.clip.model_is_file:
        return  # its file is missing, which is a finding of its own
    texts = {scenario.id: scenario.clip_caption for scenario in scenarios}
    numbers = {scenario.id: number for number, scenario in enumerate(suite.scenarios)}
    try:
        for name, problem in captions.too_long(
            texts, suite.scoring.clip.model, config[0] if config else None
        ):
            key = f"scenarios[{numbers[name]}]"
            key += ".caption" if suite.scenarios[numbers[name]].caption else ".prompt"
            yield Finding(
                key,
                f"{suite.where(key)}: {key}: the caption of {name} {problem}: {texts[name][:60]!r}; "
                "allowed: a short `caption` of the scenario",
                suite.show(key),
            )
    except WanloraError as error:
        yield _of_error("scoring.clip.model", error)


def _frame(suite: Suite, files: ModelFiles) -> Iterator[Finding]:
    """A CLIP that reads no squares cannot see a whole frame as their mean."""
    clip, config = suite.scoring.clip, files.found.get("scoring.clip.model")
    if clip.frame == "middle" or (config is None and clip.model_is_file):
        return
    # what is wrong with the configuration itself is a finding of the captions
    with suppress(WanloraError):
        described = captions.described(clip.model, config[0] if config else None)
        size = described.get("vision_cfg", {}).get("image_size", 0)
        if isinstance(size, list) and len(set(size)) > 1:
            key = "scoring.clip.frame"
            yield Finding(
                key,
                f"{suite.where(key)}: {key}: 'whole': {clip.model} reads {' x '.join(map(str, size))} "
                "pixels, no squares; allowed: 'middle'",
                suite.show(key),
            )


def _ffmpeg() -> Iterator[Finding]:
    from pytest_wanlora.studio.previews import require_ffmpeg

    try:
        require_ffmpeg()
    except WanloraError as error:
        yield _of_error("ffmpeg", error)


def _attention(suite: Suite, environment: Environment) -> Iterator[Finding]:
    wanted, what = suite.sampling.attention, "sampling.attention"
    if wanted == "torch":
        return
    if environment.device == "cpu":
        message = f"{suite.where(what)}: {wanted} is for GPUs, and this run is on a CPU; allowed here: torch"
        yield Finding(what, message, suite.show(what))
    elif installed(wanted) is None:
        message = f"{suite.where(what)}: {wanted} is not installed"
        yield Finding(what, message, "pip install 'pytest-wanlora[flash]'")


def _reference(suite: Suite, files: ModelFiles, request: Request) -> Iterator[Finding]:
    concerns = frozenset({SETS, COMPARISONS, STORING})

    def finding(message: str) -> Finding:
        stated = Path(suite.scoring.reference)
        command = (
            f"python -m pytest_wanlora reference --suite {suites.option_value(suite)} --videos FOLDER"
            f"{folder_option(request.baselines_dir, '--baselines-dir')}"
            f"{' --overwrite' if stated.exists() else ''}"
            if frechet.replaceable(stated)
            else suite.show(_REFERENCE)
        )
        if not frechet.replaceable(stated):
            message += f"; allowed: a reference set, which {stated} is not"
        if dangling(stated) is not None:
            command = listing(stated)
        return Finding(_REFERENCE, message, command, concerns=concerns)

    for problem in files.problems:
        if problem.key == _REFERENCE:
            yield finding(problem.message)
    paths = files.found.get(_REFERENCE)
    if not paths:
        return
    network = files.digest("scoring.video_features.weights")
    try:
        reference = frechet.read_reference(
            paths[0], sha256=suite.scoring.reference_sha256, extractor_sha256=network
        )
    except WanloraError as error:
        yield finding(error.message)
        return
    categories: dict[str, list[str]] = {}
    for scenario in request.scenarios:
        categories.setdefault(scenario.category, []).append(scenario.id)
    fewest = frechet.fewest_videos(suite.tolerances)
    for why in reference.unfit(categories, frames=suite.sampling.frames, fewest=fewest):
        yield finding(f"{paths[0]}: the reference set {why}")


def _baseline(
    suite: Suite, environment: Environment, request: Request, name: str, *, whole: bool
) -> Iterator[Finding]:
    option = " ".join([suites.option_value(suite), *request.typed])

    def finding(message: str, command: str, verdict: Verdict = Verdict.MISSING_BASELINE) -> Finding:
        if "--update-baselines" in command:
            command += folder_option(request.baselines_dir, "--wanlora-baselines-dir")
        return Finding("baseline", message, command, verdict, frozenset({COMPARISONS}))

    try:
        found = baselines.load_baseline(suite, request.baselines_dir, name)
    except BaselineError as error:
        command = baselines.compared_with(name, error, request.with_baseline)
        measures = "--update-baselines" in command
        yield finding(error.message, baselines.update_command(option, name) if measures else command)
        return
    update = baselines.measure_again(found, option)
    try:
        _require_comparable(found, suite, environment, request, whole=whole)
    except IncomparableError as error:
        yield finding(error.message, update, Verdict.INCOMPARABLE)
    first = suite.seeds.first
    few = {scenario.id: baselines.stored_seeds(found, suite, scenario.id) for scenario in request.scenarios}
    short = [f"{count} of {scenario}" for scenario, count in few.items() if count < first]
    if short:
        yield finding(
            f"the baseline {found.name!r} has too few seeds from {suite.seeds.start} on: {', '.join(short)}; "
            f"a first look takes {first}",
            update,
        )


def _require_comparable(
    found: Baseline, suite: Suite, environment: Environment, request: Request, *, whole: bool
) -> None:
    """Compare all that can be compared; what a missing file hides is a finding already."""
    try:
        current: Mapping[str, object] = fingerprint(suite) if whole else found.fingerprint
    except SuiteError:
        current = found.fingerprint
    try:
        texts = prompts(suite, request.scenarios)
    except WanloraError:
        texts = {}
    baselines.require_comparable(
        found,
        fingerprint=current,
        prompts=texts,
        environment=environment,
        other_environment=request.allow_environment,
    )


def _of_error(what: str, error: WanloraError) -> Finding:
    return Finding(what, error.message, error.next_command or "python -m pytest_wanlora doctor")


def folder_option(folder: Path, option: str) -> str:
    """The option that names a folder, where it is not the usual one."""
    here = Path.cwd()
    if folder == here / "baselines":
        return ""
    shown = from_here(folder) if folder.is_relative_to(here) else str(folder)
    return f" {option} {shlex.quote(shown)}"
