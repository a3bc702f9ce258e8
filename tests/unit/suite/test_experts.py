"""Suites with two experts, and with LoRAs below baseline and candidate."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_wanlora import cli
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import (
    Suite,
    check_digests,
    contradicting_names,
    load,
    packaged,
    references,
)
from pytest_wanlora.suite.files import named, stated_for
from pytest_wanlora.suite.fingerprint import fingerprint

EXPERTS = """
  experts:
    high: {dit: high.safetensors, cfg_scale: 4.0}
    low: {dit: low.safetensors, cfg_scale: 3.0}
  boundary: 0.875
"""
STACK = "stack:\n  - {high: a.safetensors, low: b.safetensors, scale: 0.8}\n"


def text_of(experts: str = EXPERTS, stack: str = "") -> str:
    packaged = load("tiny").path.read_text(encoding="utf-8")
    one = "  dit: package:tiny/dit.safetensors\n"
    assert one in packaged
    text = packaged.replace(one, experts.lstrip("\n")).replace("name: tiny\n", "name: mine\n", 1)
    return text.replace("    dit.safetensors: f871", "    high.safetensors: f871") + stack


def written(folder: Path, text: str) -> Path:
    for name in ("high", "low", "a", "b", "dit"):
        (folder / f"{name}.safetensors").write_bytes(name.encode())
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def unpinned(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "high.safetensors: f871" not in line) + "\n"


def built(folder: Path, experts: str = EXPERTS, stack: str = "") -> Suite:
    return load(written(folder, unpinned(text_of(experts, stack))))


def test_the_order_of_experts_in_the_file_does_not_matter(tmp_path: Path) -> None:
    suite = built(tmp_path)
    turned = "\n".join(
        [*EXPERTS.splitlines()[:2], *reversed(EXPERTS.splitlines()[2:4]), *EXPERTS.splitlines()[4:]]
    )
    other = built(tmp_path, turned + "\n")
    assert list(suite.model.denoisers) == list(other.model.denoisers) == ["high", "low"]
    assert fingerprint(suite) == fingerprint(other)
    assert [suite.guidance(name) for name in ("high", "low")] == [4.0, 3.0]
    keys = [key for key, _ in references(suite)]
    assert keys[:2] == ["model.experts.high.dit[0]", "model.experts.low.dit[0]"]
    assert ":11" in suite.where("model.experts.high.dit[0]")


@pytest.mark.parametrize(
    "change",
    [
        ("cfg_scale: 3.0", "cfg_scale: 3.5"),
        ("boundary: 0.875", "boundary: 0.9"),
        ("dit: low.safetensors", "dit: dit.safetensors"),
        ("scale: 0.8", "scale: 0.9"),
        ("high: a.safetensors, low: b.safetensors", "high: b.safetensors, low: a.safetensors"),
        ("high: a.safetensors, low: b.safetensors", "high: a.safetensors"),
    ],
)
def test_all_of_it_is_in_the_fingerprint(tmp_path: Path, change: tuple[str, str]) -> None:
    text = unpinned(text_of(stack=STACK))
    one = fingerprint(load(written(tmp_path, text)))
    assert fingerprint(load(written(tmp_path, text.replace(*change)))) != one
    (tmp_path / "a.safetensors").write_bytes(b"another")
    assert fingerprint(load(tmp_path / "mine.yaml")) != one


def test_experts_with_files_of_equal_names_have_digests_of_their_own(tmp_path: Path) -> None:
    digests = {}
    for name in ("high", "low"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dit-1.safetensors").write_bytes(name.encode())
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    lines = [
        f"    {name}: {{dit: {name}/dit-*.safetensors, sha256: {{dit-1.safetensors: {digests[name]}}}}}"
        for name in digests
    ]
    experts = "\n".join(["", "  experts:", *lines, "  boundary: 0.875", ""])
    suite = built(tmp_path, experts)
    check_digests(suite, skip=["scoring.reference"])
    files = fingerprint(suite)["model"]["files"]
    assert [files[f"model.experts.{name}.dit[0]"] for name in digests] == [
        {"sha256": [value]} for value in digests.values()
    ]
    with pytest.raises(SuiteError, match=r"model.experts.low.dit\[0\]: .*SHA-256 is"):
        check_digests(built(tmp_path, experts.replace(digests["low"], digests["high"])))


def test_where_experts_lie_is_not_in_the_fingerprint(tmp_path: Path) -> None:
    one = built(tmp_path)
    other = built(tmp_path, f"{EXPERTS}  resident_experts: 1\n")
    assert fingerprint(one) == fingerprint(other)


def test_a_suite_without_experts_and_stack_has_the_fingerprint_it_had() -> None:
    found = fingerprint(load("tiny"))
    assert set(found) == {"model", "sampling", "scoring"}
    assert set(found["model"]) == {"files", "register"}


@pytest.mark.parametrize(
    ("experts", "stack", "line"),
    [
        (
            "  boundary: 0.9\n  dit: dit.safetensors\n",
            "",
            "model.boundary: this model has one denoiser; allowed: left out, or beside model.experts",
        ),
        (
            EXPERTS.replace("  boundary", "    boundary"),
            "",
            "experts.boundary: unknown key; did you mean model.bou",
        ),
        ("", "", "model.dit: missing; it has no default"),
        (
            EXPERTS + "  dit: dit.safetensors\n",
            "",
            "model.dit: not with experts; allowed: model.experts.high.dit",
        ),
        (EXPERTS.replace("  boundary: 0.875\n", ""), "", "model.boundary: missing; with experts"),
        (EXPERTS.replace("0.875", "1.2"), "", "model.boundary: 1.2; allowed: less than 1"),
        (EXPERTS.replace("low.safe", "high.safe"), "", "model.experts.low.dit: the same weights as high"),
        (EXPERTS.replace("    low:", "    middle:"), "", "model.experts.middle: unknown key"),
        (EXPERTS + "  resident_experts: 1\n  vram_limit: 8\n", "", "model.resident_experts: 1: not with"),
        (EXPERTS.replace("4.0", "1.0"), "", "guidance 1 of one expert alone"),
        (EXPERTS, "stack:\n  - {lora: a.safetensors}\n", "stack[0].lora: this model has two experts"),
        (EXPERTS, "stack:\n  - {scale: 0.5}\n", "stack[0]: no LoRA; this model has two experts"),
        (EXPERTS, STACK.replace("0.8", "0"), "stack[0].scale: 0: the LoRA would do nothing"),
        ("  dit: dit.safetensors\n", STACK, "stack[0].high: this model has one denoiser; allowed: lora"),
        (EXPERTS, STACK.replace("scale: 0.8", f"sha256: {{c.safetensors: {'0' * 64}}}"), "unknown file"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, experts: str, stack: str, line: str) -> None:
    with pytest.raises(SuiteError) as caught:
        built(tmp_path, experts, stack)
    assert line in caught.value.message


def test_the_same_weights_for_both_are_two_experts_with_loras_of_their_own(tmp_path: Path) -> None:
    suite = built(tmp_path, EXPERTS.replace("low.safe", "high.safe"), STACK)
    assert fingerprint(suite)["stack"][0]["scale"] == 0.8


def test_a_stacked_file_is_compared_with_its_digest(tmp_path: Path) -> None:
    stack = STACK.replace("scale: 0.8", f"sha256: {{b.safetensors: {'0' * 64}}}")
    with pytest.raises(SuiteError, match=r"stack\[0\].low: .*b.safetensors: SHA-256 is"):
        check_digests(built(tmp_path, stack=stack), skip=["scoring.reference"])


ONE_A_LINE = """
  experts:
    high:
      dit: high.safetensors
    low:
      dit: low.safetensors   # the rest
  boundary: 0.875
"""
ONE_A_LINE_STACK = "stack:\n  - high: a.safetensors\n    low: b.safetensors  # 4 steps\n"


def test_pins_of_experts_and_of_a_stack_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = built(tmp_path, ONE_A_LINE, ONE_A_LINE_STACK)
    before = suite.path.read_text()
    cli.main(["doctor", "--suite", str(suite.path), "--pin"])
    found, text = load(suite.path), suite.path.read_text()
    experts = found.model.experts
    assert experts is not None
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("high", "low", "a", "b")}
    assert experts.high.sha256 == {"high.safetensors": digests["high"]}
    assert experts.low.sha256 == {"low.safetensors": digests["low"]}
    assert found.stack[0].sha256 == {f"{name}.safetensors": digests[name] for name in ("a", "b")}
    assert "# the rest" in text
    assert "# 4 steps" in text
    assert [line for line in before.splitlines() if line not in text.splitlines()] == [
        "  - high: a.safetensors"
    ]
    assert "pinned stack[0].sha256.a.safetensors: " in capsys.readouterr().out
    cli.main(["doctor", "--suite", str(suite.path), "--pin"])
    assert suite.path.read_text() == text
    (tmp_path / "low.safetensors").write_bytes(b"other weights")
    with pytest.raises(SuiteError, match=r"model.experts.low.dit\[0\]: .*SHA-256 is"):
        check_digests(load(suite.path), skip=["scoring.reference"])


@pytest.mark.parametrize(
    ("high", "low", "names"),
    [
        ("x/lora.safetensors", "y/lora.safetensors", ["x/lora.safetensors", "y/lora.safetensors"]),
        ("lora.safetensors", "y/lora.safetensors", ["lora.safetensors", "y/lora.safetensors"]),
        ("y/x/lora.safetensors", "x/lora.safetensors", ["y/x/lora.safetensors", "x/lora.safetensors"]),
        ("./x/../x/lora.safetensors", "x/lora.safetensors", ["lora.safetensors"]),
        ("x/same.safetensors", "y/same.safetensors", ["same.safetensors"]),
        ("x/acc[v2].safetensors", "x/acc:v3?.safetensors", ["acc[v2].safetensors", "acc:v3?.safetensors"]),
    ],
)
def test_pins_of_files_with_one_name_tell_them_apart(
    tmp_path: Path, high: str, low: str, names: list[str]
) -> None:
    for name in (high, low):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = b"same" if "same" in name else str((tmp_path / name).resolve()).encode()
        (tmp_path / name).write_bytes(content)
    suite = built(tmp_path, ONE_A_LINE, f"stack:\n  - high: {high}\n    low: {low}\n")
    for _ in range(2):
        assert cli.main(["doctor", "--suite", str(suite.path), "--pin"]) == 0
        assert list(load(suite.path).stack[0].sha256) == names
        check_digests(load(suite.path), skip=["scoring.reference"])
    for name in {high, low}:
        (tmp_path / name).write_bytes(b"other weights")
        with pytest.raises(SuiteError, match=r"stack\[0\]\..*SHA-256 is") as caught:
            check_digests(load(suite.path), skip=["scoring.reference"])
        assert str(tmp_path / name).replace("/./", "/") in caught.value.message.replace("/./", "/")
        (tmp_path / name).write_bytes(
            b"same" if "same" in name else str((tmp_path / name).resolve()).encode()
        )


def test_a_digest_that_an_earlier_version_pinned_for_two_files_is_told_apart_by_pinning_again(
    tmp_path: Path,
) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lora.safetensors").write_bytes(name.encode())
    first = hashlib.sha256(b"x").hexdigest()
    stack = "stack:\n  - high: x/lora.safetensors\n    low: y/lora.safetensors\n"
    suite = built(tmp_path, ONE_A_LINE, f"{stack}    sha256:\n      lora.safetensors: {first}\n")
    with pytest.raises(SuiteError, match=r"stack\[0\].low: .*SHA-256 is"):
        check_digests(suite, skip=["scoring.reference"])
    cli.main(["doctor", "--suite", str(suite.path), "--pin"])
    check_digests(load(suite.path), skip=["scoring.reference"])


def test_a_digest_is_stated_by_the_end_of_a_path_in_any_form(tmp_path: Path) -> None:
    for name, text, fits in (
        ("high/a.safetensors", "high/a.safetensors", True),
        ("high/a.safetensors", "low/a.safetensors", False),
        ("high/a.safetensors", "*/a.safetensors", True),
        ("a/b/c.safetensors", "../*.safetensors", True),
        ("../a.safetensors", "../a.safetensors", True),
        ("x/a.safetensors", "a.safetensors", False),
        ("a[1].safetensors", "a[1].safetensors", True),
        ("a1.safetensors", "a[1].safetensors", True),
        ("b/c.safetensors", "**/c.safetensors", True),
        ("vae/model.safetensors", "hub:o/n:vae/model.safetensors", True),
        ("tiny/vae.safetensors", "package:tiny/vae.safetensors", True),
        ("", "anything", True),
    ):
        assert named(name, text) is fits, (name, text)
    stated = {"a.safetensors": "1", "x/a.safetensors": "2"}
    assert [stated_for(Path(path), stated) for path in ("/y/a.safetensors", "/y/x/a.safetensors", "/b")] == [
        "1",
        "2",
        None,
    ]


@pytest.mark.parametrize(
    ("experts", "stack", "said"),
    [
        (EXPERTS, STACK, ""),
        (EXPERTS.replace("dit: high", "dit: low"), "", "high"),
        (EXPERTS.replace("dit: low.", "dit: wan_high_noise_model."), "", "low"),
        (EXPERTS.replace("dit: high.", "dit: low_noise_model/dit."), "", "high"),
        (EXPERTS, STACK.replace("a.safetensors", "accelerator-low-noise.safetensors"), "high"),
        (EXPERTS, STACK.replace("b.safetensors", "high_noise/4steps.safetensors"), "low"),
    ],
)
def test_a_file_that_says_the_other_expert_is_warned_of(
    tmp_path: Path, experts: str, stack: str, said: str
) -> None:
    experts = experts.replace("low: {dit: low.", "low: {dit: dit.") if said == "high" else experts
    found = contradicting_names(built(tmp_path, experts, stack))
    assert len(found) == bool(said)
    assert all(f"is given for the {said}-noise expert" in line and "mine.yaml:" in line for line in found)


def test_no_packaged_suite_is_warned_of() -> None:
    suites = {name: load(name) for name in packaged()}
    assert "stack" in suites["wan2.2-t2v-a14b-4step"].model_fields_set
    assert {name: contradicting_names(suite) for name, suite in suites.items()} == dict.fromkeys(suites, ())
