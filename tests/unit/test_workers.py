"""GPUs are dealt out evenly and only from the caller's own; workers learn the run's folder."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wanlora import workers
from pytest_wanlora.workers import Controller, Gpus


def _node(name: str) -> Any:  # noqa: ANN401 - a stand-in for xdist's class
    return SimpleNamespace(gateway=SimpleNamespace(id=name), workerinput={})


class TestGpus:
    def test_each_worker_gets_its_own(self) -> None:
        gpus = Gpus(["0", "1", "2"])
        assert [gpus.assign(f"gw{number}") for number in range(3)] == ["0", "1", "2"]

    def test_more_workers_than_gpus_share_evenly(self) -> None:
        gpus = Gpus(["4", "7"])
        assert [gpus.assign(f"gw{number}") for number in range(5)] == ["4", "7", "4", "7", "4"]

    def test_the_gpu_of_a_dead_worker_goes_to_its_replacement(self) -> None:
        gpus = Gpus(["0", "1", "2"])
        for number in range(3):
            gpus.assign(f"gw{number}")
        gpus.release("gw1")
        assert gpus.assign("gw3") == "1"

    def test_without_gpus_nothing_is_dealt(self) -> None:
        assert Gpus([]).assign("gw0") is None

    @pytest.mark.parametrize(
        ("listed", "count", "expected"),
        [
            ("2,3", 2, ("2", "3")),
            (" 5 , GPU-aa", 2, ("5", "GPU-aa")),
            ("", 0, ()),
            (None, 4, ("0", "1", "2", "3")),
            (None, 0, ()),
            ("0,1,2,3", 2, ("0", "1")),
        ],
    )
    def test_only_what_the_caller_left_visible(
        self, monkeypatch: pytest.MonkeyPatch, listed: str | None, count: int, expected: tuple[str, ...]
    ) -> None:
        monkeypatch.setattr(workers, "visible_gpus", lambda: count)
        if listed is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
        assert Gpus.visible().names == expected


class TestController:
    def test_tells_each_worker_the_folder_and_its_gpu(self, tmp_path: Path) -> None:
        controller = Controller(tmp_path, Gpus(["6", "7"]))
        nodes = [_node("gw0"), _node("gw1")]
        for node in nodes:
            controller.pytest_configure_node(node)
        assert [node.workerinput["wanlora"] for node in nodes] == [
            {"run_folder": str(tmp_path), "gpu": "6", "handover": ""},
            {"run_folder": str(tmp_path), "gpu": "7", "handover": ""},
        ]

    def test_remembers_what_was_collected_and_who_died(self, tmp_path: Path) -> None:
        controller = Controller(tmp_path, Gpus(["6", "7"]))
        for name in ("gw0", "gw1", "gw2"):
            controller.pytest_configure_node(_node(name))
        controller.pytest_xdist_node_collection_finished(_node("gw0"), ["a", "b"])
        controller.pytest_testnodedown(_node("gw0"), "Not properly terminated")
        controller.pytest_testnodedown(_node("gw1"), None)
        # whatever xdist hands over as the error
        controller.pytest_testnodedown(_node("gw2"), "")
        assert controller.expected == ("a", "b")
        assert controller.died == ["gw0", "gw2"]


class TestOrders:
    def test_a_worker_sees_its_gpu_alone(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
        config: Any = SimpleNamespace(
            workerinput={
                "wanlora": {"run_folder": str(tmp_path), "gpu": "7", "handover": "told"},
                "workerid": "gw1",
                "workercount": 2,
            }
        )
        orders = workers.read_worker_config(config)
        assert orders == workers.WorkerConfig(
            run_folder=tmp_path, gpu="7", name="gw1", workers=2, handover="told"
        )
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"

    def test_other_processes_keep_theirs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
        assert workers.read_worker_config(pytest.Config.__new__(pytest.Config)) is None
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "6,7"


def test_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [workers.share_of_cores(count) for count in (1, 2, 3, 16)] == [8, 4, 2, 1]
