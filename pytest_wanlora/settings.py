"""The settings of a session: options and ini values, read once into one frozen record.

Precedence: command line > ini > suite > default. Only `--lora` and `--update-baselines` switch the gate on;
without them `read` returns None and nothing heavier than this module is imported.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pytest_wanlora import option_values, options
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.option_values import Budget
from pytest_wanlora.options import Given
from pytest_wanlora.phrases import digits

if TYPE_CHECKING:
    import pytest

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.suite import Scenario, Suite

BASE: Final = "base"
"""Baseline of the model without LoRA."""
ACCEPTED: Final = "accepted"
"""Baseline of the accepted checkpoint, unless another name is given."""
_T = TypeVar("_T")
_D = TypeVar("_D")


@dataclass(frozen=True)
class Device:
    """The device that a run renders on, before anybody looked whether it is there.

    Attributes:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.
        source: Who named it: `--wanlora-device`, `wanlora_device in pytest.ini` or `the suite`; empty where
            nobody did.
    """

    name: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that the user asked for, resolved and checked.

    Attributes:
        lora: Arguments of `--lora` in their order: absolute files, folders or globs, or `high=` and `low=`
            before such, separated by a comma.
        update_baselines: Store baselines instead of comparing.
        plan: Print what the run needs and render nothing.
        force: Store a baseline that is smaller than what it replaces, or refused by the gate.
        suite: Packaged name or absolute path; None to choose by the checkpoint's shapes.
        baseline: Name below the suite's baselines, or an absolute folder.
        baselines_dir: Absolute.
        update_target: Name under which `--update-baselines` stores: `base` without a LoRA, else `accepted` or
            the name given as `--wanlora-baseline` on the command line. None when nothing is stored.
        scales: Strengths at which each checkpoint is a candidate, none of them 0.
        seeds: Videos a scenario at the first and the last look; None for the suite's.
        scenarios: Ids to render; empty for all.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; None for the suite's. A run uses `device_for(suite)`.
        cache_dir: Absolute.
        output_dir: Absolute.
        cache: Whether jobs of earlier runs are reused.
        previews: Whether mp4 files are written.
        allow_environment: Whether another GPU or other versions than the baseline's are accepted.
        training_data: The training's captions, a file or folder, absolute; None where it is not looked at.
        model_cards: Whether a checkpoint that may not be published gets a model card too.
        exports: Names of the experiment trackers that the run is written to.
        sign_key: Private SSH key that signs the receipt, absolute; None to leave it unsigned.
        race: Whether the candidates race, and the winner alone is gated in full.
        budget: What the race may cost; None for no limit.
        ray: Where the Ray cluster is that renders; None to render on this machine.
        ray_wait: Seconds to wait for one of its workers.
        ray_limit: Seconds that one of them may take for a batch.
        sources: Where the values come from that a message may have to name, by option: `--wanlora-seeds`,
            `wanlora_seeds in pytest.ini`.
        typed: The arguments of the command line, for the next command of a message.
    """

    lora: tuple[str, ...]
    update_baselines: bool
    plan: bool
    suite: str | None
    baseline: str
    baselines_dir: Path
    update_target: str | None
    scales: tuple[float, ...]
    seeds: tuple[int, int] | None
    scenarios: tuple[str, ...]
    device: str | None
    cache_dir: Path
    output_dir: Path
    cache: bool
    previews: bool
    allow_environment: bool
    training_data: Path | None
    model_cards: bool
    sign_key: Path | None
    exports: tuple[str, ...] = ()
    race: bool = False
    budget: Budget | None = None
    ray: str | None = None
    ray_wait: float = 600.0
    ray_limit: float = 3600.0
    force: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    typed: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def scale(self) -> float:
        """The first of the strengths: the only one of a run that stores a baseline."""
        return self.scales[0]

    def device_for(self, suite: Suite) -> Device:
        """The device of a run on a suite: what the user named, else what the suite does, else `auto`."""
        if self.device is not None:
            return Device(self.device, self.sources.get("wanlora-device", "--wanlora-device"))
        return Device(suite.device, "" if suite.device == "auto" else "the suite")

    def again(self, *changed: str, without: Collection[str] = ()) -> str:
        """The command line with some options of ours in the place of those that were typed.

        Args:
            changed: Each in one word, `--wanlora-seeds=2`.
            without: Options that are left out.
        """
        return options.again(self.typed, *changed, without=without)

    @property
    def partial(self) -> bool:
        """Whether scenarios are left out: such a run is recorded as partial and publishes nothing."""
        return bool(self.scenarios)

    def selected(self, suite: Suite) -> tuple[Scenario, ...]:
        """Return the scenarios to render, in the suite's order.

        Raises:
            SettingsError: An id that the suite does not have.
        """
        known = [scenario.id for scenario in suite.scenarios]
        for identifier in self.scenarios:
            if identifier not in known:
                near = difflib.get_close_matches(identifier, known, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise SettingsError(
                    f"--wanlora-scenario (ini: wanlora_scenario): {identifier!r} is no scenario of suite "
                    f"{suite.name}; {hint}allowed: {', '.join(known)}",
                    next_command=self.again(f"--wanlora-scenario={(near or known)[0]}"),
                )
        return tuple(
            scenario for scenario in suite.scenarios if not self.scenarios or scenario.id in self.scenarios
        )


def read(config: pytest.Config) -> Settings | None:
    """Read the settings of a session, on the controller or in an xdist worker.

    Args:
        config: pytest's configuration; its options travel to workers, its ini file is read by each.

    Returns:
        None when the gate is off.

    Raises:
        SettingsError: A value that is not allowed, or options that contradict each other; names the option or
            ini key, the value and what is allowed.
    """
    if not config.option.lora and not config.option.update_baselines:
        # pytest reads no option behind --help
        if not config.option.help:
            _refuse_idle_options(config)
        return None
    refuse_stray_checkpoints(config.args, tuple(map(str, config.invocation_params.args)))
    return configured(config)


def configured(config: pytest.Config) -> Settings:
    """The settings of a session, whether or not its gate is on.

    Raises:
        SettingsError: As `read` does.
    """
    lora: list[str] = config.option.lora or []
    update: bool = config.option.update_baselines
    _refuse_unknown_keys(config)
    given = {option.name: options.find(config, option) for option in options.OPTIONS}

    def value(name: str, parse: Callable[[Given], _T], default: _D) -> _T | _D:
        found = given[name]
        return default if found is None else parse(found)

    here, home = config.invocation_params.dir, _home(config)
    typed = tuple(map(str, config.invocation_params.args))
    baseline = value("wanlora-baseline", option_values.parse_baseline, BASE)
    named = given["wanlora-baseline"]
    settings = Settings(
        lora=tuple(
            option_values.parse_lora(Given(text, "--lora", here, on_command_line=True)) for text in lora
        ),
        update_baselines=update,
        plan=config.option.wanlora_plan,
        force=config.option.wanlora_force,
        suite=value("wanlora-suite", option_values.parse_suite, None),
        baseline=baseline,
        baselines_dir=Path(value("wanlora-baselines-dir", option_values.parse_path, home / "baselines")),
        update_target=_update_target(lora, baseline if named and named.on_command_line else None, typed)
        if update
        else None,
        scales=value("wanlora-scale", option_values.parse_scales, (1.0,)),
        seeds=value("wanlora-seeds", option_values.parse_seeds, None),
        scenarios=value("wanlora-scenario", option_values.parse_scenarios, ()),
        device=value("wanlora-device", option_values.parse_device, None),
        cache_dir=Path(value("wanlora-cache-dir", option_values.parse_path, home / ".wanlora" / "cache")),
        output_dir=Path(value("wanlora-output-dir", option_values.parse_path, home / ".wanlora" / "runs")),
        cache=value("wanlora-cache", option_values.parse_flag, True),
        previews=value("wanlora-previews", option_values.parse_flag, True),
        allow_environment=value("wanlora-allow-environment", option_values.parse_flag, False),
        training_data=value("wanlora-training-data", option_values.parse_data, None),
        model_cards=value("wanlora-model-cards", option_values.parse_flag, False),
        sign_key=value("wanlora-sign-key", option_values.parse_file, None),
        exports=value("wanlora-export", option_values.parse_exports, ()),
        race=value("wanlora-race", option_values.parse_flag, False),
        budget=value("wanlora-budget", option_values.parse_budget, None),
        ray=value("wanlora-ray", option_values.parse_address, None),
        ray_wait=value("wanlora-ray-wait", option_values.parse_seconds, 600.0),
        ray_limit=value("wanlora-ray-limit", option_values.parse_seconds, 3600.0),
        sources={name: found.source for name, found in given.items() if found is not None},
        typed=typed,
    )
    _refuse_contradictions(settings)
    return settings


def _home(config: pytest.Config) -> Path:
    """The folder that `baselines` and `.wanlora` lie in: pytest's rootdir, if that was asked for.

    Where `--lora` and its value are two words in PYTEST_ADDOPTS, pytest takes the checkpoint for a test path
    (`hooks.ini_files`). A rootdir that it found in that way is not used: the user's current folder is.
    """
    here, root = config.invocation_params.dir, config.rootpath
    meant = config.inipath is not None and here.is_relative_to(root)
    return root if meant or config.option.rootdir else here


def load_suite(
    settings: Settings, checkpoints: Sequence[Checkpoint], *, chosen_before: Path | None = None
) -> Suite:
    """Load the suite that the user named, or else the packaged one that the checkpoints fit.

    Args:
        settings: What the user asked for.
        checkpoints: What is gated.
        chosen_before: The file of the suite that another process of the run has chosen.

    Raises:
        SuiteError: The suite is wrong, or no packaged one fits.
        SettingsError: No suite is named and there is no checkpoint to choose by, or a scenario is unknown.
    """
    # pydantic and yaml are loaded only once the gate is on
    from pytest_wanlora import suite as suites

    where, seeds = settings.baselines_dir, settings.seeds
    named = chosen_before or settings.suite
    if named is not None:
        chosen = suites.load(named, baselines=where, seeds=seeds)
    elif checkpoints:
        chosen = suites.find_for(*checkpoints, baselines=where, seeds=seeds)
    else:
        raise SettingsError(
            "--update-baselines without --lora measures the model of a suite, and none is named; "
            f"allowed: --wanlora-suite with {', '.join(suites.packaged())} or a .yaml file",
            next_command=settings.again(f"--wanlora-suite={next(iter(suites.packaged()))}"),
        )
    _refuse_too_few_videos(settings, chosen)
    return chosen


def _refuse_too_few_videos(settings: Settings, suite: Suite) -> None:
    """A distance between sets needs two videos: refuse fewer now, not after they have been rendered."""
    from pytest_wanlora import suite as suites

    scenarios = settings.selected(suite)
    count = suite.seeds.most if settings.update_baselines else suite.seeds.first
    found = suites.gated_set(suite, count, [scenario.id for scenario in scenarios])
    if found is None:
        return
    metric, key = found
    why = f"suite {suite.name} gates {metric} ({key}), a distance of 2 or more videos"
    most = max(2, suite.seeds.most)
    if settings.seeds is None:
        # for all of its scenarios together the suite's own number is enough, or loading would have refused it
        raise SettingsError(
            f"--wanlora-scenario (ini: wanlora_scenario): {settings.scenarios[0]!r} alone is one video, "
            f"and {why}; allowed: another scenario with it, or 2 videos a scenario or more",
            next_command=settings.again(f"--wanlora-seeds=2:{most}"),
        )
    source = settings.sources.get("wanlora-seeds", "--wanlora-seeds")
    given = "1" if settings.seeds == (1, 1) else f"1:{settings.seeds[1]}"
    raise SettingsError(
        f"{source}: {given!r} is one video a scenario, and {why}; "
        f"allowed: 2 or more; or a suite with '{metric}: off' under tolerances and no limit on it",
        next_command=settings.again("--wanlora-seeds=2" if given == "1" else f"--wanlora-seeds=2:{most}"),
    )


def _update_target(with_lora: Sequence[str], named: str | None, typed: Sequence[str]) -> str:
    target = named or (ACCEPTED if with_lora else BASE)
    if not options.NAME.fullmatch(target):
        problem = "a folder's path"
    elif with_lora and target == BASE:
        problem = "the model without LoRA"
    elif not with_lora and target != BASE:
        problem = "for checkpoints, and no --lora is given"
    else:
        return target
    allowed = "accepted or another name" if with_lora else BASE
    raise SettingsError(
        f"--wanlora-baseline: {target!r} is {problem}; allowed with --update-baselines: {allowed}",
        next_command=options.again(typed, without=["--wanlora-baseline"]),
    )


def _refuse_unknown_keys(config: pytest.Config) -> None:
    """Refuse a mistyped key of ours, of which pytest only warns: the run would use a default instead."""
    known = [option.ini for option in options.OPTIONS]
    overridden = [text.partition("=")[0] for text in config.option.override_ini or []]
    text = "" if config.inipath is None else config.inipath.read_text(encoding="utf-8", errors="replace")
    # pytest tells no plugin which keys its file has
    written = re.findall(r"^[ \t]*[\"']?(wanlora_\w+)[\"']?[ \t]*[=:]", text, re.MULTILINE)
    for key in dict.fromkeys([*written, *overridden]):
        if key.startswith("wanlora_") and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            where = "-o" if key in overridden else str(config.inipath)
            raise SettingsError(
                f"{where}: {key}: no such key; {hint}allowed: {', '.join(known)}",
                next_command="pytest --help" if where == "-o" else f"grep -n {key} {shlex.quote(where)}",
            )


def _refuse_idle_options(config: pytest.Config) -> None:
    """Refuse options that were typed but would do nothing: the run must not look like a gate that passed."""
    typed = tuple(map(str, config.invocation_params.args))
    names = [word.partition("=")[0] for word in options.in_one_word(typed) if word.startswith("--wanlora-")]
    if not names:
        return
    gates = dict.fromkeys(("--wanlora-race", "--wanlora-scenario"), "--lora")
    gates |= {"--wanlora-budget": "--lora and --wanlora-race", "--wanlora-force": "--update-baselines"}
    more = ["--lora=FILE"]
    more += ["--update-baselines"] if "--wanlora-force" in names else []
    more += ["--wanlora-race"] if "--wanlora-budget" in names else []
    raise SettingsError(
        f"{names[0]}: does nothing without a gate; "
        f"allowed: together with {gates.get(names[0], '--lora or --update-baselines')}",
        next_command=options.again(typed, *more),
    )


def refuse_stray_checkpoints(tests: Sequence[str], typed: Sequence[str]) -> None:
    """A shell that expands `--lora *.safetensors` hands all files but the first to pytest as test files."""
    stray = [path for path in tests if path.lower().endswith(".safetensors") and not path.startswith("-")]
    if stray:
        raise SettingsError(
            f"{stray[0]}: a checkpoint where pytest takes tests; allowed: checkpoints after --lora alone",
            next_command=options.again(
                [word for word in typed if word not in stray],
                f"--lora={Path(stray[0]).with_name('*.safetensors')}",
            ),
        )


def _refuse_contradictions(settings: Settings) -> None:
    source = settings.sources.get("wanlora-budget", "")
    # a limit in an ini file waits for a race
    if settings.budget is not None and not settings.race and source.startswith("--"):
        raise SettingsError(
            f"{source}: {settings.budget.text!r} is what a race may cost, and there is none; "
            "allowed: together with --wanlora-race",
            next_command=settings.again(without=[source])
            if settings.update_baselines
            else settings.again("--wanlora-race", without=["--wanlora-no-race"]),
        )
    if settings.race and settings.update_baselines:
        source = settings.sources["wanlora-race"]
        # one in an ini file is there still
        off = () if source.startswith("--") else ("--wanlora-no-race",)
        raise SettingsError(
            f"--update-baselines: nothing races ({source}); allowed: one of the two",
            next_command=settings.again(*off, without=["--wanlora-race", "--wanlora-budget"]),
        )
    if not settings.update_baselines:
        if settings.force:
            raise SettingsError(
                "--wanlora-force: does nothing without --update-baselines; allowed: together with it",
                next_command=settings.again(without=["--wanlora-force"]),
            )
        return
    if settings.partial:
        raise SettingsError(
            f"--update-baselines: scenarios {', '.join(settings.scenarios)} alone make no baseline; "
            "allowed: all scenarios of the suite",
            next_command=settings.again(without=["--wanlora-scenario"])
            if settings.sources["wanlora-scenario"].startswith("--")
            else "pytest --help",
        )
    if len(settings.lora) > 1:
        raise SettingsError(
            f"--update-baselines: {len(settings.lora)} checkpoints; allowed: one, the one to accept",
            next_command=settings.again("--lora=FILE"),
        )
    if len(settings.scales) > 1:
        shown = ",".join(map(digits, settings.scales))
        raise SettingsError(
            f"--update-baselines: strengths {shown} ({settings.sources['wanlora-scale']}); "
            "allowed: one, the one to accept",
            next_command=settings.again(f"--wanlora-scale={digits(settings.scale)}"),
        )
