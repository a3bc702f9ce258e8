"""Which suite's model a checkpoint fits, by the names and shapes of its targets."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from pytest_wanlora.checkpoint.experts import named_in
from pytest_wanlora.checkpoint.formats import taken_apart
from pytest_wanlora.checkpoint.names import needs_image, own_name, split, wan_layer
from pytest_wanlora.checkpoint.partners import as_half, expert_of
from pytest_wanlora.checkpoint.record import Problem, Target, widths
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.suite import header
from pytest_wanlora.suite.fingerprint import references
from pytest_wanlora.suite.loading import load, packaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_wanlora.checkpoint.container import Entry
    from pytest_wanlora.checkpoint.record import Checkpoint
    from pytest_wanlora.suite.model_files import Architecture
    from pytest_wanlora.suite.schema import Suite

#: Part of a model to what its files are, and to names that no file of another part has.
_PARTS: Final = {
    "dit": ("a denoiser", re.compile(r"(^|\.)blocks\.\d+\.(self_attn|attn1)\.")),
    "text_encoder": ("a text encoder", re.compile(r"(model\.)?(token_embedding|shared)\.weight$")),
    "vae": ("a VAE", re.compile(r"(model\.)?(en|de)coder\.(conv|head|mid|middle|down|up)")),
}


def by_shapes() -> list[Suite]:
    """The packaged suites among which one is chosen by the shapes of a checkpoint."""
    return [_read_once(path) for path in packaged().values() if path.parent.name != "named"]


def _by_name(checkpoint: Checkpoint) -> list[Suite]:
    """The packaged suites that a checkpoint fits and that are chosen by their name alone."""
    return _fitting(
        checkpoint, [_read_once(path) for path in packaged().values() if path.parent.name == "named"]
    )


@cache
def _read_once(path: Path) -> Suite:
    return load(path)


def contradicting_names(suite: Suite) -> tuple[str, ...]:
    """Warn of files that a suite names for one expert and whose name, or folder, says the other one.

    The same is a warning of a checkpoint that is given as `--lora high=A,low=B`.
    """
    found = []
    for key, text in references(suite):
        role = re.fullmatch(r"model\.experts\.(high|low)\.dit\[\d+\]|stack\[\d+\]\.(high|low)", key)
        if role is None:
            continue
        expert, path = role[1] or role[2], PurePosixPath(text.rsplit(":", 1)[-1].replace("\\", "/"))
        said = next((named for part in (path.stem, path.parent.name) if (named := named_in(part))), None)
        if said is not None and said[0] != expert:
            found.append(
                f"{suite.where(key)}: {key}: {text} is given for the {expert}-noise expert and says {said[0]}"
            )
    return tuple(found)


def half_alone(suite: Suite, checkpoint: Checkpoint) -> Iterator[Problem]:
    """Warn of a file that is half of a pair by its name, on a suite whose model has one denoiser."""
    expert = "" if suite.model.experts or checkpoint.experts else expert_of(checkpoint.path)
    if expert:
        yield Problem(
            code="half_alone",
            words=f"{checkpoint.path.name} is the {expert}-noise half of a pair by its name, and the model "
            f"of suite {suite.name} has one denoiser; the pair is gated by --lora "
            f"{shlex.quote(as_half(Path(checkpoint.argument)))} on a suite with two experts",
            targets=(),
        )


def fitting_for(checkpoint: Checkpoint) -> tuple[Suite, ...]:
    """The packaged suites whose model has a checkpoint's targets; of several those that its header names.

    One with two experts fits one LoRA too, as half of a pair, and then has `misfits`. None fits a model that
    no packaged suite has, whatever its shapes.
    """
    fitting, said = tuple(_fitting(checkpoint, by_shapes())), header.said_by([checkpoint])
    if any(each.relative for each in said):
        return ()
    if len(fitting) > 1 and said and not header.contradicting(said):
        return tuple(suite for suite in fitting if all(each.fits(suite) for each in said)) or fitting
    return fitting


def find_for(
    *checkpoints: Checkpoint, baselines: Path = Path("baselines"), seeds: tuple[int, int] | None = None
) -> Suite:
    """Choose the packaged suite whose model the first of some checkpoints fits.

    Raises:
        SuiteError: None or several fit, and the headers of the files do not say which; lists what was seen,
            and what each suite lacks or how it is chosen. Or a header names a model that no suite has.
    """
    checkpoint, suites = checkpoints[0], by_shapes()
    said = header.said_by(checkpoints)
    _refuse_relatives(said)
    fitting = _fitting(checkpoint, by_shapes())
    if len(fitting) > 1 and said:
        if header.contradicting(said):
            raise _contradiction(said, fitting, checkpoints)
        fitting = [suite for suite in fitting if all(each.fits(suite) for each in said)] or fitting
    if len(fitting) == 1 and not misfits(fitting[0], checkpoint):
        return load(fitting[0].path, baselines=baselines, seeds=seeds)
    named = [] if fitting else _by_name(checkpoint)
    what = "fits no packaged suite" + (" that is chosen by shapes" if named else "")
    if fitting:
        names = ", ".join(suite.name for suite in fitting)
        what = (
            f"fits several packaged suites ({names})"
            if len(fitting) > 1
            else (f"fits a packaged suite only as half of a pair ({names})")
        )
    lines = [f"{checkpoint.name}: {what}; it has {_seen(checkpoint)}"]
    if said:
        lines[0] += f"; its header says {said[0].words}"
    for suite in suites:
        line = f"  {suite.name} expects {_expected(suite.model.architecture)}"
        if suite in fitting:
            lines.append(f"{line}: {_written(_choose(suite, checkpoint))}")
            continue
        # of a model of another width nothing else is worth saying
        here = ("dim", suite.model.architecture.dim) in {each[1:] for each in widths(checkpoint.targets)}
        own = misfits(suite, checkpoint) if here else ()
        lines.append("; ".join([line, *own]))
    if fitting:
        raise SuiteError("\n".join(lines), options=_choose(fitting[0], checkpoint))
    if named:
        lines += [
            f"  {suite.name} fits, and is chosen by its name alone: {_written(_choose(suite, checkpoint))}"
            for suite in named
        ]
        raise SuiteError("\n".join(lines), options=_choose(named[0], checkpoint))
    lines.append("  another model needs a suite that was written for it, given with --wanlora-suite")
    raise SuiteError("\n".join(lines), next_command=_inspect(checkpoint.argument))


def chosen_by(*checkpoints: Checkpoint) -> str:
    """By what `find_for` chooses the suite: `shapes`, or the words of the header that decided."""
    said = header.said_by(checkpoints)
    return said[0].words if said and len(_fitting(checkpoints[0], by_shapes())) > 1 else "shapes"


def _fitting(checkpoint: Checkpoint, suites: Iterable[Suite]) -> list[Suite]:
    """Those that a checkpoint fits, first the one that its file's name says, then text to video."""
    half = bool(checkpoint.experts or expert_of(checkpoint.path))
    return sorted(
        (suite for suite in suites if not other_shapes(suite, checkpoint)),
        key=lambda suite: (
            bool(suite.model.experts) != half,
            not header.named_for(suite, checkpoint),
            any(scenario.input_image is not None for scenario in suite.scenarios),
        ),
    )


def _refuse_relatives(said: Sequence[header.Said]) -> None:
    """Refuse files of models that have the shapes of others, and that no packaged suite has."""
    found = [each for each in said if each.relative]
    if found:
        names = ", ".join(dict.fromkeys(each.relative for each in found))
        lines = [
            f"{names}: no packaged suite has this model, and its LoRAs have the shapes of others; allowed: "
            "LoRAs of the models of the packaged suites, or a suite for this one, given with --wanlora-suite",
            *(f"  {each.file}: its header says {each.words}" for each in found),
        ]
        raise SuiteError("\n".join(lines), next_command=_inspect(*(each.file for each in found)))


def _contradiction(
    said: Sequence[header.Said], fitting: Sequence[Suite], checkpoints: Sequence[Checkpoint]
) -> SuiteError:
    """The error for files whose headers name different models."""
    by_words: dict[str, list[str]] = {}
    for each in said:
        by_words.setdefault(each.words, []).append(each.file)
    meant = [suite for each in said for suite in fitting if each.fits(suite)] or fitting
    meant = list({suite.name: suite for suite in meant}.values())
    options = _choose(meant[0], checkpoints[0])
    alone = len(checkpoints) > 1
    lines = [
        "the headers of the files name different models, and a run gates on one suite",
        *(f"  {words}: {', '.join(files)}" for words, files in by_words.items()),
        "  allowed: files of one model, or a suite that is named: "
        + ", ".join(f"--wanlora-suite {suite.name}" for suite in meant)
        + ("; or each checkpoint in a run of its own" if alone else ""),
    ]
    # one that can be gated alone
    for checkpoint in checkpoints if alone else ():
        own = header.said_by([checkpoint])
        if own and not header.contradicting(own):
            options = {"--lora": checkpoint.argument}
            break
    return SuiteError("\n".join(lines), options=options)


def fits_experts(checkpoint: Checkpoint) -> bool:
    """Whether a LoRA has the shapes of an expert of a packaged suite with two."""
    return any(not other_shapes(suite, checkpoint) for suite in by_shapes() if suite.model.experts)


def gate_command(suite: Suite, checkpoint: Checkpoint) -> str:
    """The command that gates a checkpoint on a suite that its shapes fit; `FILE` is an unknown half."""
    return f"pytest {_written({'--lora': checkpoint.argument, **_choose(suite, checkpoint)})}"


def _choose(suite: Suite, checkpoint: Checkpoint) -> dict[str, str]:
    """The options that gate a checkpoint on a suite that its shapes fit."""
    halves = suite.model.experts and not checkpoint.experts
    given = {"--lora": as_half(Path(checkpoint.argument))} if halves else {}
    return {**given, "--wanlora-suite": suite.name}


def _written(options: Mapping[str, str]) -> str:
    return " ".join(f"{name} {shlex.quote(value)}" for name, value in options.items())


def _inspect(*files: str) -> str:
    return shlex.join(["python", "-m", "pytest_wanlora", "inspect", *files])


def check_fit(suite: Suite, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that changes what the suite's model does not have.

    Raises:
        SuiteError: A width differs, or the model lacks a block or a layer.
    """
    if found := misfits(suite, checkpoint):
        place = f"suite {suite.name} ({suite.where('model.architecture')})"
        lines = [f"{checkpoint.name}: does not fit the model of {place}", *(f"  {line}" for line in found)]
        options = _instead(suite, checkpoint)
        command = None if options else _inspect(checkpoint.argument)
        raise SuiteError("\n".join(lines), next_command=command, options=options)


def _instead(suite: Suite, checkpoint: Checkpoint) -> dict[str, str]:
    """The options that gate a checkpoint which does not fit a suite; empty where nothing packaged does."""
    try:
        return {"--wanlora-suite": find_for(checkpoint).name}
    except SuiteError:
        others = _fitting(checkpoint, (each for each in by_shapes() if each.name != suite.name))
    if suite.model.experts and not checkpoint.experts and not other_shapes(suite, checkpoint):
        return {"--lora": as_half(Path(checkpoint.argument), alone=True)}
    others = others or _by_name(checkpoint)
    return _choose(others[0], checkpoint) if others else {}


def misfits(suite: Suite, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What keeps a suite from gating a checkpoint; empty if every target exists in the suite's model.

    A LoRA need not have targets in every block, or in any.
    """
    experts = tuple(checkpoint.experts)
    if suite.model.experts and not experts:
        how = f"allowed: high=FILE, low=FILE or both, as in {_written(_choose(suite, checkpoint))}"
        return (f"one LoRA for a model with two experts, and none of them named; {how}",)
    if experts and not suite.model.experts:
        named = " and ".join(f"{name} ({checkpoint.experts[name].path.name})" for name in experts)
        return (f"LoRAs of two experts, {named}, and this model has one denoiser",)
    return other_shapes(suite, checkpoint)


def other_shapes(suite: Suite, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What shapes keep a suite's model from having a checkpoint's targets, whichever expert they are for."""
    if checkpoint.experts:
        if not suite.model.experts:
            return misfits(suite, checkpoint)
        return tuple(
            f"{name}-noise LoRA: {line}"
            for name, each in checkpoint.experts.items()
            for line in other_shapes(suite, each)
        )
    model, targets = suite.model.architecture, checkpoint.targets
    lines: list[str] = []
    seen = {what: value for _, what, value in widths(targets)}
    for what in ("dim", "ffn_dim", "text_dim"):
        wanted = getattr(model, what)
        if wanted is not None and seen.get(what, wanted) != wanted:
            lines.append(f"{what}: {seen[what]}; allowed: {wanted}")
    if checkpoint.blocks > model.blocks:
        lines.append(f"blocks: {checkpoint.blocks}; allowed: {model.blocks}")
    image = [target.name for target in targets if needs_image(target.name)]
    if image and not model.image_layers:
        kinds = ", ".join(dict.fromkeys(name.rpartition("cross_attn.")[2] for name in image))
        lines.append(
            f"trained for an image-to-video model ({kinds}): {number_of(len(image), 'target')} that "
            f"{suite.name} lacks"
        )
    if not seen and not image:
        lines.append(f"dim: unknown; allowed: {model.dim}")
    lines += [
        f"{target.name}: shape {list(target.shape)}; allowed: {list(wanted)}"
        for target in targets
        for wanted in [_shape(target, model)]
        if wanted is not None and target.shape != wanted
    ]
    return tuple(lines)


def _shape(target: Target, model: Architecture) -> tuple[int, ...] | None:
    """What a suite's sizes do not say by a width alone; None where they say nothing more."""
    dim = model.dim
    known = {
        "modulation": (1, 6, dim),
        "head.modulation": (1, 2, dim),
        "time_projection.1": (6 * dim, dim),
        "time_projection.1.bias": (6 * dim,),
        **({} if model.in_dim is None else {"patch_embedding": (dim, model.in_dim, 1, 2, 2)}),
    }
    _, layer = wan_layer(target.name) or (None, "")
    return known.get(f"{layer}.bias" if target.name.endswith(".bias") else layer)


def other_weights(architecture: Architecture, part: str, entries: Mapping[str, Entry]) -> str:
    """What the files of a part of a model are instead of it, and what is allowed, by their headers alone.

    Args:
        architecture: The suite's.
        part: `dit`, `text_encoder`, `vae` or `image_encoder`.
        entries: The tensors of all its files.

    Returns:
        Empty if they are that part, or of a kind that is not known: other packages add models.
    """
    meant = part.replace("_", " ").replace("dit", "denoiser").replace("vae", "VAE")
    of_lora = [key for key in entries if taken_apart(key)]
    if 2 * len(of_lora) > len(entries):
        return (
            f"a LoRA ({of_lora[0]}); allowed: the weights of the whole {meant}; a LoRA that lies below "
            "baseline and candidate is named under stack"
        )
    of = {
        name: (words, key)
        for name, (words, pattern) in _PARTS.items()
        if (key := next(filter(pattern.search, entries), None)) is not None
    }
    # the file of the image encoder has a text encoder in it, which is not loaded
    if of and part in _PARTS and part not in of:
        words, key = next(iter(of.values()))
        return f"{words} ({key}); allowed: the weights of the {meant}"
    if part != "dit":
        return ""
    named = {
        name: entry.shape
        for key, entry in entries.items()
        if len(entry.shape) > 1 and (name := own_name(split(key.removesuffix(".weight"))[1]))
    }
    layers = [Target(name=each, shape=named[each], rank=0, alpha=None, keys={}) for each in named]
    seen: dict[str, int] = {what: value for _, what, value in widths(tuple(layers))}
    if not seen:
        return ""
    seen["blocks"] = 1 + max((block for name in named if (block := _block(name)) is not None), default=-1)
    if len(first := named.get("patch_embedding", ())) == 5:
        seen["in_dim"] = first[1]
    wrong = [
        f"{what} {value}; allowed: {wanted}, as model.architecture says"
        for what, value in seen.items()
        if (wanted := getattr(architecture, what)) is not None and wanted != value
    ]
    return f"the denoiser of another model: {wrong[0]}" if wrong else ""


def _block(name: str) -> int | None:
    return (wan_layer(name) or (None, name))[0]


def _seen(checkpoint: Checkpoint) -> str:
    halves = {expert: _seen(each) for expert, each in checkpoint.experts.items()}
    if len(set(halves.values())) > 1:
        # the width of one with the blocks of the other is a model that there is not
        return " and ".join(f"{expert} {said}" for expert, said in halves.items())
    seen = {what: value for _, what, value in widths(checkpoint.targets)}
    text = ", ".join(f"{what} {seen.get(what, 'unknown')}" for what in ("dim", "ffn_dim"))
    return f"{text}, blocks {checkpoint.blocks} ({checkpoint.block_count} with a target)"


def _expected(architecture: Architecture) -> str:
    return f"dim {architecture.dim}, ffn_dim {architecture.ffn_dim}, blocks {architecture.blocks}"
