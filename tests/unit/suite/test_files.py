from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.metrics import scoring_metrics
from pytest_wanlora.suite import Suite, check_digests, load, references, resolve, verify
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.files import anchored
from pytest_wanlora.suite.fingerprint import fingerprint

MakeSuite = Callable[..., Suite]

SUITE = """\
name: mine
model:
  name: Mine
  dit: {dit}
  text_encoder: text.safetensors
  vae: {vae}
  tokenizer: tokenizer
  sha256: {sha256}
  register: {register}
  architecture: {{dim: 224, ffn_dim: 896, blocks: 6}}
sampling: {{height: 96, width: 160, frames: 9, steps: {steps}, cfg_scale: 5, shift: 5}}
scoring:
  clip: {{model: clip.json, weights: clip.safetensors}}
  video_features: {{kind: module, module: {module}, weights: features.safetensors}}
  reference: reference.safetensors
  sharpness_reference: {sharpness}
limits: {limits}
scenarios:
  - {{id: street, category: urban, prompt: {prompt}}}
"""
FILES = (
    "dit-00001-of-00002.safetensors",
    "dit-00002-of-00002.safetensors",
    "text.safetensors",
    "vae.safetensors",
    "tokenizer/tokenizer.json",
    "clip.json",
    "clip.safetensors",
    "features.safetensors",
    "reference.safetensors",
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def make_suite(tmp_path: Path) -> MakeSuite:
    folder = tmp_path / "suite [1]"  # a folder whose name looks like a glob
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())

    def make(
        *,
        name: str = "s.yaml",
        dit: str = "dit-*.safetensors",
        vae: str = "vae.safetensors",
        sha256: str = "{}",
        steps: int = 20,
        limits: str = "[]",
        prompt: str = "a street",
        register: str = "a.b:register",
        module: str = "a.b:C",
        sharpness: int = 100,
    ) -> Suite:
        path = folder / name
        path.write_text(
            SUITE.format(
                dit=dit,
                vae=vae,
                sha256=sha256,
                steps=steps,
                limits=limits,
                prompt=prompt,
                register=register,
                module=module,
                sharpness=sharpness,
            )
        )
        return load(path)

    return make


def folder_of(suite: Suite) -> Path:
    return suite.path.parent


# references


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("vae.safetensors", "/suites/vae.safetensors"),
        ("a/b*.safetensors", "/suites/a/b*.safetensors"),
        ("/abs/vae.safetensors", "/abs/vae.safetensors"),
        ("../vae.safetensors", "/suites/../vae.safetensors"),
        ("package:tiny/vae.safetensors", "package:tiny/vae.safetensors"),
        ("hub:Wan-AI/Wan2.2-TI2V-5B:a/b*.safetensors", "hub:Wan-AI/Wan2.2-TI2V-5B:a/b*.safetensors"),
        ("baselines:reference.safetensors", "/stored/mine/reference.safetensors"),
    ],
)
def test_forms_of_references(text: str, result: str) -> None:
    assert anchored(text, folder=Path("/suites"), baselines=Path("/stored/mine")) == result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "hub:",
        "hub:name:file",
        "hub:a/b",
        "hub:a/b:",
        "hub:a/b:c:d",
        "hub:a/b/c:d",
        "package:",
        "package:../x",
        "package:/x",
        "package:a/../../x",
        "baselines:../x",
        "https://x/y.safetensors",
        "hf:a/b",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: "):
        anchored(text, folder=Path("/suites"), baselines=Path("/stored"))


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert (
        anchored("~/x.safetensors", folder=Path("/s"), baselines=Path("/b")) == "/home/someone/x.safetensors"
    )


def test_resolving_finds_files_globs_and_folders(make_suite: MakeSuite) -> None:
    suite = make_suite()
    found = {key: resolve(text, key=key) for key, text in references(suite)}
    assert [path.name for path in found["model.dit[0]"].paths] == list(FILES[:2])
    assert found["model.tokenizer"].paths == (folder_of(suite) / "tokenizer",)
    assert {reference.kind for reference in found.values()} == {"file"}


def test_a_literal_name_wins_over_a_glob(tmp_path: Path) -> None:
    for name in ("vae[1].safetensors", "vae1.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert resolve(str(tmp_path / "vae[1].safetensors"), key="model.vae").paths == (
        tmp_path / "vae[1].safetensors",
    )


def test_package_and_hub_references() -> None:
    inside = resolve("package:suites/tiny.yaml", key="x")
    assert inside.kind == "package"
    assert inside.paths[0].is_file()
    hub = resolve("hub:Wan-AI/Wan2.1-T2V-1.3B:google/umt5-xxl/", key="model.tokenizer")
    assert (hub.kind, hub.paths) == ("hub", ())
    assert (hub.hub_id, hub.pattern) == ("Wan-AI/Wan2.1-T2V-1.3B", "google/umt5-xxl/")


def test_a_missing_file_names_key_line_and_path(make_suite: MakeSuite) -> None:
    suite = make_suite(dit="gone-*.safetensors")
    with pytest.raises(SuiteError) as caught:
        resolve(suite.model.dit[0], key="model.dit[0]", where=suite.where("model.dit[0]"))
    gone = folder_of(suite) / "gone-*.safetensors"
    assert caught.value.message == f"{suite.path}:4: model.dit[0]: {gone}: no such file"
    assert caught.value.next_command == f"ls -l {shlex.quote(str(gone.parent))}"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("key", ["model.vae", "scoring.reference"])
def test_a_file_that_is_a_link_to_nothing_is_called_so(key: str, tmp_path: Path) -> None:
    link = tmp_path / "a.safetensors"
    link.symlink_to("nowhere")
    with pytest.raises(SuiteError, match="is a link to `nowhere`, which is not there") as caught:
        resolve(str(link), key=key)
    assert caught.value.next_command == f"ls -l {link}"


def test_a_missing_reference_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no such file") as caught:
        resolve(str(tmp_path / "reference.safetensors"), key="scoring.reference")
    assert caught.value.next_command == "python -m pytest_wanlora reference --help"


# digests


@given(content=st.binary(max_size=200))
def test_digest_of_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(content)
    assert digest(path) == sha256(content)


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert digest(path) == sha256(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))  # same size, so the time alone must tell
    assert digest(path) == sha256(b"two")


def test_digest_of_a_folder(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "sub").mkdir(parents=True)
        (folder / "a.json").write_bytes(b"a")
        (folder / "sub" / "b.json").write_bytes(b"b")
    (two / ".cache").mkdir()
    (two / ".cache" / "lock").write_bytes(b"hidden files do not count")
    assert digest(one) == digest(two)
    (two / "sub" / "b.json").rename(two / "sub" / "c.json")
    assert digest(one) != digest(two)


def test_stated_digests_are_checked(make_suite: MakeSuite) -> None:
    suite = make_suite(sha256=f"{{vae.safetensors: {sha256(b'vae.safetensors').upper()}}}")
    assert check_digests(suite) == {folder_of(suite) / "vae.safetensors": sha256(b"vae.safetensors")}


def test_all_that_is_wrong_with_the_files_is_told_at_once(make_suite: MakeSuite) -> None:
    suite = make_suite(sha256=f"{{vae.safetensors: {'0' * 64}, dit-00002-of-00002.safetensors: {'1' * 64}}}")
    (folder_of(suite) / "clip.safetensors").unlink()
    with pytest.raises(SuiteError) as caught:
        check_digests(suite)
    lines = caught.value.message.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["model.dit[0]", "model.vae", "scoring.clip.weights"]
    vae = folder_of(suite) / "vae.safetensors"
    assert lines[1] == (
        f"{suite.path}:6: model.vae: {vae}: SHA-256 is {sha256(b'vae.safetensors')}; "
        f"allowed: {'0' * 64}, which the suite states"
    )


def test_keys_can_be_left_out(make_suite: MakeSuite) -> None:
    suite = make_suite()
    (folder_of(suite) / "reference.safetensors").unlink()
    with pytest.raises(SuiteError, match=r"scoring\.reference"):
        check_digests(suite)
    assert check_digests(suite, skip={"scoring.reference"}) == {}


def test_downloaded_files_are_verified_by_name(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    path.write_bytes(b"x")
    assert verify([path], {"vae.safetensors": sha256(b"x")}, key="model.vae") == {path: sha256(b"x")}
    assert verify([path], {"other.safetensors": "0" * 64}, key="model.vae") == {}
    with pytest.raises(SuiteError, match="SHA-256"):
        verify([path], {"vae.safetensors": sha256(b"y")}, key="model.vae")


# fingerprints


def test_the_fingerprint_is_plain_json(make_suite: MakeSuite) -> None:
    found = fingerprint(make_suite())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["scoring"]["metrics"] == {metric.id: metric.version for metric in scoring_metrics()}
    assert str(Path.cwd().anchor) not in json.dumps(found["model"])


def test_the_fingerprint_knows_content_and_not_places_or_judgements(
    make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite()
    same = make_suite(name="t.yaml", limits="[{metric: clip, min: 0.1}]", prompt="a meadow")
    assert fingerprint(same) == fingerprint(suite)
    for device in ("auto", "cpu", "cuda"):
        assert fingerprint(suite.model_copy(update={"device": device})) == fingerprint(suite)
    stated = make_suite(name="u.yaml", sha256=f"{{vae.safetensors: {sha256(b'vae.safetensors')}}}")
    assert fingerprint(stated) == fingerprint(suite)
    before = fingerprint(suite)
    folder_of(suite).rename(tmp_path / "moved")
    assert fingerprint(load(tmp_path / "moved" / "s.yaml")) == before


@pytest.mark.parametrize("name", [name for name in FILES if "/" not in name] + ["tokenizer/tokenizer.json"])
def test_every_file_is_part_of_the_fingerprint(make_suite: MakeSuite, name: str) -> None:
    suite = make_suite()
    before = fingerprint(suite)
    (folder_of(suite) / name).write_bytes(b"something else")
    assert fingerprint(suite) != before


@pytest.mark.parametrize(
    "change",
    [{"steps": 21}, {"register": "a.b:other"}, {"module": "a.b:D"}, {"sharpness": 101}],
    ids=lambda change: next(iter(change)),
)
def test_every_other_key_that_changes_a_score_is_part_of_the_fingerprint(
    make_suite: MakeSuite, change: dict[str, Any]
) -> None:
    assert fingerprint(make_suite(**change)) != fingerprint(make_suite(name="t.yaml"))


def test_the_fingerprint_names_how_clip_sees_a_frame_only_where_it_is_not_the_usual_way(
    make_suite: MakeSuite,
) -> None:
    suite = make_suite()
    clip = suite.scoring.clip.model_copy(update={"frame": "whole"})
    whole = suite.model_copy(update={"scoring": suite.scoring.model_copy(update={"clip": clip})})
    usual = fingerprint(suite)["scoring"]["clip"]
    assert set(usual) == {"model", "weights"}
    assert fingerprint(whole)["scoring"]["clip"] == {**usual, "frame": "whole"}


def test_a_hub_file_of_stated_digest_is_the_same_as_a_local_one(make_suite: MakeSuite) -> None:
    stated = f"{{vae.safetensors: {sha256(b'vae.safetensors')}}}"
    local = make_suite(sha256=stated)
    hub = make_suite(name="t.yaml", vae="hub:owner/name:vae.safetensors", sha256=stated)
    assert fingerprint(hub) == fingerprint(local)
    unstated = fingerprint(make_suite(name="u.yaml", vae="hub:owner/name:vae.safetensors"))
    assert unstated["model"]["files"]["model.vae"] == {"hub": "owner/name:vae.safetensors", "sha256": []}


def test_a_pattern_of_the_hub_keeps_its_name_beside_its_digests(
    make_suite: MakeSuite,
) -> None:
    """It may match more files than those whose digests the suite states."""
    digest = sha256(FILES[0].encode())
    suite = make_suite(dit="hub:owner/name:dit-*.safetensors", sha256=f"{{{FILES[0]}: {digest}}}")
    assert fingerprint(suite)["model"]["files"]["model.dit[0]"] == {
        "hub": "owner/name:dit-*.safetensors",
        "sha256": [digest],
    }


def test_files_of_the_hub_that_are_here_are_known_by_their_digests(
    make_suite: MakeSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(tmp_path / "models"))
    folder = tmp_path / "models" / "owner" / "name"
    folder.mkdir(parents=True)
    for name in ("dit-1.safetensors", "dit-2.safetensors"):
        (folder / name).write_bytes(name.encode())
    suite = make_suite(dit="hub:owner/name:dit-*.safetensors")
    before = fingerprint(suite)
    assert before["model"]["files"]["model.dit[0]"] == {
        "hub": "owner/name:dit-*.safetensors",
        "sha256": sorted(sha256(name) for name in (b"dit-1.safetensors", b"dit-2.safetensors")),
    }
    # weights that have changed upstream are no longer comparable
    (folder / "dit-2.safetensors").write_bytes(b"other weights")
    assert fingerprint(suite) != before


def test_a_missing_file_has_no_fingerprint(make_suite: MakeSuite) -> None:
    suite = make_suite()
    (folder_of(suite) / "vae.safetensors").unlink()
    with pytest.raises(SuiteError, match=r"s\.yaml:6: model\.vae: .* no such file"):
        fingerprint(suite)
