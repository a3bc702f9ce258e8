from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora import files
from pytest_wanlora.baseline import store
from pytest_wanlora.baseline.contents import Baseline, Prompt
from pytest_wanlora.baseline.store import load, load_folder, measure_again, write
from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import BaselineError

HERE = Environment(
    device="cpu",
    device_name="cpu",
    processor="some processor",
    dtype="float32",
    attention="torch_sdpa",
    torch="2.14.1",
    diffsynth="2.1.12",
    python="3.11.9",
)
PROMPT = Prompt(category="nature", prompt="cherry trees", caption="cherry trees")
FINGERPRINT: dict[str, Any] = {"sampling": {"steps": 20, "shift": 5.0}, "scoring": {"clip": "abc"}}


def measured(seeds: int = 12, name: str = "base") -> Baseline:
    generator = np.random.default_rng(0)
    scenarios = ("s1", "s2")
    return Baseline(
        suite="tiny",
        name=name,
        created="2026-01-02T03:04:05Z",
        fingerprint=FINGERPRINT,
        environment=HERE.record(),
        prompts=dict.fromkeys(scenarios, PROMPT),
        scores={
            scenario: {
                seed: {"clip": float(generator.uniform(0.5, 0.7)), "motion": float(generator.uniform(1, 2))}
                for seed in range(seeds)
            }
            for scenario in scenarios
        },
        sets={"all": {"fvd": 90.5, "kvd": 0.2, "n": 24.0, "reference_n": 512.0}},
        features={
            (scenario, seed): generator.standard_normal(8).astype(np.float32)
            for scenario in scenarios
            for seed in range(seeds)
        },
    )


def features_of(written: Baseline, root: Path) -> Path:
    return store.features_file(root / written.suite / written.name, written.features_sha256)


def edit(path: Path, **changed: Any) -> None:  # noqa: ANN401  JSON is anything
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changed}))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = write(measured(), tmp_path)
    found = load(tmp_path, "tiny", "base")
    assert found.model_dump() == written.model_dump()
    assert found.digest == written.digest != ""
    assert set(found.features) == set(written.features)
    for video, features in written.features.items():
        assert np.array_equal(found.features[video], features)
        assert found.features[video].dtype == np.float32
    assert found.seeds("s1") == tuple(range(12))
    assert found.seeds("elsewhere") == ()
    assert found.metric("clip", ["s1"])["s1"][3] == found.scores["s1"][3]["clip"]


def test_the_same_baseline_is_the_same_files(tmp_path: Path) -> None:
    first = write(measured(), tmp_path / "one")
    turned = measured()
    turned = turned.model_copy(
        update={"scores": {name: dict(reversed(of.items())) for name, of in reversed(turned.scores.items())}}
    )
    assert write(turned, tmp_path / "two").digest == first.digest
    files = sorted(path.name for path in (tmp_path / "one/tiny/base").iterdir())
    features = store.features_file(tmp_path, load(tmp_path / "one", "tiny", "base").features_sha256)
    assert files == ["baseline.json", features.name]


def test_seeds_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    write(measured(), tmp_path)
    text = (tmp_path / "tiny/base/baseline.json").read_text()
    assert text.index('"2": {') < text.index('"10": {')
    assert list(json.loads(text)) == sorted(json.loads(text))


@given(
    st.dictionaries(
        st.integers(0, 2**31),
        st.floats(allow_nan=False, allow_infinity=False, width=64),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=25, deadline=None)
def test_scores_come_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:  # noqa: ANN401  a dict
    root = tmp_path_factory.mktemp("store")
    one = measured().model_copy(
        update={
            "scores": {"s1": {seed: {"clip": value} for seed, value in values.items()}},
            "features": {("s1", seed): np.ones(2, np.float32) for seed in values},
        }
    )
    write(one, root)
    assert load(root, "tiny", "base").scores == one.scores


def test_no_baseline_names_the_next_command_and_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BaselineError) as missing:
        load(tmp_path, "tiny", "base")
    assert "there is no baseline 'base' of suite 'tiny'" in missing.value.message
    assert missing.value.next_command == "pytest --wanlora-suite tiny --update-baselines"
    with pytest.raises(BaselineError) as own:
        load(tmp_path, "tiny", "base", suite_option="own/tiny.yaml")
    assert own.value.next_command == "pytest --wanlora-suite own/tiny.yaml --update-baselines"
    write(measured(), tmp_path)
    with pytest.raises(BaselineError, match="Stored for this suite: base") as other:
        load(tmp_path, "tiny", "accepted")
    # the checkpoint that is gated is none to accept
    assert other.value.options == {"--wanlora-baseline": "base"}


def test_a_mistyped_baseline_names_the_near_one_wherever_it_lies(tmp_path: Path) -> None:
    with pytest.raises(BaselineError) as missing:
        load(tmp_path, "tiny", "acepted", others=["accepted", "base"])
    assert "did you mean accepted?\nStored for this suite: accepted, base." in missing.value.message
    assert missing.value.options == {"--wanlora-baseline": "accepted"}
    with pytest.raises(BaselineError) as nothing:
        load(tmp_path, "tiny", "acepted")
    assert nothing.value.options == {"--wanlora-baseline": "base"}


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_baseline_that_is_a_link_to_nothing_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "base").symlink_to("nowhere")
    place = tmp_path / "tiny" / "base"
    for read in (partial(load, tmp_path, "tiny", "base"), partial(load_folder, place, "tiny")):
        with pytest.raises(BaselineError, match="is a link to `nowhere`, which is not there") as caught:
            read()
        assert caught.value.next_command == f"ls -l {place}"


def test_a_baseline_is_measured_anew_with_the_checkpoint_that_it_is_of() -> None:
    base = measured()
    assert measure_again(base, "tiny") == "pytest --wanlora-suite tiny --update-baselines"
    of = {"name": "accepted", "candidate": {"file": "old one.safetensors"}, "scale": 0.8}
    assert measure_again(base.model_copy(update=of), "tiny") == (
        "pytest --wanlora-suite tiny --lora 'old one.safetensors' --update-baselines --wanlora-scale 0.8"
    )
    halves = {
        expert: {"file": f"{expert}.safetensors", "strength": strength}
        for expert, strength in (("high", 0.5), ("low", 1.0))
    }
    pair = {"name": "accepted", "candidate": {"file": "high.safetensors, low.safetensors", "experts": halves}}
    assert "--lora high=high.safetensors@0.5,low=low.safetensors " in measure_again(
        base.model_copy(update=pair), "tiny"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schema_version": 3}, "schema_version is 3; allowed: 1, 2"),
        ({"schema_version": None}, "schema_version is None; allowed: 1, 2"),
        ({"schema_version": 2.0}, "schema_version is 2.0; allowed: 1, 2"),
        ({"created": "2027-01-02T03:04:05Z"}, "its seal does not fit what it says: it was edited"),
        ({"sets": {}}, "its seal does not fit"),
        ({"versions": {"torch": "1.0"}}, "its seal does not fit"),
        ({"seal": ""}, "its seal does not fit"),
        ({"suite": "wan"}, "it is of suite 'wan'; allowed here: 'tiny'"),
        ({"name": "accepted"}, "it is the baseline 'accepted'; allowed here: 'base'"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"scores": {}}, "scores: "),
        ({"scores": {"s1": {"zero": {"clip": 0.5}}}}, r"scores\.s1\.zero"),
        ({"scores": {"s1": {"0": {"clip": "high"}}}}, r"scores\.s1\.0\.clip"),
        ({"scores": {"s1": {"0": {"clip": 0.5}, "1": {"motion": 0.5}}}}, "different metrics"),
        ({"scores": {"s1": {}}}, "no video"),
        (
            {"scores": {"s1": {"0": {"clip": 0.5}}}},
            r"features-[0-9a-f]{16}\.safetensors: s1: shape \(12, 8\); allowed: 1 rows",
        ),
        ({"scores": {"s3": {"0": {"clip": 0.5}}}}, r"s3: shape \(0, 0\)"),
        ({"features_sha256": "0" * 64}, "features-0{16}.safetensors: cannot be read"),
    ],
)
def test_a_damaged_baseline_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    write(measured(), tmp_path)
    edit(tmp_path / "tiny/base/baseline.json", **changed)
    with pytest.raises(BaselineError, match=words) as refused:
        load(tmp_path, "tiny", "base")
    assert refused.value.next_command is not None
    assert str(tmp_path) in refused.value.message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": 1, "scores": {"s": {"0": {"c": NaN}}}}']
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    write(measured(), tmp_path)
    (tmp_path / "tiny/base/baseline.json").write_text(text)
    with pytest.raises(BaselineError):
        load(tmp_path, "tiny", "base")


@pytest.mark.parametrize("damage", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_damaged_features_are_refused(tmp_path: Path, damage: bytes) -> None:
    features_of(write(measured(), tmp_path), tmp_path).write_bytes(damage)
    with pytest.raises(BaselineError, match=r"features-[0-9a-f]+\.safetensors: .*do not belong together"):
        load(tmp_path, "tiny", "base")


def test_missing_features_are_refused(tmp_path: Path) -> None:
    features_of(write(measured(), tmp_path), tmp_path).unlink()
    with pytest.raises(BaselineError, match=r"features-[0-9a-f]+\.safetensors: cannot be read"):
        load(tmp_path, "tiny", "base")


def test_one_edited_score_is_found_out(tmp_path: Path) -> None:
    write(measured(), tmp_path)
    path = tmp_path / "tiny/base/baseline.json"
    document = json.loads(path.read_text())
    document["scores"]["s2"]["3"]["clip"] *= 1.0 + 1e-12
    path.write_text(json.dumps(document))
    with pytest.raises(BaselineError, match="its seal does not fit") as refused:
        load(tmp_path, "tiny", "base")
    assert str(refused.value.next_command).startswith("pytest ")
    with pytest.raises(BaselineError, match="its seal does not fit"):
        load_folder(path.parent, "tiny")


def test_a_baseline_of_version_1_is_read(tmp_path: Path) -> None:
    written = write(measured(), tmp_path)
    features_of(written, tmp_path).rename(tmp_path / "tiny/base/features.safetensors")
    path = tmp_path / "tiny/base/baseline.json"
    document = {name: value for name, value in json.loads(path.read_text()).items() if name != "seal"}
    path.write_text(json.dumps({**document, "schema_version": 1}))
    assert load(tmp_path, "tiny", "base").scores == written.scores
    write(measured(seeds=13), tmp_path)
    assert not (tmp_path / "tiny/base/features.safetensors").exists(), "replaced, and removed then"


def test_features_that_an_update_has_just_replaced_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(measured(), tmp_path)
    real, reads = files.read_regular, []

    def read(path: Path, *, largest: int = 2**30) -> bytes:
        data = real(path, largest=largest)
        reads.append(path.name)
        if len(reads) == 1:
            write(measured(seeds=13), tmp_path)
        return data

    monkeypatch.setattr(store, "read_regular", read)
    assert load(tmp_path, "tiny", "base").seeds("s1") == tuple(range(13))


def test_what_a_process_left_that_died_is_removed_after_an_hour(tmp_path: Path) -> None:
    write(measured(), tmp_path)
    place = tmp_path / "tiny/base"
    old, new, other = (place / f".baseline.json-{8 * mark}" for mark in ("0a", "0b", "x"))
    for path in (old, new, other):
        path.write_text("{")
    folder = place / f".videos-{8 * '0c'}"
    folder.mkdir()
    for path in (old, folder):
        os.utime(path, (0, 0))
    write(measured(seeds=13), tmp_path)
    assert {path.name for path in place.glob(".*")} == {new.name, other.name}


def test_a_full_disk_between_the_files_leaves_the_old_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(measured(), tmp_path)
    other = measured()
    other = other.model_copy(update={"features": {video: -row for video, row in other.features.items()}})
    real = files.write_whole

    def crash(path: Path, data: bytes) -> None:
        if path.name == "baseline.json":
            raise OSError(28, os.strerror(28))
        real(path, data)

    monkeypatch.setattr(store, "write_whole", crash)
    with pytest.raises(BaselineError, match="No space left on device"):
        write(other, tmp_path)
    assert load(tmp_path, "tiny", "base").digest == before.digest
    assert not list(tmp_path.rglob(".*"))


def test_scores_and_features_must_be_of_the_same_videos(tmp_path: Path) -> None:
    one = measured()
    del one.features["s2", 3]
    with pytest.raises(BaselineError, match=r"scores and features differ, first in \('s2', 3\)"):
        write(one, tmp_path)
    assert not list(tmp_path.iterdir())


def test_features_that_are_not_finite_are_not_stored(tmp_path: Path) -> None:
    one = measured()
    one.features["s2", 3] = np.full(8, np.nan, np.float32)
    with pytest.raises(BaselineError, match="features of s2 are not finite"):
        write(one, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_baseline_may_lie_anywhere(tmp_path: Path) -> None:
    write(measured(), tmp_path)
    assert load_folder(tmp_path / "tiny/base", "tiny").name == "base"
    with pytest.raises(BaselineError, match="there is no baseline"):
        load_folder(tmp_path, "tiny")
