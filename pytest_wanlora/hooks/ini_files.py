"""Which settings a run uses: never those of a folder that only holds a checkpoint.

Before pytest knows our options it takes every word that names a file or a folder for the path of a test, and
looks for its ini file from there. So `--lora /data/training/epoch-2.safetensors` makes it read the settings
of `/data/training` and not those of the user's folder. In one word, `--lora=...`, that does not happen.

The settings of a run cannot be changed once pytest has read them. So when it took a value of ours for a test
path, it is started a second time in the same process, with the same arguments in one word, and finds
everything itself.

Some things end the run before any plugin is loaded, and then only the one-word form helps: `minversion`, a
settings file that cannot be parsed, and `addopts` with `-p` of a missing plugin, with `-p no:wanlora` or with
`--disable-plugin-autoload`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from pytest_wanlora import options
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.settings import Settings, configured, refuse_stray_checkpoints

#: In the order in which pytest looks for them in a folder, with what makes them pytest's.
_SECTIONS: Final = {
    "pytest.toml": "",
    ".pytest.toml": "",
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
_OURS: Final = "wanlora"
_ENVIRONMENT: Final = "PYTEST_ADDOPTS"
_LIFTED: Final = pytest.StashKey[bool]()


def lift_requirements(config: pytest.Config) -> None:
    """Keep `required_plugins` of a checkpoint's folder from ending the run before it can start again.

    pytest checks them as soon as the plugins are loaded, before the hook that starts the run again. The
    second start checks those of the settings that it finds.

    Args:
        config: Of a command line with an option of ours and its value in two words.
    """
    here = config.invocation_params.dir
    # a plugin object that was given to `pytest.main` is registered before there are settings
    known = getattr(config, "known_args_namespace", None)
    if known is None or known.inifilename or config.inipath is None or config.inipath.parent == here:
        return
    required: list[str] = config.getini("required_plugins")
    if required and _misread(_words(config.invocation_params.args), here):
        required.clear()
        config.stash[_LIFTED] = True


def corrected_arguments(config: pytest.Config, parser: pytest.Parser) -> list[str] | None:
    """Find out whether pytest took a value of ours for a test path and has other settings for it.

    Args:
        config: pytest's, with the settings that it found.
        parser: Knows the options of every plugin.

    Returns:
        The arguments to start again with; None where the settings are the right ones.

    Raises:
        SettingsError: The value comes from `PYTEST_ADDOPTS`, which a second start would read again; or the
            shell expanded a glob of checkpoints.
    """
    here = config.invocation_params.dir
    typed, preset = _words(config.invocation_params.args), _words(shlex.split(_preset()))
    # only the word directly after the value: another may be the value of an option that a conftest.py adds
    refuse_stray_checkpoints([word for at in _lora(typed) for word in typed[at + 2 : at + 3]], typed)
    joined = options.in_one_word(typed)
    if config.stash.get(_LIFTED, False):
        return joined
    if not _misread([*preset, *typed], here):
        return None
    known, others = parser.parse_known_and_unknown_args([*preset, *typed])
    if known.inifilename:
        return None
    tests = [*known.file_or_dir, *(word for word in others if not word.startswith("-"))]
    used = config.inipath if config.inipath is not None and _is_pytests(config.inipath) else None
    own, root = _expected(here, list(_folders(tests, here)))
    if used == own and (known.rootdir or config.rootpath == root):
        return None
    if joined != typed:
        return joined
    if used == own or (used is None and (own is None or _OURS not in _text(own))):
        # only the root folder differs, or settings that do not concern the gate
        return None
    raise _refused(used, own, preset, typed)


def _refused(used: Path | None, own: Path | None, preset: list[str], typed: list[str]) -> SettingsError:
    what = f"{used}: pytest reads these settings" if used else f"{own}: pytest does not read these settings"
    instead = shlex.quote(shlex.join(options.in_one_word(preset)))
    return SettingsError(
        f"{what}, because it takes a path in {_ENVIRONMENT}={shlex.quote(_preset())} for the path of a test; "
        "allowed: an option and its path in one word, with = between them",
        next_command=f"{_ENVIRONMENT}={instead} {shlex.join(['pytest', *typed])}",
    )


class SecondStart:
    """Ends a first start with the exit code of the run that took its place.

    Args:
        exit_code: Of that run.
    """

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self) -> int:
        """Return the exit code; no session is begun."""
        return self.exit_code


def run_again(config: pytest.Config, arguments: list[str]) -> int:
    """Run pytest from its start with other arguments, in this process.

    Args:
        config: Of the run that has the wrong settings; what it put on the module path is taken off meanwhile.
        arguments: Instead of those that were typed.

    Returns:
        The exit code.
    """
    foreign = [str(path) for path in config.getini("pythonpath") if str(path) in sys.path]
    for path in foreign:
        sys.path.remove(path)
    # with --assert=plain in those settings the plugins were imported as they are, and stay imported
    plain = config.known_args_namespace.assertmode == "plain"
    before = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"] if plain else []
    try:
        return int(pytest.main([*before, *arguments], plugins=config.invocation_params.plugins))
    finally:
        sys.path[:0] = foreign


class _Reader:
    """Takes the settings that pytest has found, and ends it before its session."""

    settings: Settings | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        """Read the settings; the exit code is not the one of a gate that passed."""
        if hasattr(config.option, "lora"):
            self.settings = configured(config)
        return pytest.ExitCode.TESTS_FAILED


def of_project(words: Sequence[str] = ()) -> Settings:
    """The settings that `pytest` has in the current folder, as pytest itself finds them.

    Args:
        words: Of its command line.

    Raises:
        SettingsError: One of them is wrong, or pytest cannot start; why, it has printed.
    """
    reader = _Reader()
    # the package is imported already, which pytest warns of
    ignored = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    pytest.main(["-W", ignored, *words], plugins=[reader])
    if reader.settings is None:
        raise SettingsError(
            "pytest has no settings of this plugin here: it says why above, or the plugin is switched off; "
            "allowed: a folder in which pytest can start",
            next_command="pytest --trace-config --collect-only",
        )
    return reader.settings


def _preset() -> str:
    return os.environ.get(_ENVIRONMENT, "")


def _words(arguments: Iterable[str]) -> list[str]:
    """The arguments with those of files, `@FILE`, in their place, a line each."""
    found = []
    for word in map(str, arguments):
        try:
            lines = Path(word[1:]).read_text(encoding="utf-8").splitlines() if word[:1] == "@" else None
        except (OSError, UnicodeDecodeError):
            lines = None  # pytest has said so already
        found += [word] if lines is None else _words(lines)
    return found


def _lora(words: Sequence[str]) -> list[int]:
    return [at for at in options.in_two_words(words) if words[at] == "--lora"]


def _misread(words: Sequence[str], here: Path) -> bool:
    """Whether pytest takes a value of ours for the path of a test."""
    return any(True for _ in _folders((words[at + 1] for at in options.in_two_words(words)), here))


def _folders(words: Iterable[str], here: Path) -> Iterator[Path]:
    """The folders of those words that name something on the disk, as pytest looks for test paths."""
    for word in words:
        path = Path(os.path.abspath(here / word.partition("::")[0]))  # noqa: PTH100 - links stay, as in pytest
        try:
            if path.exists():
                yield path if path.is_dir() else path.parent
        except OSError:
            continue  # too long for a name


def _expected(here: Path, tests: Sequence[Path]) -> tuple[Path | None, Path]:
    """The settings and the root folder that pytest finds for test paths alone.

    Args:
        here: Where the user stands.
        tests: Folders of the test paths.
    """
    start = _common(tests, here) if tests else here
    for folder in (start, *tests):
        own = _own(folder)
        if own is not None:
            return own, own.parent
    for name in ("pyproject.toml", "setup.py"):
        for folder in (start, *start.parents):
            if (folder / name).is_file():
                return None, folder
    common = _common([here, start], start)
    return None, start if common == common.parent else common


def _common(folders: Sequence[Path], otherwise: Path) -> Path:
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:
        return otherwise  # on different drives


def _own(start: Path) -> Path | None:
    """The file that pytest reads for tests in a folder."""
    folders = (start, *start.parents)
    return next(
        (path for folder in folders for name in _SECTIONS if _is_pytests(path := folder / name)), None
    )


def _is_pytests(path: Path) -> bool:
    return path.is_file() and _SECTIONS.get(path.name, "") in _text(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
