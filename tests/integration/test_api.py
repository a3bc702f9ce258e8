"""`pytest_wanlora.gate`: the run that pytest makes, from Python."""

from __future__ import annotations

import pytest

import pytest_wanlora
from pytest_wanlora.errors import CheckpointError, JobError, SettingsError
from tests.integration.conftest import Project


def test_it_returns_the_record_that_the_run_wrote(based: Project) -> None:
    record = pytest_wanlora.gate(
        ["good.safetensors", "bad.safetensors"], suite="fake.yaml", folder=based.path, output_dir="elsewhere"
    )
    assert {card.name: card.publishable for card in record.candidates} == {"good": True, "bad": False}
    assert record.exit_status == 1
    (folder,) = [path for path in (based.path / "elsewhere").iterdir() if not path.is_symlink()]
    assert folder.name == record.run_id
    assert pytest_wanlora.load_record(folder) == record
    receipt = pytest_wanlora.read_receipt(folder / "receipt-good.json")
    assert receipt.subject[0].name == "good.safetensors"
    verified = pytest_wanlora.verify_receipt(
        folder / "receipt-good.json", based.path / "good.safetensors", pytest_wanlora.Demands()
    )
    assert not verified.verified  # the run ended with exit code 1


def test_it_runs_with_workers_and_finds_the_folder_that_an_ini_file_names(based: Project) -> None:
    (based.path / "pytest.ini").write_text("[pytest]\nwanlora_output_dir = of-the-ini\n", encoding="utf-8")
    record = pytest_wanlora.gate(
        "good.safetensors", suite="fake.yaml", folder=based.path, pytest_arguments=["-n2"]
    )
    assert record.candidates[0].publishable
    assert (based.path / "of-the-ini" / record.run_id / "results.json").is_file()


def test_it_stores_a_baseline(project: Project) -> None:
    pytest_wanlora.gate([], suite="fake.yaml", folder=project.path, update_baselines=True)
    suite = pytest_wanlora.load_suite(project.path / "fake.yaml")
    baseline = pytest_wanlora.load_baseline(suite, project.path / "baselines", "base")
    assert baseline.seeds("test1_city") == (0, 1)


def test_an_error_of_the_run_has_its_own_class(project: Project) -> None:
    (project.path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors") as caught:
        pytest_wanlora.gate("broken.safetensors", suite="fake.yaml", folder=project.path)
    assert caught.value.next_command
    with pytest.raises(SettingsError, match="--wanlora-scale: '99' is not allowed"):
        pytest_wanlora.gate("good.safetensors", suite="fake.yaml", folder=project.path, scale=99)


def test_a_run_without_a_record_is_an_error(project: Project) -> None:
    with pytest.raises(JobError, match="pytest ended with exit code 4 and wrote no record"):
        pytest_wanlora.gate("good.safetensors", folder=project.path, pytest_arguments=["--no-such-option"])
