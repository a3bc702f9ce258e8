"""Train a LoRA of the embedded model with DiffSynth's own training code.

``python -m tools.tiny_world.train_lora --data data/urban --out build/lora --rate 1e-3`` trains one epoch and
writes ``epoch-0.safetensors``; ``--resume epoch-0.safetensors`` continues from a LoRA. The data set, the LoRA
layers, the loss, the loop and the file format are DiffSynth's; only what its example script takes from the
command line for the big models is fixed here for the small one.

`--max_timestep_boundary` and `--min_timestep_boundary` are DiffSynth's own options for a model with two
experts: its recipe trains the high-noise one with 0 to 0.417 and the low-noise one with 0.417 to 1, which at
its training shift of 5 part at timestep 875. `--extra_inputs input_image` gives the first frame, as
DiffSynth's recipe for TI2V-5B does. `--stack` fuses LoRAs before: the LoRA is trained on top of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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

    def __init__(
        self,
        tiny: Path,
        rank: int,
        resume: Path | None,
        device: torch.device,
        *,
        stack: Sequence[Path] = (),
        boundaries: tuple[float, float] = (0.0, 1.0),
        first_frame: bool = False,
    ) -> None:
        super().__init__()
        self.boundaries, self.first_frame = boundaries, first_frame
        register()
        self.pipe = WanVideoPipeline.from_pretrained(
            torch_dtype=torch.float32,
            device=device,
            model_configs=[
                ModelConfig(path=str(tiny / f"{part}.safetensors")) for part in ("dit", "text_encoder", "vae")
            ],
            tokenizer_config=ModelConfig(path=str(tiny / "tokenizer")),
        )
        for each in stack:
            self.pipe.load_lora(self.pipe.dit, str(each))
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
        latents = self.latents[data["video"]]
        inputs: dict[str, Tensor | float | bool] = dict(
            zip(("min_timestep_boundary", "max_timestep_boundary"), self.boundaries, strict=True)
        )
        if self.first_frame:
            # the VAE is causal: the first latent of a video is that of its first frame
            inputs |= {"first_frame_latents": latents[:, :, :1], "fuse_vae_embedding_in_latents": True}
        loss: Tensor = FlowMatchSFTLoss(
            self.pipe, input_latents=latents, context=self.contexts[data["prompt"]], **inputs
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
    parser.add_argument(
        "--stack", type=Path, nargs="*", default=(), help="LoRAs below the one that is trained"
    )
    parser.add_argument("--min_timestep_boundary", type=float, default=0.0)
    parser.add_argument("--max_timestep_boundary", type=float, default=1.0)
    parser.add_argument("--extra_inputs", choices=["input_image"], help="give the first frame")
    parser.add_argument("--seed", type=int, default=51)
    arguments = parser.parse_args()
    accelerate.utils.set_seed(arguments.seed)
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=arguments.accumulate)
    dataset = UnifiedDataset(
        base_path=str(arguments.data),
        metadata_path=str(arguments.metadata or arguments.data / "metadata.csv"),
    )
    model = TinyLoraTraining(
        arguments.tiny,
        arguments.rank,
        arguments.resume,
        accelerator.device,
        stack=arguments.stack,
        boundaries=(arguments.min_timestep_boundary, arguments.max_timestep_boundary),
        first_frame=arguments.extra_inputs is not None,
    )
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
