"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import cli, environment, results, testing
from pytest_wanlora import suite as suites
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.publishing import receipt as receipts
from pytest_wanlora.suite import Suite, hub
from tests import loras
from tests.unit.reports import gated


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    state = loras.random_lora(dim=192, ffn_dim=768, layers=("self_attn.q", "ffn.0", "ffn.2"), dtype="F32")
    return loras.write(tmp_path / "epoch-2.safetensors", state)


WIDE = loras.random_lora(dim=5120, ffn_dim=13824, blocks=1, rank=1, layers=("self_attn.q",))
HEADER = {"ss_base_model_version": "wan2.2-t2v-a14b"}


def card_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """The card that `inspect --json` prints of one checkpoint."""
    assert cli.main(["inspect", "--json", *map(str, arguments)]) == code
    (card,) = json.loads(capsys.readouterr().out)
    assert isinstance(card, dict)
    return card


class TestInspect:
    def test_prints_a_card(self, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", str(lora)]) == 0
        printed = capsys.readouterr().out
        for words in (
            "epoch-2",
            "diffsynth, float32",
            "6 in 2 of 8 blocks",
            "rank         4; no alpha is given, so it is equal to the rank\n",
            "dim 192, ffn_dim 768, blocks 2",
            "good",
        ):
            assert words in printed

    def test_names_what_a_folder_holds_in_other_formats(
        self, lora: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(lora.parent)
        lora.with_name("epoch-3.pt").touch()
        lora.rename(lora.with_suffix(".SAFETENSORS"))
        assert cli.main(["inspect", str(lora.parent)]) == 0
        printed = capsys.readouterr()
        assert "epoch-2.SAFETENSORS, " in printed.out
        assert "left out: epoch-3.pt; only .safetensors files are read" in printed.err

    def test_prints_json(self, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", "--json", str(lora.parent)]) == 0
        (card,) = json.loads(capsys.readouterr().out)
        assert card["name"] == "epoch-2"
        assert card["suite"] == "tiny"

    def test_an_unhealthy_file_is_1(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = testing.write_lora(tmp_path / "zero.safetensors", size=0.0)
        assert cli.main(["inspect", str(path)]) == 1
        assert "change nothing (B @ A is zero)" in capsys.readouterr().out

    def test_a_file_that_no_suite_can_gate_is_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state = loras.random_lora(dim=192, ffn_dim=768, blocks=8, layers=("cross_attn.q", "cross_attn.k_img"))
        path = loras.write(tmp_path / "image.safetensors", state)
        assert cli.main(["inspect", str(path)]) == 1
        printed = capsys.readouterr().out
        assert "tiny: trained for an image-to-video model (k_img): 8 targets that tiny lacks" in printed
        assert "good" not in printed
        assert cli.main(["inspect", "--json", str(path)]) == 1
        (card,) = json.loads(capsys.readouterr().out)
        assert card["suite"] is None
        assert card["misfits"] == [
            "tiny: trained for an image-to-video model (k_img): 8 targets that tiny lacks"
        ]

    def test_a_refused_file_is_1_and_does_not_hide_the_others(
        self, lora: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        loras.write(lora.with_name("a.safetensors"), {"blocks.0.x.weight": loras.encode([1.0])})
        assert cli.main(["inspect", "--json", str(lora.parent)]) == 1
        refused, card = json.loads(capsys.readouterr().out)
        assert "no LoRA in it" in refused["refused"]["message"]
        assert card["name"] == "epoch-2"
        assert cli.main(["inspect", str(lora.parent)]) == 1
        captured = capsys.readouterr()
        assert "no LoRA in it" in captured.err
        assert "epoch-2" in captured.out

    def test_some_blocks_are_counted_against_the_model(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = loras.write(tmp_path / "a.safetensors", loras.random_lora(dim=192, ffn_dim=768, blocks=5))
        assert cli.main(["inspect", str(path)]) == 0
        assert "50 in 5 of 8 blocks" in capsys.readouterr().out

    def test_programs_are_chosen(self, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", str(lora), "--for", "diffsynth, musubi"]) == 0
        printed = capsys.readouterr().out
        assert "programs     read by: diffsynth; not read by: musubi" in printed
        assert "in comfyui" not in printed
        assert cli.main(["inspect", "--json", str(lora), "--for", "musubi"]) == 0
        (card,) = json.loads(capsys.readouterr().out)
        (reading,) = card["reads_in"]
        assert (reading["program"], reading["state"], len(reading["dropped_keys"])) == (
            "musubi",
            "nothing",
            12,
        )

    @pytest.mark.parametrize("programs", ["comfy", ",", "diffusers,x"])
    def test_an_unknown_program_is_4(
        self, lora: Path, capsys: pytest.CaptureFixture[str], programs: str
    ) -> None:
        assert cli.main(["inspect", str(lora), "--for", programs]) == 4
        assert "allowed: comfyui, diffusers, diffsynth, wan2gp, musubi" in capsys.readouterr().err

    @pytest.mark.parametrize("given", ["{}/x.safetensors", "high={}/x.safetensors", "hihg={}/x.safetensors"])
    def test_a_missing_file_is_4(
        self, given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["inspect", given.format(tmp_path)]) == 4
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "is no expert" in captured.err if "hihg" in given else "no such file" in captured.err

    def test_a_file_of_another_model_is_1(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = testing.write_lora(tmp_path / "narrow.safetensors")
        assert cli.main(["inspect", str(path)]) == 1
        printed = capsys.readouterr().out
        assert "no packaged suite fits; another model needs a suite of its own" in printed
        assert "good" not in printed

    @pytest.mark.parametrize(
        ("name", "header", "fitting"),
        [
            ("x", {}, ["wan2.1-t2v-14b", "wan2.1-i2v-14b", "wan2.2-t2v-a14b", "wan2.2-i2v-a14b"]),
            ("x_low_noise", HEADER, ["wan2.2-t2v-a14b"]),
            ("x", {"ss_base_model_version": "wan2.2"}, ["wan2.2-t2v-a14b", "wan2.2-i2v-a14b"]),
        ],
    )
    def test_the_suites_that_fit_are_those_that_the_gate_names(
        self,
        name: str,
        header: dict[str, str],
        fitting: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = loras.write(Path(f"{name}.safetensors"), WIDE, header)
        card = card_of(capsys, path)
        assert (card["suite"], card["suites"], card["misfits"]) == (None, fitting, [])
        with pytest.raises(SuiteError) as caught:
            suites.find_for(checkpoints.read(path))
        assert f"({', '.join(fitting)})" in caught.value.message
        half = f"high=FILE,low={path}" if "low" in name else f"high={path},low=FILE"
        for command, suite in zip(card["gates"], fitting, strict=True):
            given = half if "a14b" in suite else path
            assert command == f"pytest --lora {given} --wanlora-suite {suite}"
        assert cli.main(["inspect", str(path)]) == 0
        printed = capsys.readouterr().out
        assert f"gate         {card['gates'][0]}\n" in printed
        alone = f"{fitting[0]}, as half of a pair, by ss_base_model_version 'wan2.2-t2v-a14b'"
        assert (alone if len(fitting) == 1 else "fits several packaged suites") in printed

    def test_a_model_of_the_same_shapes_that_no_suite_has_is_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = loras.write(tmp_path / "x.safetensors", WIDE, {"ss_base_model_version": "wan2.1-vace-14b"})
        card = card_of(capsys, path, code=1)
        assert (card["suites"], card["gates"]) == ([], [])
        assert "of VACE, which no packaged suite has" in card["misfits"][0]

    def test_the_header_decides(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        header = {"ss_base_model_version": "wan2.1_14b_t2v"}
        path = loras.write(tmp_path / "x.safetensors", WIDE, header)
        card = card_of(capsys, path)
        assert (card["suite"], card["gates"]) == ("wan2.1-t2v-14b", [])
        assert cli.main(["inspect", str(path)]) == 0
        assert "wan2.1-t2v-14b, by ss_base_model_version 'wan2.1_14b_t2v'" in capsys.readouterr().out

    def test_a_pair_has_the_card_of_both(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for seed, name in enumerate(("a_high", "a_low")):
            loras.write(Path(f"{name}.safetensors"), loras.random_lora(dim=192, ffn_dim=768, seed=seed))
        given = "high=a_low.safetensors,low=a_high.safetensors@0.5"
        card = card_of(capsys, given)
        assert (card["name"], list(card["experts"])) == ("a", ["high", "low"])
        # only its name chooses this suite
        assert (card["suite"], card["suites"]) == (None, ["tiny-pair"])
        assert card["gates"] == [f"pytest --lora {given} --wanlora-suite tiny-pair"]
        assert cli.main(["inspect", given]) == 0
        printed = capsys.readouterr().out
        assert "tiny-pair, by name" in printed
        assert "'a_low' says low" in printed
        assert ", strength 0.5\n" in printed
        assert "  model        dim 192, ffn_dim 768, blocks 2\n" in printed
        for name in ("t2v", "i2v"):
            header = {"ss_base_model_version": f"wan2.2_{name}_14b"}
            loras.write(Path(f"{name}.safetensors"), WIDE, header)
        capsys.readouterr()
        assert cli.main(["inspect", "high=t2v.safetensors,low=i2v.safetensors"]) == 0
        assert (
            "the headers of its halves name different models, t2v.safetensors says ss_base_model_version "
            "'wan2.2_t2v_14b' and i2v.safetensors says ss_base_model_version 'wan2.2_i2v_14b'"
        ) in capsys.readouterr().out
        assert "different models" not in json.dumps(card)

    def test_the_sizes_of_halves_that_differ_are_told_of_each(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        loras.write(Path("a_high.safetensors"), loras.random_lora(dim=192, ffn_dim=768))
        loras.write(Path("narrow.safetensors"), loras.random_lora(dim=16))
        assert cli.main(["inspect", "high=a_high.safetensors,low=narrow.safetensors"]) == 1
        sizes = "high dim 192, ffn_dim 768, blocks 2; low dim 16, ffn_dim 32, blocks 2"
        printed = capsys.readouterr().out
        assert f"  model        {sizes}\n" in printed
        assert "no packaged suite fits; tiny-pair: low-noise LoRA: dim: 16; allowed: 192" in printed
        assert cli.main(["inspect", "high=a_high.safetensors"]) == 0
        assert "only the high-noise expert has a LoRA" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "marks", [("transformer_1.", "transformer_2."), ("transformer.", "transformer_2.")]
    )
    def test_one_file_with_both_experts_is_split(
        self,
        marks: tuple[str, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        state = {f"{mark}{key}": value for mark in marks for key, value in WIDE.items()}
        path = loras.write(Path("both.safetensors"), state)
        card = card_of(capsys, path)
        assert [half["targets"] for half in card["experts"].values()] == [1, 1]
        assert card["suites"] == ["wan2.2-t2v-a14b", "wan2.2-i2v-a14b"]
        assert card["gates"][0] == f"pytest --lora high={path},low={path} --wanlora-suite wan2.2-t2v-a14b"
        assert cli.main(["inspect", str(path)]) == 0
        assert "  low noise    rank 1, 1 target, norm " in capsys.readouterr().out


class TestShow:
    def test_without_runs_is_4(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["show", "--runs", str(tmp_path)]) == 4
        assert "no run has a record here" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["show", "compare"])
    def test_a_name_that_is_no_path_leads_to_the_runs(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        command: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main([command, "latest"]) == 4
        said = capsys.readouterr().err
        assert "a run's results.json or its folder, such as .wanlora/runs/latest" in said
        assert said.endswith("next: pytest --lora FILE\n")
        (tmp_path / ".wanlora" / "runs").mkdir(parents=True)
        assert cli.main([command, "latest"]) == 4
        assert capsys.readouterr().err.endswith("next: ls -l .wanlora/runs\n")

    def test_where_nothing_ran_the_first_run_is_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main(["show"]) == 4
        assert capsys.readouterr().err.endswith("next: pytest --lora FILE\n")

    def test_a_damaged_record_is_4(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "results.json").write_text("{")
        assert cli.main(["show", str(tmp_path)]) == 4
        assert "not JSON" in capsys.readouterr().err


class TestDoctor:
    def test_a_suite_with_all_that_it_needs_is_0(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["doctor", "--suite", "tiny"]) == 0
        assert "suite tiny on cpu, named by the suite: everything is there" in capsys.readouterr().out

    def test_all_that_is_missing_is_named_and_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = testing.write_suite(tmp_path)
        (tmp_path / "fake-files" / "vae.safetensors").unlink()
        (tmp_path / "fake-files" / "reference.safetensors").unlink()
        assert cli.main(["doctor", "--suite", str(path)]) == 1
        out = capsys.readouterr().out
        assert "suite fake on cpu: 3 missing" in out
        assert "vae.safetensors: no such file" in out
        assert "reference.safetensors: no such file" in out
        assert "there is no baseline 'base'" in out

    @pytest.mark.parametrize(
        ("device", "gpu", "said"),
        [
            ("auto", "A", "suite fake on A: 1 missing\n"),
            ("auto", None, "suite fake on cpu: 1 missing\n"),
            ("cpu", "A", "suite fake on cpu, named by the suite: 1 missing\n"),
            ("cuda", "A", "suite fake on A, named by the suite: 1 missing\n"),
            ("cuda", None, "fake.yaml:1: device is cuda, and no such GPU is visible\nnext: nvidia-smi"),
        ],
    )
    def test_the_device_of_each_suite(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        device: str,
        gpu: str | None,
        said: str,
    ) -> None:
        monkeypatch.setattr(environment, "gpu_name", lambda number=0: gpu)
        path = testing.write_suite(tmp_path)
        path.write_text(f"device: {device}\n{path.read_text()}")
        assert cli.main(["doctor", "--suite", str(path)]) == 1  # it has no baseline
        assert said in capsys.readouterr().out

    def test_the_suite_of_pytests_settings_comes_first_and_the_hub_is_asked_once(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def listing(repository: str) -> str:
            asked.append(repository)
            return "the hub cannot be reached (ConnectError)"

        monkeypatch.setattr(hub, "_listing", listing)
        testing.write_suite(tmp_path)
        (tmp_path / "pytest.ini").write_text("[pytest]\nwanlora_suite = fake.yaml\n", encoding="utf-8")
        (tmp_path / "sub").mkdir()
        monkeypatch.chdir(tmp_path / "sub")
        assert cli.main(["doctor"]) == 1
        lines = capsys.readouterr().out.splitlines()
        found = [line for line in lines if line.startswith("suite ")]
        assert found[0] == "suite fake on cpu: 1 missing"
        assert lines[lines.index(found[0]) + 1].startswith(f"1. {tmp_path}/baselines/fake/base: there is no")
        # a line each of the others, and the command for more
        assert lines[lines.index(found[1]) :] == found[1:]
        assert len(found) == 1 + len(suites.packaged())
        (line,) = (each for each in found if each.startswith("suite wan2.2-ti2v-5b on "))
        assert line.endswith("missing; next: python -m pytest_wanlora doctor --suite wan2.2-ti2v-5b")
        # what the first suite that lacks files needs, and nothing once the hub did not answer
        assert len(asked) == len(set(asked))
        assert "Wan-AI/Wan2.1-T2V-1.3B" in asked
        assert "Wan-AI/Wan2.2-TI2V-5B" not in asked

    def test_what_other_suites_lack_is_nothing_to_a_project_that_names_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub, "_listing", lambda repository: "the hub cannot be reached")
        (tmp_path / "pytest.ini").write_text("[pytest]\nwanlora_suite = tiny\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert cli.main(["doctor"]) == 0
        assert " missing; next: " in capsys.readouterr().out
        (tmp_path / "pytest.ini").unlink()
        assert cli.main(["doctor"]) == 1

    @pytest.mark.parametrize(
        ("settings", "said", "following"),
        [
            ("wanlora_suite = fake.yaml", "fake.yaml:1: sedes: unknown key", "sed -n 1p "),
            ("wanlora_sute = fake.yaml", "pytest.ini: wanlora_sute: no such key", "grep -n wanlora_sute "),
            ("addopts = --nonsense", "pytest has no settings of this plugin here", "pytest --trace-config"),
        ],
    )
    def test_settings_with_which_no_gate_can_start_are_an_error(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        settings: str,
        said: str,
        following: str,
    ) -> None:
        path = testing.write_suite(tmp_path)
        path.write_text(f"sedes: 1\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{settings}\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert cli.main(["doctor"]) == 4
        error = capsys.readouterr().err
        assert said in error
        assert f"\nnext: {following}" in error

    def test_the_nodes_of_a_cluster_are_looked_at_for_the_suite_of_pytests_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_at = []

        def examine_for(address: str, suite: Suite, *_: object, **__: object) -> None:
            looked_at.append((address, suite.name))
            raise SuiteError("seen")

        monkeypatch.setattr("pytest_wanlora.run.remote.examine_for", examine_for)
        testing.write_suite(tmp_path)
        (tmp_path / "pytest.ini").write_text("[pytest]\nwanlora_suite = fake.yaml\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert cli.main(["ray", "doctor", "auto"]) == 4
        assert looked_at == [("auto", "fake")]

    @pytest.mark.parametrize("forbidden", [True, False])
    def test_byte_code_that_is_missing_and_will_be_is_told_of_as_slow(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        forbidden: bool,
    ) -> None:
        monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
        monkeypatch.setattr(sys, "dont_write_bytecode", forbidden)
        assert cli.main(["doctor", "--suite", "tiny"]) == 0
        told = "slow: Python has no byte code of torch, transformers, diffsynth" in capsys.readouterr().out
        assert told == forbidden


@pytest.mark.parametrize(("arguments", "code"), [([], 4), (["nonsense"], 4), (["--help"], 0)])
def test_usage(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == code
    assert "COMMAND" in "".join(capsys.readouterr())


def test_no_command_needs_torch_or_pytest(lora: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gated"
    folder.mkdir()
    run, record, file = folder / "results.json", gated.record(), gated.checkpoint_file(folder)
    results.write(record, run)
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(receipts.canonical(receipts.statement(record, "epoch-2")))
    commands = [["inspect", lora], ["show", run], ["compare", run], ["verify", receipt, file]]
    code = (
        "import sys; from pytest_wanlora import checkpoint; from pytest_wanlora.cli import main; "
        f"checkpoint.weights(checkpoint.read({str(lora)!r})); "
        f"codes = [main(command) for command in {[list(map(str, each)) for each in commands]}]; "
        "sys.exit(sorted({'torch', 'diffsynth', 'pytest'} & set(sys.modules)) or sum(codes))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_it_runs_as_a_module(lora: Path) -> None:
    command = [sys.executable, "-m", "pytest_wanlora", "inspect", str(lora)]
    subprocess.run(command, check=True, capture_output=True)
