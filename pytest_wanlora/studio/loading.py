"""Load the parts of a suite's model into a DiffSynth pipeline."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.errors import StudioError, WanloraError
from pytest_wanlora.studio.imports import import_for_good
from pytest_wanlora.studio.memory import explained
from pytest_wanlora.studio.silence import quiet
from pytest_wanlora.suite import (
    check_digests,
    hub,
    option_value,
    references,
    refuse_repeated,
    resolve,
    stated,
    verify,
)
from pytest_wanlora.suite.models import register

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_wanlora.environment import Environment
    from pytest_wanlora.studio.weights import Reading
    from pytest_wanlora.suite import Suite

_WORDS: Final = {
    "digests": "checking the model's files",
    "imports": "importing torch and DiffSynth",
    "prompts": "encoding the prompts",
    "loading": "loading the model",
}


class Loader:
    """Loads the parts of a suite's model.

    Args:
        device: `"cpu"` or `"cuda:N"`.
        threads: CPU threads of torch; None leaves torch's own choice.
        say: Is told what is done, in words, whenever that changes.

    Attributes:
        seconds: What was spent so far, by `digests`, `imports`, `prompts`, `loading`.
    """

    def __init__(
        self,
        suite: Suite,
        environment: Environment,
        device: str,
        threads: int | None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.say = say
        self.suite = suite
        self.environment = environment
        self.device = device
        self.threads = threads
        self.seconds: dict[str, float] = {}
        # what renders, each part by the keys of its files
        # the high-noise expert first: DiffSynth tells experts apart by nothing but the order
        self._renders = [
            [f"{key}[{number}]" for number in range(len(weights))]
            for key, weights in suite.model.denoisers.values()
        ]
        self._renders += [["model.vae"], *([["model.image_encoder"]] if suite.model.image_encoder else [])]
        self._begun: dict[tuple[str, ...], tuple[list[Path], Reading | None]] = {}

    def prepare(self) -> None:
        """Check the files, then import what is needed to load them.

        Raises:
            SuiteError: A file of the suite is missing or not the one that it states.
            StudioError: torch cannot use the device.
        """
        with self._timed("digests"):
            check_digests(self.suite, skip=("scoring.reference",))
        with self._timed("imports"), quiet():
            import_for_good("torch")
            import torch

            if self.device != "cpu" and not torch.cuda.is_available():
                raise StudioError(
                    f"torch {torch.__version__} cannot use the GPU ({self.environment.device_name})",
                    next_command="install a torch build that fits the driver, or give --wanlora-device cpu",
                )
            if self.device == "cpu" and self.threads is not None:
                torch.set_num_threads(self.threads)
            with self._failures_named():
                import_for_good("diffsynth.pipelines.wan_video")
                if self.suite.model.register is not None:
                    register(self.suite.model.register)

    def read_ahead(self) -> None:
        """Begin to read what `pipeline` loads, where a GPU has room for it; `pipeline` waits for the rest.

        Raises:
            StudioError: The files do not load, or the GPU has no room for them after all.
            SuiteError: A file of the hub is not the one that the suite states.
        """
        with self._timed("loading"), quiet(), self._loading():
            for keys in self._renders:
                self._begun[tuple(keys)] = self._begin(keys)

    def pipeline(self) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        """Load the denoiser and the VAE.

        Raises:
            StudioError: They do not load, or the suite's sizes are not the model's.
            SuiteError: A file of the hub is not the one that the suite states.
        """
        with self._timed("loading"), quiet():
            pipe = self._load(self._renders, tokenizer=False)
            experts = ("dit2",) if self.suite.model.experts else ()
            image = ("image_encoder",) if self.suite.model.image_encoder else ()
            self._check_parts(pipe, ("dit", *experts, "vae", *image))
            self._check_experts(pipe)
            self._check_sizes(pipe)
        return pipe

    def files(self, key: str) -> list[Path]:
        """The files of a key of the suite, downloaded if they are the hub's.

        Raises:
            StudioError: They cannot be fetched.
            SuiteError: One of them is missing or not the one that the suite states.
        """
        return self._paths(key)

    def embeddings(self, prompts: Sequence[str]) -> list[Tensor]:
        """Load the text encoder, encode prompts, and give its memory back.

        Returns:
            One (1, L, D) each, on the device.
        """
        import torch

        with self._timed("prompts"), quiet():
            pipe = self._load([["model.text_encoder"]], tokenizer=True)
            self._check_parts(pipe, ("text_encoder", "tokenizer"))
            units = [unit for unit in pipe.units if type(unit).__name__ == "WanVideoUnit_PromptEmbedder"]
            if len(units) != 1:
                raise StudioError(
                    "this DiffSynth encodes prompts in another way (no WanVideoUnit_PromptEmbedder)",
                    next_command="pip install 'diffsynth==2.1.12'",
                )
            with torch.no_grad(), explained("encoding the prompts", self.device, self.suite):
                pipe.load_models_to_device(["text_encoder"])
                found = [units[0].encode_prompt(pipe, prompt) for prompt in prompts]
            del pipe, units
            gc.collect()
            if self.device != "cpu":
                torch.cuda.empty_cache()
        return found

    def _load(self, parts: Sequence[Sequence[str]], *, tokenizer: bool) -> Any:  # noqa: ANN401
        import torch
        from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline

        with self._loading():
            return WanVideoPipeline.from_pretrained(
                torch_dtype=getattr(torch, self.suite.sampling.dtype),
                device=self.device,
                model_configs=[self._config(keys) for keys in parts],
                tokenizer_config=ModelConfig(path=_path(self._paths("model.tokenizer")))
                if tokenizer
                else None,
                vram_limit=self.suite.model.vram_limit,
            )

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        with explained("loading the model", self.device, self.suite), self._failures_named():
            yield

    @contextlib.contextmanager
    def _failures_named(self) -> Iterator[None]:
        import torch

        try:
            yield
        except (WanloraError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if isinstance(error, ValueError) and str(error).startswith("Cannot detect the model type"):
                raise self._unknown_model(str(error)) from error
            raise StudioError(
                f"{self.suite.path}: DiffSynth cannot load the model: {type(error).__name__}: {error}",
                next_command=f"python -m pytest_wanlora doctor --suite {option_value(self.suite)}",
            ) from error

    def _unknown_model(self, message: str) -> StudioError:
        """Say which key names files that DiffSynth does not know by the names of their tensors."""
        parts = [key for key, _ in references(self.suite) if key.startswith("model.")]
        found = ((key, path) for key in parts for path in self._paths(key) if str(path) in message)
        key, path = next(found, ("model", self.suite.path))
        return StudioError(
            f"{self.suite.where(key)}: {key}: {path}: DiffSynth knows no model whose tensors have these "
            "names and shapes; allowed: files as they were published, or a model.register of your own",
            next_command=self.suite.show(key),
        )

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        self.say(_WORDS[what])
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started

    def _config(self, keys: Sequence[str]) -> Any:  # noqa: ANN401
        from diffsynth.pipelines.wan_video import ModelConfig

        part = tuple(keys)
        paths, reading = self._begun.pop(part) if part in self._begun else self._begin(keys)
        given = self._placement()
        if self._waits(keys):
            given["computation_device"] = "cpu"
        if reading is not None:
            given["state_dict"] = reading.result()
        return ModelConfig(path=_path(paths), **given)

    def _begin(self, keys: Sequence[str]) -> tuple[list[Path], Reading | None]:
        paths = [path for key in keys for path in self._paths(key)]
        where, show = self.suite.where(keys[0]), self.suite.show(keys[0])
        refuse_repeated(paths, key=keys[0].partition("[")[0], where=where, next_command=show)
        return paths, self._reading(paths, "cpu" if self._waits(keys) else self.device)

    def _waits(self, keys: Sequence[str]) -> bool:
        """Whether a part is an expert that waits in the computer's memory until it denoises."""
        model = self.suite.model
        alone = self.device != "cpu" and model.experts is not None and model.resident_experts == 1
        return alone and keys[0].startswith("model.experts.low.")

    def _paths(self, key: str) -> list[Path]:
        """The files of a key, downloaded if they are the hub's."""
        text = dict(references(self.suite))[key]
        where = self.suite.where(key)
        found = resolve(text, key=key, where=where)
        if found.hub_id is None:
            return list(found.paths)
        paths = list(hub.fetch(found))
        verify(paths, stated(self.suite, key, text), key=key, where=where)
        return paths

    def _placement(self) -> dict[str, Any]:
        """Where weights wait when the GPU is too small for all of them."""
        import torch

        if self.suite.model.vram_limit is None or self.device == "cpu":
            return {}
        dtype = getattr(torch, self.suite.sampling.dtype)
        places = {"offload": "cpu", "onload": "cpu", "preparing": self.device, "computation": self.device}
        return {f"{state}_device": place for state, place in places.items()} | {
            f"{state}_dtype": dtype for state in places
        }

    def _reading(self, paths: Sequence[Path], device: str) -> Reading | None:
        """Weights on their way to a GPU that has room for them; anything else DiffSynth reads itself."""
        if self.device == "cpu" or self._placement() or any(path.suffix != ".safetensors" for path in paths):
            return None
        import torch

        from pytest_wanlora.studio.weights import Reading

        return Reading(paths, getattr(torch, self.suite.sampling.dtype), device)

    def _check_experts(self, pipe: Any) -> None:  # noqa: ANN401
        """Prove that each expert has the weights that the suite names for it."""
        if self.suite.model.experts is None:
            return
        from safetensors import safe_open

        for number, (name, model) in enumerate((("high", pipe.dit), ("low", pipe.dit2))):
            if model is None:
                continue
            state = model.state_dict()
            paths = [path for key in self._renders[number] for path in self._paths(key)]
            for path in paths:
                with safe_open(path, framework="pt") as file:
                    shared = [key for key in file.keys() if key in state]  # noqa: SIM118  it is no mapping
                    for key in sorted(shared, key=lambda each: state[each].numel())[:3]:
                        own = state[key]
                        meant = file.get_tensor(key).to(own.dtype)
                        if meant.shape != own.shape or not meant.equal(own.cpu()):
                            raise StudioError(
                                f"{self.suite.path}: the {name}-noise expert does not have the weights of "
                                f"{path} ({key!r} differs): this DiffSynth loads experts in another order",
                                next_command="pip install 'diffsynth==2.1.12'",
                            )

    def _check_parts(self, pipe: Any, names: Sequence[str]) -> None:  # noqa: ANN401
        missing = [name for name in names if getattr(pipe, name) is None]
        if missing:
            raise StudioError(
                f"{self.suite.path}: the model files hold no {' and no '.join(missing)}; allowed: "
                "files that hold what their keys below model name",
                next_command=self.suite.show("model"),
            )

    def _check_sizes(self, pipe: Any) -> None:  # noqa: ANN401
        sampling = self.suite.sampling
        asked = (sampling.height, sampling.width, sampling.frames)
        rounded = tuple(pipe.check_resize_height_width(*asked, verbose=0))
        if rounded != asked:
            raise StudioError(
                f"{self.suite.path}: sampling asks for height, width, frames {asked}; "
                f"this model would round them to {rounded}, which are allowed",
                next_command=self.suite.show("sampling"),
            )


def _path(paths: Sequence[Path]) -> str | list[str]:
    """Paths as DiffSynth takes them."""
    names = [str(path) for path in paths]
    return names[0] if len(names) == 1 else names
