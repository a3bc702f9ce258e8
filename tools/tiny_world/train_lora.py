"""Train a LoRA of the embedded model with DiffSynth's own training code.

``python -m tools.tiny_world.train_lora --data data/urban --out build/lora --rate 1e-3`` trains one epoch and
writes ``epoch-0.safetensors``; ``--resume epoch-0.safetensors`` continues from a LoRA. The data set, the LoRA
layers, the loss, the loop and the file format are DiffSynth's; only what its example script takes from the
command line for the big models is fixed here for the small one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import accelerate
import numpy as np
import torch
from diffsynth.core import UnifiedDataset
from diffsynth.diffusion import DiffusionTrainingModule, FlowMatchSFTLoss, ModelLogger, launch_training_task
from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline, WanVideoUnit_PromptEmbedder
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_wanlora.tiny.registration import register
from tools.tiny_world.dataset import read_video
from tools.tiny_world.training import to_network

TARGETS = "q,k,v,o,ffn.0,ffn.2"
TINY = Path("pytest_wanlora/tiny")


class TinyLoraTraining(DiffusionTrainingModule):  # type: ignore[misc]  # DiffSynth publishes no types
    """What DiffSynth's example for Wan does, in float32 and without checkpointed gradients.

    Latents and prompt embeddings do not change while a LoRA of the DiT trains. They are made once, by the
    pipeline's own VAE and prompt unit, which leaves the DiT as a step's only work.
    """

    def __init__(self, tiny: Path, rank: int, resume: Path | None, device: torch.device) -> None:
        super().__init__()
        register()
        self.pipe = WanVideoPipeline.from_pretrained(
            torch_dtype=torch.float32,
            device=device,
            model_configs=[
                ModelConfig(path=str(tiny / f"{part}.safetensors")) for part in ("dit", "text_encoder", "vae")
            ],
            tokenizer_config=ModelConfig(path=str(tiny / "tokenizer")),
        )
        self.switch_pipe_to_training_mode(
            self.pipe,
            lora_base_model="dit",
            lora_target_modules=TARGETS,
            lora_rank=rank,
            lora_checkpoint=None if resume is None else str(resume),
        )
        self.latents: dict[str, Tensor] = {}
        self.contexts: dict[str, Tensor] = {}

    @torch.no_grad()
    def prepare(self, folder: Path, rows: list[dict[str, str]]) -> None:
        """Encode all videos and prompts of a data set; latents stay beside the videos for the next run."""
        prompts = WanVideoUnit_PromptEmbedder()
        kept = folder / "latents.safetensors"
        if kept.exists():
            self.latents.update(load_file(kept, device=str(self.pipe.device)))
        missing = [row["video"] for row in rows if row["video"] not in self.latents]
        for start in range(0, len(missing), 16):
            names = missing[start : start + 16]
            pixels = torch.from_numpy(np.stack([read_video(str(folder / name)) for name in names]))
            encoded = self.pipe.vae.model.encode(to_network(pixels.to(self.pipe.device)), self.pipe.vae.scale)
            self.latents.update(zip(names, (part.clone() for part in encoded.split(1)), strict=True))
        save_file(self.latents, kept)
        for prompt in sorted({row["prompt"] for row in rows}):
            self.contexts[prompt] = prompts.encode_prompt(self.pipe, prompt)

    def forward(self, data: dict[str, str]) -> Tensor:
        """Loss of one video."""
        loss: Tensor = FlowMatchSFTLoss(
            self.pipe, input_latents=self.latents[data["video"]], context=self.contexts[data["prompt"]]
        )
        return loss


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, help="default: metadata.csv of the data folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", type=Path, default=TINY, help="folder of the model's weights")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--accumulate", type=int, default=1, help="videos a step")
    parser.add_argument("--resume", type=Path, help="go on from this LoRA")
    parser.add_argument("--seed", type=int, default=51)
    arguments = parser.parse_args()
    accelerate.utils.set_seed(arguments.seed)
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=arguments.accumulate)
    dataset = UnifiedDataset(
        base_path=str(arguments.data),
        metadata_path=str(arguments.metadata or arguments.data / "metadata.csv"),
    )
    model = TinyLoraTraining(arguments.tiny, arguments.rank, arguments.resume, accelerator.device)
    model.prepare(arguments.data, dataset.data)
    launch_training_task(
        accelerator,
        dataset,
        model,
        ModelLogger(str(arguments.out), remove_prefix_in_ckpt="pipe.dit."),
        learning_rate=arguments.rate,
        num_epochs=arguments.epochs,
    )


if __name__ == "__main__":
    main()
