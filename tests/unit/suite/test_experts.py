"""Suites with two experts, and with LoRAs below baseline and candidate."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import Suite, check_digests, load, references
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
        ("  boundary: 0.9\n  dit: dit.safetensors\n", "", "model.boundary: not without experts"),
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
