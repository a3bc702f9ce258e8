"""A suite with a subject on the embedded model: a LoRA that learned nothing fails the demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import save_file

from pytest_wanlora.environment import Environment
from pytest_wanlora.run.opening import open_gate
from pytest_wanlora.run.update_baseline import store
from pytest_wanlora.studio.producer import StudioProducer
from pytest_wanlora.suite import Suite, packaged
from pytest_wanlora.verdict.judgement import ReasonCode, Verdict
from tests.unusual import settings_of
from tools.tiny_world.dataset import write_video
from tools.tiny_world.draw import draw
from tools.tiny_world.factors import SCENARIOS


def write_subject_suite(folder: Path) -> None:
    """`runner.yaml`, with drawn pictures of a runner as references, and three drawn videos as training."""
    suite = yaml.safe_load(packaged()["tiny"].read_text(encoding="utf-8"))
    suite["sampling"] |= {"height": 64, "width": 96, "steps": 1, "cfg_scale": 1.0}
    suite |= {
        "name": "runner",
        "limits": [],
        "seeds": {"first": 3, "most": 3},
        "subject": {"trigger": "zqx", "references": "references", "training": "clips/metadata.csv"},
        "demands": {"likeness": {"gain": 0.5}},
        "scenarios": [
            {"id": "street", "category": "urban", "prompt": "{trigger} in a Korean city at night"},
        ],
    }
    (folder / "runner.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    drawn = draw("action", np.repeat([list(SCENARIOS["action"])], 6, axis=0), seed=3).numpy()
    for name in ("references", "clips"):
        (folder / name).mkdir()
    rows = ["video,prompt"]
    for number, video in enumerate(drawn):
        if number < 3:
            Image.fromarray(video[4]).save(folder / f"references/{number}.png")
        else:
            write_video(folder / f"clips/{number}.mp4", video)
            rows.append(f"{number}.mp4,zqx on a track")
    (folder / "clips/metadata.csv").write_text("\n".join(rows), encoding="utf-8")


def test_a_lora_that_learned_nothing_fails_the_demand(tmp_path: Path) -> None:
    write_subject_suite(tmp_path)
    rng = np.random.default_rng(0)
    layer = "blocks.0.self_attn.q.lora_{}.default.weight"
    shapes = {layer.format("A"): (2, 192), layer.format("B"): (192, 2)}
    lora = tmp_path / "nothing.safetensors"
    save_file({name: (0.02 * rng.normal(size=of)).astype(np.float32) for name, of in shapes.items()}, lora)
    suite = str(tmp_path / "runner.yaml")
    producers: list[StudioProducer] = []

    def once(suite: Suite, environment: Environment) -> StudioProducer:
        # the model is loaded once for both gates
        producers[:] = producers or [StudioProducer(suite, environment, previews=False)]
        return producers[0]

    based = open_gate(settings_of(tmp_path, suite=suite, update_baselines=True), make_producer=once)
    based.prepare()
    store(based, based.judge, based.base)
    gate = open_gate(settings_of(tmp_path, (lora,), suite=suite, scales=(1.0,)), make_producer=once)
    gate.prepare()
    judged = {item: gate.judge.judgement(item) for item in gate.items}
    assert [str(item) for item, each in judged.items() if each.verdict.fails] == [
        "test_question[nothing-street-likeness]"
    ]
    asked = {item.metric: each for item, each in judged.items() if item.kind == "question"}
    assert list(asked) == ["bleed", "likeness", "collapse", "copies"]
    assert asked["likeness"].code in (ReasonCode.LEARNED_NOT, ReasonCode.LEARNED_UNPROVEN)
    assert {asked[name].verdict for name in ("bleed", "collapse", "copies")} == {Verdict.PASS}
    gate.finish()
    producers[0].close()
