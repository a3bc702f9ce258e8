from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora.errors import SettingsError, SuiteError
from pytest_wanlora.option_values import Budget
from pytest_wanlora.options import OPTIONS, Given, again, following
from pytest_wanlora.settings import Device, Settings, load_suite, read
from pytest_wanlora.suite import packaged
from tests import loras

pytest_plugins = ["pytester"]

Read = Callable[..., Settings | None]
Reads = Callable[..., Settings]

GATE = ("--lora", "x.safetensors")
# the options alone, without the rest of the plugin
PLUGIN = """
from pytest_wanlora import options

def pytest_addoption(parser):
    options.add_options(parser)
"""


@pytest.fixture
def configured(pytester: pytest.Pytester) -> Callable[..., pytest.Config]:
    pytester.syspathinsert()
    pytester.makepyfile(wanlora_options=PLUGIN)

    def configure(*args: str, ini: str = "") -> pytest.Config:
        if ini:
            pytester.makeini(f"[pytest]\n{ini}\n")
        return pytester.parseconfig("-p", "no:wanlora", "-p", "wanlora_options", *args)

    return configure


@pytest.fixture
def reads(configured: Callable[..., pytest.Config]) -> Reads:
    def read_(*args: str, ini: str = "") -> Settings:
        settings = read(configured(*GATE, *args, ini=ini))
        assert settings is not None
        return settings

    return read_


@dataclass(frozen=True)
class Row:
    """One option in every layer: what is written and what is then read."""

    name: str
    attribute: str
    default: Any
    ini: str
    from_ini: Any
    typed: tuple[str, ...]
    from_typed: Any
    from_suite: Any = None  # what a suite that speaks of it makes of it; None: suites do not


ROOT = "<root>/"  # stands for the folder of the test, where pytest is started and the ini file lies

ROWS = (
    Row("wanlora-suite", "suite", None, "tiny", "tiny", ("wan2.2-ti2v-5b",), "wan2.2-ti2v-5b"),
    Row("wanlora-baseline", "baseline", "base", "accepted", "accepted", ("v2",), "v2"),
    Row("wanlora-baselines-dir", "baselines_dir", f"{ROOT}baselines", "a", f"{ROOT}a", ("b",), f"{ROOT}b"),
    Row("wanlora-scale", "scale", 1.0, "0.5", 0.5, ("-2",), -2.0),
    Row("wanlora-seeds", "seeds", (3, 16), "2:6", (2, 6), ("3",), (3, 3), from_suite=(5, 9)),
    Row(
        "wanlora-scenario", "scenarios", (), "street 'meadow'", ("street", "meadow"), ("meadow",), ("meadow",)
    ),
    Row("wanlora-device", "device", None, "cpu", "cpu", ("cuda:1",), "cuda:1", from_suite="cuda"),
    Row("wanlora-cache-dir", "cache_dir", f"{ROOT}.wanlora/cache", "a", f"{ROOT}a", ("/b",), "/b"),
    Row("wanlora-output-dir", "output_dir", f"{ROOT}.wanlora/runs", "a/b", f"{ROOT}a/b", ("c",), f"{ROOT}c"),
    Row("wanlora-cache", "cache", True, "no", False, (), True),
    Row("wanlora-previews", "previews", True, "off", False, (), True),
    Row("wanlora-allow-environment", "allow_environment", False, "TRUE", True, (), True),
    Row("wanlora-training-data", "training_data", None, "a.csv", f"{ROOT}a.csv", ("b.csv",), f"{ROOT}b.csv"),
    Row("wanlora-race", "race", False, "yes", True, (), True),
    Row(
        "wanlora-budget",
        "budget",
        None,
        "40m",
        Budget("40m", seconds=2400.0),
        ("500", "--wanlora-race"),
        Budget("500", videos=500),
    ),
    Row("wanlora-model-cards", "model_cards", False, "yes", True, (), True),
    Row("wanlora-export", "exports", (), "wandb", ("wandb",), ("tensorboard",), ("tensorboard",)),
    Row("wanlora-sign-key", "sign_key", None, "a.csv", f"{ROOT}a.csv", ("./b.csv",), f"{ROOT}b.csv"),
    Row("wanlora-ray", "ray", None, "auto", "auto", ("ray://gpu-1:10001",), "ray://gpu-1:10001"),
    Row("wanlora-ray-wait", "ray_wait", 600.0, "30", 30.0, ("1.5",), 1.5),
    Row("wanlora-ray-limit", "ray_limit", 3600.0, "60", 60.0, ("7200",), 7200.0),
)

SUITE = """\
name: mine
model:
  name: Mine
  dit: dit.safetensors
  text_encoder: text.safetensors
  vae: vae.safetensors
  tokenizer: tokenizer
  architecture: {dim: 224, ffn_dim: 896, blocks: 6}
sampling: {height: 96, width: 160, frames: 9, steps: 20, cfg_scale: 5, shift: 5}
scoring:
  clip: {model: clip.json, weights: clip.safetensors}
  video_features: {kind: module, module: a.b:C, weights: features.safetensors}
  reference: baselines:reference.safetensors
  sharpness_reference: 100
scenarios:
  - {id: street, category: urban, prompt: a street}
  - {id: meadow, category: nature, prompt: a meadow}
"""


def test_the_table_has_every_option() -> None:
    assert [row.name for row in ROWS] == [option.name for option in OPTIONS]


SPOKEN = {"wanlora-seeds": "seeds: {first: 5, most: 9}\n", "wanlora-device": "device: cuda\n"}


def effective(settings: Settings, row: Row, root: Path) -> Any:  # noqa: ANN401 - any setting
    """The value that a run would use, with the suite's where the settings have none."""
    value = getattr(settings, row.attribute)
    if row.name in SPOKEN and settings.suite is not None:
        suite = load_suite(settings, [])
        device = settings.device_for(suite)
        value = (suite.seeds.first, suite.seeds.most) if row.name == "wanlora-seeds" else device.name
    return str(value).replace(f"{root}/", ROOT) if isinstance(value, Path) else value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("layer", ["default", "suite", "ini", "command line"])
def test_precedence(reads: Reads, pytester: pytest.Pytester, row: Row, layer: str) -> None:
    spoken = SPOKEN.get(row.name, "") if layer != "default" else ""
    pytester.makefile(".yaml", mine=SUITE + spoken)
    pytester.makefile(".csv", a="", b="")
    suite = () if row.name == "wanlora-suite" else ("--wanlora-suite", "mine.yaml")
    ini = f"{row.name.replace('-', '_')} = {row.ini}" if layer in ("ini", "command line") else ""
    typed = (f"--{row.name}", *row.typed) if layer == "command line" else ()
    expected = {
        "default": "auto" if row.name == "wanlora-device" else row.default,
        "suite": row.from_suite or row.default,
        "ini": row.from_ini,
        "command line": row.from_typed,
    }[layer]
    assert effective(reads(*suite, *typed, ini=ini), row, pytester.path) == expected


@pytest.mark.parametrize(
    ("typed", "ini", "spoken", "expected"),
    [
        ((), "", "", Device("auto")),
        ((), "", "auto", Device("auto")),
        ((), "", "cpu", Device("cpu", "the suite")),
        ((), "wanlora_device = auto", "cpu", Device("auto", "wanlora_device in tox.ini")),
        (("-o", "wanlora_device=cuda"), "", "cpu", Device("cuda", "-o wanlora_device")),
        (("--wanlora-device", "auto"), "wanlora_device = cuda", "cpu", Device("auto", "--wanlora-device")),
    ],
)
def test_who_names_the_device(
    reads: Reads, pytester: pytest.Pytester, typed: tuple[str, ...], ini: str, spoken: str, expected: Device
) -> None:
    pytester.makefile(".yaml", mine=SUITE + (f"device: {spoken}\n" if spoken else ""))
    settings = reads("--wanlora-suite", "mine.yaml", *typed, ini=ini)
    assert settings.device_for(load_suite(settings, [])) == expected
    assert settings.device == (expected.name if typed or ini else None)


@pytest.mark.parametrize(
    ("flag", "attribute"),
    [
        ("cache", "cache"),
        ("previews", "previews"),
        ("model-cards", "model_cards"),
        ("allow-environment", "allow_environment"),
    ],
)
def test_flags_have_opposites_and_the_last_one_counts(reads: Reads, flag: str, attribute: str) -> None:
    on, off = f"--wanlora-{flag}", f"--wanlora-no-{flag}"
    ini = f"wanlora_{attribute} = yes"
    assert getattr(reads(off, ini=ini), attribute) is False
    assert getattr(reads(off, on, ini=ini), attribute) is True


REJECTED = {
    "suite": ("wanlora-suite", "", "a path"),
    "baseline": (
        "wanlora-baseline",
        "my base",
        "base, accepted, a name of letters, digits, _ . -, or a folder's path with a /",
    ),
    "baselines-dir": ("wanlora-baselines-dir", " ", "a path"),
    "scale of zero": (
        "wanlora-scale", "0", "a number from -10 to 10 and not 0, which is the model without the LoRA"
    ),
    "scale too large": (
        "wanlora-scale", "11", "a number from -10 to 10 and not 0, which is the model without the LoRA"
    ),
    "scale nan": (
        "wanlora-scale", "nan", "a number from -10 to 10 and not 0, which is the model without the LoRA"
    ),
    "scale word": (
        "wanlora-scale", "strong", "a number from -10 to 10 and not 0, which is the model without the LoRA"
    ),
    "scale twice": (
        "wanlora-scale",
        "0.6,0.6",
        "a number from -10 to 10 and not 0, which is the model without the LoRA; several are separated by "
        "commas, each once, as in 0.6,0.8,1.0",
    ),
    "seeds of zero": ("wanlora-seeds", "0", "N or FIRST:MOST, from 1 to 1000, FIRST up to MOST"),
    "seeds falling": ("wanlora-seeds", "8:4", "N or FIRST:MOST, from 1 to 1000, FIRST up to MOST"),
    "seeds too many": ("wanlora-seeds", "4:1001", "N or FIRST:MOST, from 1 to 1000, FIRST up to MOST"),
    "seeds half": ("wanlora-seeds", "4:", "N or FIRST:MOST, from 1 to 1000, FIRST up to MOST"),
    "seeds negative": ("wanlora-seeds", "-4", "N or FIRST:MOST, from 1 to 1000, FIRST up to MOST"),
    "seeds in other digits": ("wanlora-seeds", "٤", "N or FIRST:MOST, from 1 to 1000, FIRST up to MOST"),
    "budget of nothing": (
        "wanlora-budget", "0m", "a number of videos, or a time such as 90s, 40m or 1.5h, above 0"
    ),
    "budget in days": (
        "wanlora-budget", "2d", "a number of videos, or a time such as 90s, 40m or 1.5h, above 0"
    ),
    "scenario": ("wanlora-scenario", "../x", "ids of the suite's scenarios, one an option"),
    "device": ("wanlora-device", "gpu0", "auto, cpu, cuda, cuda:N"),
    "device list": ("wanlora-device", "cuda:0,1", "auto, cpu, cuda, cuda:N"),
    "cache-dir": ("wanlora-cache-dir", "", "a path"),
    "output-dir": ("wanlora-output-dir", "", "a path"),
    "training-data": ("wanlora-training-data", "", "a path"),
    "training-data that is missing": (
        "wanlora-training-data", "a.csv", "a file or folder; <root>/a.csv is not there"
    ),
    "ray without a port": ("wanlora-ray", "gpu-1", "auto, local, HOST:PORT, ray://HOST:PORT"),
    "ray with a path": ("wanlora-ray", "http://gpu-1:8265/", "auto, local, HOST:PORT, ray://HOST:PORT"),
    "ray-wait of nothing": ("wanlora-ray-wait", "0", "a number of seconds from 1 to 604800"),
    "ray-limit in words": ("wanlora-ray-limit", "1h", "a number of seconds from 1 to 604800"),
    "ray-limit without end": ("wanlora-ray-limit", "inf", "a number of seconds from 1 to 604800"),
    "export": ("wanlora-export", "mlflow", "tensorboard, wandb, one an option"),
    "sign-key": ("wanlora-sign-key", "", "a path"),
}  # fmt: skip
REJECTED_INI_ONLY = {
    "cache": ("wanlora-cache", "maybe", "yes, no, true, false, on, off, 1, 0"),
    "race": ("wanlora-race", "2", "yes, no, true, false, on, off, 1, 0"),
    "previews": ("wanlora-previews", "2", "yes, no, true, false, on, off, 1, 0"),
    "model-cards": ("wanlora-model-cards", "all", "yes, no, true, false, on, off, 1, 0"),
    "allow-environment": ("wanlora-allow-environment", "y", "yes, no, true, false, on, off, 1, 0"),
}


def test_the_reject_tables_have_every_option() -> None:
    rejected = {name for name, _, _ in (REJECTED | REJECTED_INI_ONLY).values()}
    assert rejected == {option.name for option in OPTIONS}


@pytest.mark.parametrize(("name", "value", "allowed"), REJECTED.values(), ids=REJECTED.keys())
def test_a_bad_option_names_itself_its_value_and_what_is_allowed(
    reads: Reads, pytester: pytest.Pytester, name: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        reads(f"--{name}={value}")
    allowed = allowed.replace("<root>", str(pytester.path))
    assert caught.value.message == f"--{name}: {value!r} is not allowed; allowed: {allowed}"
    words = str(caught.value.next_command).split()
    assert words[0] == "pytest"
    assert "--lora=x.safetensors" in words
    # what was typed is what is left out
    assert not any(word.startswith(f"--{name}") for word in words)


def test_without_its_key_no_run_is_offered_that_would_be_unsigned(
    reads: Reads, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "a"
    with pytest.raises(SettingsError) as caught:
        reads("--wanlora-sign-key=~/a")
    assert (
        caught.value.message
        == f"--wanlora-sign-key: '~/a' is not allowed; allowed: a file; {path} is not there"
    )
    assert caught.value.next_command == f"ssh-keygen -t ed25519 -N '' -C gate@OWNER -f {path}"
    guide = Path(__file__).parents[2] / "docs" / "publishing.md"
    assert str(caught.value.next_command).rpartition(" ")[0] in guide.read_text(encoding="utf-8")


def test_a_bad_value_in_a_file_is_shown_where_it_is(reads: Reads, pytester: pytest.Pytester) -> None:
    with pytest.raises(SettingsError, match=r"^wanlora_training_data in .*ini: 'a\.csv' is") as caught:
        reads(ini="wanlora_training_data = a.csv")
    (inipath,) = pytester.path.glob("*.ini")
    assert caught.value.next_command == f"grep -n wanlora_training_data {inipath}"


@pytest.mark.parametrize("option", [each.name for each in OPTIONS if each.metavar is not None])
@pytest.mark.parametrize("form", ["--{} -1", "--{}=-1"])
def test_a_value_with_a_dash_goes_with_its_option(option: str, form: str) -> None:
    typed = [*GATE, *form.format(option).split(), "-x"]
    assert again(typed, without=[f"--{option}"]) == "pytest --lora=x.safetensors -x"
    assert again(typed, f"--{option}=2") == f"pytest --{option}=2 --lora=x.safetensors -x"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["wanlora-training-data", "wanlora-sign-key"])
def test_a_path_that_is_a_link_to_nothing_is_called_so(
    reads: Reads, pytester: pytest.Pytester, name: str
) -> None:
    (pytester.path / "a").symlink_to("nowhere")
    with pytest.raises(SettingsError, match="a: is a link to `nowhere`, which is not there"):
        reads(f"--{name}=a")


# a blank ini value is no value
INI_CASES = {key: case for key, case in (REJECTED | REJECTED_INI_ONLY).items() if case[1].strip()}


@pytest.mark.parametrize(("name", "value", "allowed"), INI_CASES.values(), ids=INI_CASES.keys())
def test_a_bad_ini_value_names_its_key_and_file(
    reads: Reads, pytester: pytest.Pytester, name: str, value: str, allowed: str
) -> None:
    key = name.replace("-", "_")
    allowed = allowed.replace("<root>", str(pytester.path))
    quoted = f"'{value}'" if name == "wanlora-scenario" else value
    with pytest.raises(SettingsError) as caught:
        reads(ini=f"{key} = {quoted}")
    assert caught.value.message == f"{key} in tox.ini: {value!r} is not allowed; allowed: {allowed}"


def test_an_ini_value_of_the_command_line(reads: Reads) -> None:
    assert reads("-o", "wanlora_scale=0.25", ini="wanlora_scale = 0.5").scale == 0.25
    with pytest.raises(SettingsError, match=r"^-o wanlora_scale: 'x' is not allowed"):
        reads("-o", "wanlora_scale=x", ini="wanlora_scale = 0.5")


def test_a_toml_value_of_another_type_is_one_clear_line(
    configured: Callable[..., pytest.Config], pytester: pytest.Pytester
) -> None:
    pytester.makefile(".toml", pytest="[pytest]\nwanlora_scale = 0.5\n")
    with pytest.raises((SettingsError, pytest.UsageError), match="wanlora_scale"):
        read(configured(*GATE))


def test_pytests_that_raise_type_errors_for_it_are_translated(
    configured: Callable[..., pytest.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(*GATE)

    def getini(name: str) -> None:
        raise TypeError(f"pytest.toml: config option '{name}' expects a string")

    with monkeypatch.context() as patch:
        patch.setattr(config, "getini", getini)
        with pytest.raises(SettingsError, match=r"config option 'wanlora_suite' expects") as caught:
            read(config)
    assert caught.value.next_command == "pytest --help"


# the gate's switch


def test_without_lora_and_update_there_are_no_settings(configured: Callable[..., pytest.Config]) -> None:
    assert read(configured(ini="wanlora_scale = nonsense")) is None


@pytest.mark.parametrize("option", ["--wanlora-suite=tiny", "--wanlora-no-cache"])
def test_an_option_that_would_do_nothing_is_refused(
    configured: Callable[..., pytest.Config], option: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(configured(option))
    name = option.partition("=")[0]
    assert caught.value.message.startswith(f"{name}: does nothing without a gate")
    assert caught.value.message.endswith("allowed: together with --lora or --update-baselines")


@pytest.mark.parametrize(
    ("typed", "needed", "following"),
    [
        ("--wanlora-race", "--lora", "--lora=FILE --wanlora-race"),
        (
            "--wanlora-budget -1",
            "--lora and --wanlora-race",
            "--lora=FILE --wanlora-race --wanlora-budget=-1",
        ),
        ("--wanlora-scenario a", "--lora", "--lora=FILE --wanlora-scenario=a"),
        ("--wanlora-force", "--update-baselines", "--lora=FILE --update-baselines --wanlora-force"),
        (
            "--wanlora-plan --wanlora-force",
            "--lora or --update-baselines",
            "--lora=FILE --update-baselines --wanlora-plan --wanlora-force",
        ),
    ],
)
def test_an_option_that_would_do_nothing_says_where_it_does_something(
    configured: Callable[..., pytest.Config], typed: str, needed: str, following: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(configured(*typed.split()))
    assert caught.value.message.endswith(f"does nothing without a gate; allowed: together with {needed}")
    of_the_test = {"pytest", "-p", "no:wanlora", "wanlora_options"}
    words = [word for word in str(caught.value.next_command).split() if not word.startswith("--basetemp")]
    assert set(words) - of_the_test == set(following.split())


def test_options_in_addopts_may_wait_for_a_gate(configured: Callable[..., pytest.Config]) -> None:
    assert read(configured(ini="addopts = --wanlora-suite tiny")) is None


def test_the_gate_that_is_off_imports_nothing_heavy() -> None:
    code = (
        "import sys; import pytest_wanlora.settings; "
        "print(sorted({'torch', 'pydantic', 'yaml', 'numpy', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# paths


def test_paths_start_where_they_were_written(
    configured: Callable[..., pytest.Config], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = pytester.mkdir("below")
    pytester.makeini("[pytest]\nwanlora_suite = s/mine.yaml\nwanlora_baseline = stored/v2\n")
    monkeypatch.chdir(below)
    settings = read(configured("--lora", "x*.safetensors", "--lora", "/abs", "--wanlora-cache-dir", "../c"))
    assert settings is not None
    assert settings.suite == str(pytester.path / "s/mine.yaml")
    assert settings.baseline == str(pytester.path / "stored/v2")
    assert settings.lora == (str(below / "x*.safetensors"), "/abs")
    assert settings.cache_dir == below / "../c"
    assert settings.output_dir == pytester.path / ".wanlora" / "runs"


def test_an_empty_lora_is_refused(configured: Callable[..., pytest.Config]) -> None:
    with pytest.raises(SettingsError, match=r"^--lora: '' is not allowed; allowed: a path"):
        read(configured("--lora="))


def test_a_glob_that_the_shell_expanded_is_refused(reads: Reads, pytester: pytest.Pytester) -> None:
    pytester.makefile(".safetensors", epoch="")
    with pytest.raises(SettingsError, match=r"^epoch\.safetensors: a checkpoint where pytest takes tests"):
        reads("epoch.safetensors")


# updating baselines


@pytest.mark.parametrize(
    ("args", "target"),
    [
        ((), None),
        (("--update-baselines",), "accepted"),
        (("--update-baselines", "--wanlora-baseline", "v2"), "v2"),
    ],
)
def test_where_a_checkpoint_is_stored(reads: Reads, args: tuple[str, ...], target: str | None) -> None:
    assert reads(*args).update_target == target


def test_the_base_is_stored_whatever_the_ini_compares_with(configured: Callable[..., pytest.Config]) -> None:
    settings = read(configured("--update-baselines", ini="wanlora_baseline = accepted"))
    assert settings is not None
    assert settings.lora == ()
    assert (settings.baseline, settings.update_target) == ("accepted", "base")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            (*GATE, "--wanlora-baseline", "base"),
            "'base' is the model without LoRA; .* accepted or another name",
        ),
        ((*GATE, "--wanlora-baseline", "a/b"), "is a folder's path; .* accepted or another name"),
        (("--wanlora-baseline", "v2"), "'v2' is for checkpoints, and no --lora is given; .* base"),
        ((*GATE, "--wanlora-scenario", "street"), "scenarios street alone make no baseline"),
        ((*GATE, "--lora", "y.safetensors"), "2 checkpoints; allowed: one"),
    ],
)
def test_updates_that_contradict_themselves(
    configured: Callable[..., pytest.Config], args: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        read(configured("--update-baselines", *args))


# suites


def test_the_suite_is_chosen_by_the_checkpoint(reads: Reads) -> None:
    suite = load_suite(reads("--wanlora-seeds", "2:3", "--wanlora-baselines-dir", "stored"), [loras.known()])
    assert suite.name == "wan2.2-ti2v-5b"
    assert (suite.seeds.first, suite.seeds.most) == (2, 3)
    assert suite.scoring.reference.endswith("/stored/wan2.2-ti2v-5b/reference.safetensors")


def test_a_worker_reads_the_suite_that_was_chosen_and_no_other(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = packaged()["wan2.2-ti2v-5b"]
    monkeypatch.setattr("pytest_wanlora.suite.find_for", lambda *_, **__: pytest.fail("chosen again"))
    suite = load_suite(reads("--wanlora-seeds", "2:3"), [loras.known()], chosen_before=chosen)
    assert (suite.path, suite.seeds.most) == (chosen, 3)


def test_measuring_the_base_needs_a_named_suite(configured: Callable[..., pytest.Config]) -> None:
    settings = read(configured("--update-baselines"))
    assert settings is not None
    with pytest.raises(
        SettingsError, match=r"allowed: --wanlora-suite with tiny, wan2\.1-i2v-14b, .* or a \.yaml"
    ):
        load_suite(settings, [])


NO_FVD = "tolerances: {fvd: off}\n"
ALL_FVD = "limits: [{metric: fvd, max: 9}]\n"


@pytest.mark.parametrize(
    ("args", "ini", "more", "named", "command"),
    [
        (("--wanlora-seeds", "1"), "", "", "--wanlora-seeds: '1' is", "--wanlora-seeds=2"),
        (("--wanlora-seeds=1:8",), "", "", "--wanlora-seeds: '1:8' is", "--wanlora-seeds=2:8"),
        ((), "wanlora_seeds = 1", "", "wanlora_seeds in tox.ini: '1' is", "--wanlora-seeds=2"),
        (
            ("-o", "wanlora_seeds=1:1"),
            "wanlora_seeds = 4",
            "",
            "-o wanlora_seeds: '1' is",
            "--wanlora-seeds=2",
        ),
        (
            ("--wanlora-seeds", "1", "--update-baselines"),
            "",
            "",
            "--wanlora-seeds: '1' is",
            "--wanlora-seeds=2",
        ),
        (
            ("--wanlora-scenario", "street"),
            "",
            f"{NO_FVD}{ALL_FVD}seeds: {{first: 1, most: 8}}\n",
            "--wanlora-scenario (ini: wanlora_scenario): 'street' alone is one video",
            "--wanlora-seeds=2:8",
        ),
        (
            ("--wanlora-scenario", "street", "--wanlora-seeds", "1"),
            "",
            f"{NO_FVD}{ALL_FVD}",
            "--wanlora-seeds: '1' is one video a scenario, and suite mine gates fvd (limits[0])",
            "--wanlora-seeds=2",
        ),
    ],
)
def test_too_few_videos_for_what_is_gated(
    configured: Callable[..., pytest.Config],
    reads: Reads,
    pytester: pytest.Pytester,
    args: tuple[str, ...],
    ini: str,
    more: str,
    named: str,
    command: str,
) -> None:
    pytester.makefile(".yaml", mine=SUITE + more)
    settings = reads("--wanlora-suite", "mine.yaml", *args, ini=ini)
    with pytest.raises(SettingsError) as refused:
        load_suite(settings, [])
    assert refused.value.message.startswith(named)
    assert "a distance of 2 or more videos; allowed: " in refused.value.message
    assert refused.value.next_command is not None
    program, *words = shlex.split(refused.value.next_command)
    assert (program, words[0]) == ("pytest", command)
    # what else was typed stays, and what was wrong does not come again
    assert "--wanlora-suite=mine.yaml" in words
    assert [word for word in words if word.startswith("--wanlora-seeds")] == [command]
    again = read(configured(*words, ini=ini))
    assert again is not None
    load_suite(again, [])


@pytest.mark.parametrize(
    ("args", "more"),
    [
        (("--wanlora-seeds", "1"), NO_FVD),
        (("--wanlora-seeds", "1"), f"{NO_FVD}{ALL_FVD}"),
        (("--wanlora-seeds", "1", "--wanlora-scenario", "street"), NO_FVD),
        (("--wanlora-seeds", "1:8", "--update-baselines"), ""),
        # the option is checked, not what it takes the place of
        (("--wanlora-seeds", "2"), "seeds: {first: 1, most: 1}\n"),
        (("--wanlora-seeds", "2:2"), ""),
        # of another scenario
        (
            ("--wanlora-seeds", "1", "--wanlora-scenario", "street"),
            f"{NO_FVD}limits: [{{metric: fvd, max: 9, scenario: meadow}}]\n",
        ),
    ],
)
def test_enough_videos_for_what_is_gated(
    reads: Reads, pytester: pytest.Pytester, args: tuple[str, ...], more: str
) -> None:
    pytester.makefile(".yaml", mine=SUITE + more)
    assert load_suite(reads("--wanlora-suite", "mine.yaml", *args), [])


def test_a_suite_file_with_too_few_videos_is_refused_with_its_line(
    reads: Reads, pytester: pytest.Pytester
) -> None:
    pytester.makefile(".yaml", mine=f"{SUITE}seeds: {{first: 1, most: 8}}\n")
    with pytest.raises(SuiteError, match=r"mine\.yaml:18: seeds\.first: 1: the suite gates fvd"):
        load_suite(reads("--wanlora-suite", "mine.yaml"), [])


def test_a_subset_of_scenarios_is_partial(reads: Reads) -> None:
    settings = reads(
        "--wanlora-suite=tiny", "--wanlora-scenario=test3_action", "--wanlora-scenario=test1_korean_city"
    )
    suite = load_suite(settings, [])
    assert settings.partial
    assert [scenario.id for scenario in settings.selected(suite)] == ["test1_korean_city", "test3_action"]
    assert len(suite.scenarios) == 3


def test_without_a_subset_all_scenarios_are_rendered(reads: Reads) -> None:
    settings = reads("--wanlora-suite=tiny")
    assert not settings.partial
    assert len(settings.selected(load_suite(settings, []))) == 3


def test_an_unknown_scenario_is_refused_with_the_nearest(reads: Reads) -> None:
    settings = reads("--wanlora-suite=tiny", "--wanlora-scenario=test2_natur")
    with pytest.raises(
        SettingsError, match="'test2_natur' is no scenario of suite tiny; did you mean test2_nature"
    ):
        load_suite(settings, [])


# workers


@pytest.mark.parametrize(
    ("option", "at"), [((), "here"), (("--rootdir", "."), "here"), (("-c", "own.ini"), "")]
)
def test_folders_lie_where_the_user_stands_not_where_the_checkpoint_lies(
    configured: Callable[..., pytest.Config],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    option: tuple[str, ...],
    at: str,
) -> None:
    # the project that trained the checkpoint has an ini file, which pytest takes for that of the run
    training = pytester.mkdir("training")
    (training / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (training / "x.safetensors").touch()
    (pytester.path / "own.ini").write_text("[pytest]\n", encoding="utf-8")
    monkeypatch.chdir(pytester.mkdir("here"))
    named = [str(pytester.path / each) if each == "own.ini" else each for each in option]
    settings = read(configured("--lora", str(training / "x.safetensors"), *named))
    assert settings is not None
    assert settings.output_dir == pytester.path / at / ".wanlora" / "runs"
    assert settings.cache_dir == pytester.path / at / ".wanlora" / "cache"
    assert settings.baselines_dir == pytester.path / at / "baselines"


def test_an_xdist_worker_reads_the_same_settings(pytester: pytest.Pytester) -> None:
    pytester.syspathinsert()
    pytester.makepyfile(wanlora_options=PLUGIN)
    pytester.makeini("[pytest]\nwanlora_scale = 0.5\nwanlora_scenario = street meadow\n")
    pytester.makeconftest(
        """
        from pathlib import Path
        from pytest_wanlora.settings import read

        def pytest_configure(config):
            worker = getattr(config, "workerinput", {}).get("workerid", "controller")
            Path(config.rootpath, f"{worker}.txt").write_text(repr(read(config)))
        """
    )
    pytester.makepyfile("def test_nothing(): pass")
    args = (
        "--lora",
        "x/*.safetensors",
        "--wanlora-seeds",
        "2:4",
        "--wanlora-no-cache",
        "--wanlora-cache-dir",
        "c",
    )
    result = pytester.runpytest_subprocess("-p", "no:wanlora", "-p", "wanlora_options", "-n2", *args)
    result.assert_outcomes(passed=1)
    seen = {path.stem: path.read_text() for path in pytester.path.glob("*.txt")}
    assert set(seen) == {"controller", "gw0", "gw1"}
    assert "scales=(0.5,)" in seen["controller"]
    assert seen["gw0"] == seen["gw1"] == seen["controller"]


def test_help_names_every_option_default_and_ini_key(pytester: pytest.Pytester) -> None:
    pytester.syspathinsert()
    pytester.makepyfile(wanlora_options=PLUGIN)
    text = " ".join(
        pytester.runpytest("-p", "no:wanlora", "-p", "wanlora_options", "--help").stdout.str().split()
    )
    for option in OPTIONS:
        assert f"--{option.name}" in text
        assert f"{option.help} (default: {option.default}; ini: {option.ini})" in text


def test_given_shows_lists_as_text() -> None:
    assert Given(("a", "b"), "--x", Path()).text == "a b"


def test_several_strengths_are_read_in_their_order_and_make_no_baseline(
    reads: Reads,
) -> None:
    assert reads("--wanlora-scale", "0.6,0.8,1.0").scales == (0.6, 0.8, 1.0)
    with pytest.raises(SettingsError, match=r"strengths 0\.6,1 \(--wanlora-scale\); allowed: one") as caught:
        reads("--update-baselines", "--wanlora-scale", "0.6,1")
    assert caught.value.next_command is not None
    assert "--wanlora-scale=0.6" in caught.value.next_command


def test_the_command_for_a_baseline_keeps_what_was_typed(reads: Reads) -> None:
    with pytest.raises(SettingsError) as caught:
        load_suite(reads("--update-baselines", "--wanlora-seeds", "3:10"), [])
    again = shlex.split(str(caught.value.next_command))
    assert {"--wanlora-suite=tiny", "--update-baselines", "--wanlora-seeds=3:10"} <= {*again}
    with pytest.raises(SettingsError) as caught:
        reads("--update-baselines", "--lora", "a", "--lora=b", "--wanlora-seeds=9")
    again = shlex.split(str(caught.value.next_command))
    assert [word for word in again if "lora=" in word] == ["--lora=FILE"]
    assert {"--update-baselines", "--wanlora-seeds=9"} <= {*again}


@pytest.mark.parametrize(
    ("typed", "words", "again"),
    [
        (
            ("--wanlora-no-race", "--wanlora-budget", "40m"),
            "'40m' is what a race may cost, and there is none",
            ("--wanlora-race", "--wanlora-budget=40m"),
        ),
        (
            ("--update-baselines", "--wanlora-race", "--wanlora-budget=40m"),
            "nothing races (--wanlora-race)",
            ("--update-baselines",),
        ),
        (("--update-baselines", "--wanlora-budget=40m"), "there is none", ("--update-baselines",)),
    ],
)
def test_a_race_is_asked_for_with_its_budget_and_stores_nothing(
    reads: Reads, typed: tuple[str, ...], words: str, again: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        reads(*typed)
    assert words in caught.value.message
    named, *options = shlex.split(str(caught.value.next_command))
    assert named == "pytest"
    assert {word for word in options if word.startswith(("--wanlora", "--update"))} - {
        word for word in options if "lora=x" in word
    } == {*again}
    reads(*again)


def test_a_race_of_an_ini_file_is_switched_off(reads: Reads) -> None:
    with pytest.raises(SettingsError) as caught:
        reads("--update-baselines", ini="wanlora_race = true")
    assert "--wanlora-no-race" in shlex.split(str(caught.value.next_command))


def test_the_next_command_of_options_is_the_whole_command_with_them() -> None:
    typed = ["--lora", "high=A@0.5,low=B@1.2", "-x", "--wanlora-suite=tiny-pair", "--wanlora-plan"]

    def told(**options: bool | str | tuple[str, ...]) -> str | None:
        named = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
        return following(SuiteError("wrong", options=named), typed)

    rest = "-x --wanlora-plan"
    assert told(wanlora_suite="tiny") == f"pytest --wanlora-suite=tiny --lora=high=A@0.5,low=B@1.2 {rest}"
    assert (
        told(lora=("a", "b c")) == "pytest --lora=a '--lora=b c' -x --wanlora-suite=tiny-pair --wanlora-plan"
    )
    assert told(wanlora_suite=False, lora="a") == f"pytest --lora=a {rest}"
    assert following(SuiteError("wrong", next_command="ls"), typed) == "ls"
    # without the typed words an error says what to give
    assert SuiteError("wrong", options={"--lora": ("a", "b")}).next_command == "pytest --lora a --lora b"
    assert SuiteError("wrong", options={"--wanlora-suite": "tiny"}).next_command == "--wanlora-suite tiny"
