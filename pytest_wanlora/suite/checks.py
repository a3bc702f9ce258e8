"""What is wrong with a suite, in words: schema errors translated, and checks that span several keys."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pytest_wanlora.suite import files
from pytest_wanlora.suite.document import KeyPath, Value, dotted, quoted

Complaint: TypeAlias = tuple[KeyPath, str]
"""Where, and what is wrong there."""

NAME: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
SHA256: Final = r"^[0-9a-fA-F]{64}$"
STATED_SHA256: Final = r"^([0-9a-fA-F]{64})?$"
ENTRY: Final = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
ENTRY_OR_NAME: Final = r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*|[a-z][a-z0-9_]{0,63})$"
PATTERNS: Final[Mapping[str, str]] = {
    NAME: "letters, digits, _ . - and no . or - in front",
    SHA256: "64 hexadecimal digits",
    STATED_SHA256: "64 hexadecimal digits",
    ENTRY: "package.module:name",
    ENTRY_OR_NAME: "package.module:name, or the name of an installed model",
}
"""Patterns of texts, and how to say them."""

_TOLD_APART: Final = ("all", "each")
_SHORTEST_FOR_I3D: Final = 9  # its last pooling spans two steps, and it has halved the frames three times

_ALLOWED: Final[Mapping[str, str]] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text, in quotes if it looks like a number",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
    "string_too_short": "a text that is not empty",
    "string_too_long": "up to {max_length} characters",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys and values",
    "mapping_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "model_attributes_type": "a mapping of keys and values",
}


def unknown(kind: str, name: str, allowed: Collection[str]) -> str:
    """Say that a name is not one of the allowed ones, and which one is nearest.

    Example:
        >>> unknown("metric", "shapness", ["clip", "sharpness"])
        'unknown metric; did you mean sharpness? allowed: clip, sharpness'
    """
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown {kind}; {hint}allowed: {', '.join(allowed) or 'none'}"


def nearest_sizes(value: int, step: int, offset: int = 0) -> tuple[int, ...]:
    """Return the nearest sizes `step * k + offset`, k >= 1, below and above a value that is none itself.

    Example:
        >>> nearest_sizes(481, 32)
        (480, 512)
        >>> nearest_sizes(10, 4, 1)
        (9, 13)
    """
    below = (value - offset) // step * step + offset
    return tuple(size for size in (below, below + step) if size >= step + offset)


def translated(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> Iterator[Complaint]:
    """Turn pydantic's errors into complaints in the words of suite files.

    Args:
        errors: `ValidationError.errors()` of `model`.
        model: The root model, for the keys that are allowed beside an unknown one.
    """
    for error in errors:
        path = tuple(part for part in error["loc"] if part != "[key]")
        kind, context, value = error["type"], error.get("ctx", {}), error["input"]
        if kind == "too_short" and len(value) >= context["min_length"]:
            continue  # it counts the elements without an error of their own
        if kind == "wanlora":
            if context["key"]:
                path = (*path, context["key"])
                value = value.get(context["key"]) if isinstance(value, Mapping) else value
            shown = "" if value is None or isinstance(value, (Mapping, tuple)) else f"{quoted(value)}: "
            yield path, shown + context["complaint"]
        elif kind == "missing":
            yield path, "missing; it has no default"
        elif kind == "extra_forbidden":
            name, allowed = str(path[-1]), _keys_at(model, path[:-1])
            above = next(
                (at for at in range(len(path) - 2, -1, -1) if name in _keys_at(model, path[:at])), None
            )
            if above is None:
                yield path, unknown("key", name, allowed)
            else:
                place = dotted((*path[:above], name))
                yield path, f"unknown key; did you mean {place}? allowed: {', '.join(allowed) or 'none'}"
        elif kind != "default_factory_not_called":  # it follows from another error of the same mapping
            yield path, f"{quoted(value)}; allowed: {_allowed(kind, context, error['msg'])}"


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
    template = _ALLOWED.get(kind)
    return template.format(**context) if template else message.removeprefix("Input should be ")


def across(data: Mapping[str, Value]) -> Iterator[Complaint]:
    """Check what no single key can: references between scenarios, limits and files, and sizes.

    Works on the raw tree, so that these complaints come together with those of the schema. Values of the
    wrong type are passed over: the schema names them.
    """
    yield from _scenarios(data)
    yield from _limits(data)
    yield from _sizes(data)
    yield from _digests(data)
    yield from _scorers(data)
    yield from _levers(data)
    yield from _bleed(data)
    yield from _trigger(data)


def _scenarios(data: Mapping[str, Value]) -> Iterator[Complaint]:
    categories = mapping(data.get("categories"))
    seen: dict[str, int] = {}
    for number, item in items(data.get("scenarios")):
        identifier = item.get("id")
        if isinstance(identifier, str):
            # folders are named after ids, and some file systems do not tell A from a
            first = seen.setdefault(identifier.casefold(), number)
            if first != number:
                text = (
                    f"{quoted(identifier)}: scenarios[{first}] has it too; allowed: each id once, in any case"
                )
                yield ("scenarios", number, "id"), text
            if identifier in _TOLD_APART:
                text = f"{quoted(identifier)}: a word of limits; allowed: any id but all, each"
                yield ("scenarios", number, "id"), text
        category = item.get("category")
        if categories and isinstance(category, str) and category not in categories:
            yield (
                ("scenarios", number, "category"),
                f"{quoted(category)}: {unknown('category', category, categories)}",
            )


def _bleed(data: Mapping[str, Value]) -> Iterator[Complaint]:
    about = mapping(data.get("bleed")).get("about")
    named = [item.get("category") for _, item in items(data.get("scenarios"))]
    known = list(dict.fromkeys(each for each in named if isinstance(each, str)))
    for number, category in enumerate(about if isinstance(about, (list, tuple)) else ()):
        if isinstance(category, str) and category not in known:
            yield ("bleed", "about", number), f"{quoted(category)}: {unknown('category', category, known)}"
    alone = data.get("subject") is None and known
    if alone and isinstance(about, tuple) and set(known) <= set(map(str, about)):
        text = "every scenario is of them, so nothing is left to ask; allowed: one category fewer"
        yield ("bleed", "about"), text


def _trigger(data: Mapping[str, Value]) -> Iterator[Complaint]:
    texts = [
        (("scenarios", number, key), str(item.get(key)))
        for number, item in items(data.get("scenarios"))
        for key in ("prompt", "caption")
    ]
    named = [(key, text) for key, text in texts if "{trigger}" in text]
    if named and data.get("subject") is None:
        key, text = named[0]
        yield key, f"{quoted(text)}: {{trigger}} without a subject; allowed: with subject.trigger"
    subject = data.get("subject")
    if isinstance(subject, Mapping) and "{trigger}" in str(subject.get("without")):
        yield ("subject", "without"), "has {trigger}; allowed: words that stand in its place, or left out"
    elif isinstance(subject, Mapping) and (trigger := str(subject.get("trigger") or "").strip()):
        if "{trigger}" in trigger:
            yield ("subject", "trigger"), f"{quoted(trigger)}: has {{trigger}}; allowed: what takes its place"
        elif f" {trigger} " in f" {subject.get('without') or ''} ":
            text = "has the trigger, so that nothing would be without it; allowed: other words, or left out"
            yield ("subject", "without"), f"{quoted(subject['without'])}: {text}"
    if data.get("subject") is None and data.get("demands") is not None:
        yield ("demands",), "there is no subject; allowed: with a subject"
    if data.get("subject") is not None and texts and not any(key[2] == "prompt" for key, _ in named):
        yield ("subject",), "no prompt has {trigger}; allowed: in one scenario's prompt or more"


def _limits(data: Mapping[str, Value]) -> Iterator[Complaint]:
    identifiers = [item["id"] for _, item in items(data.get("scenarios")) if isinstance(item.get("id"), str)]
    allowed = [*_TOLD_APART, *(str(identifier) for identifier in identifiers)]
    seen: dict[tuple[object, object], int] = {}
    for number, item in items(data.get("limits")):
        scenario = item.get("scenario")
        if isinstance(scenario, str) and scenario not in allowed:
            yield (
                ("limits", number, "scenario"),
                f"{quoted(scenario)}: {unknown('scenario', scenario, allowed)}",
            )
        metric = item.get("metric")
        if isinstance(metric, str):
            first = seen.setdefault((metric, scenario), number)
            if first != number:
                text = (
                    f"{quoted(metric)}: limits[{first}] has it for the same scenario; allowed: one limit each"
                )
                yield ("limits", number, "metric"), text


def _sizes(data: Mapping[str, Value]) -> Iterator[Complaint]:
    sampling = mapping(data.get("sampling"))
    step = mapping(mapping(data.get("model")).get("architecture")).get("size_multiple", 32)
    if step in (16, 32) and isinstance(step, int):
        for key in ("height", "width"):
            size = sampling.get(key)
            if is_int(size) and size > 0 and size % step:
                near = _either(nearest_sizes(size, step))
                text = f"{size}: no multiple of {step}, the model would render another size; allowed: {near}"
                yield ("sampling", key), text
    frames = sampling.get("frames")
    if is_int(frames) and frames >= 5 and frames % 4 != 1:
        near = _either(nearest_sizes(frames, 4, 1))
        text = f"{frames}: not 4k+1, the model would render more; allowed: {near}"
        yield ("sampling", "frames"), text
    features = mapping(mapping(data.get("scoring")).get("video_features"))
    if features.get("kind") == "torchscript" and is_int(frames) and 5 <= frames < _SHORTEST_FOR_I3D:
        text = f"{frames}: I3D cannot score fewer than {_SHORTEST_FOR_I3D} frames; allowed: 9, 13, 17, ..."
        yield ("sampling", "frames"), text


def _digests(data: Mapping[str, Value]) -> Iterator[Complaint]:
    model = mapping(data.get("model"))
    experts = {name: mapping(each) for name, each in mapping(model.get("experts")).items()}
    parts = [model.get(part) for part in ("dit", "text_encoder", "vae", "image_encoder")]
    parts += [each.get("dit") for each in experts.values()]
    yield from unknown_files(model.get("sha256"), parts, ("model", "sha256"))
    for expert, each in experts.items():
        place: KeyPath = ("model", "experts", expert, "sha256")
        yield from unknown_files(each.get("sha256"), [each.get("dit")], place)


def unknown_files(stated: Value, entries: Sequence[Value], place: KeyPath) -> Iterator[Complaint]:
    """Refuse digests of files that no reference, or list of them, names."""
    flat = [text for entry in entries for text in (entry if isinstance(entry, tuple) else (entry,))]
    texts = [text for text in flat if isinstance(text, str)]
    for name in mapping(stated):
        if texts and not any(files.named(name, text) for text in texts):
            allowed = [files.inner_path(text).rsplit("/", 1)[-1] for text in texts]
            yield (*place, name), unknown("file", name, allowed)


def _scorers(data: Mapping[str, Value]) -> Iterator[Complaint]:
    key: KeyPath = ("scoring", "video_features")
    features = mapping(mapping(data.get("scoring")).get("video_features"))
    if features.get("kind") == "module" and "module" not in features:
        yield (*key, "module"), "missing; kind module needs it, as package.module:Class"
    if features.get("kind") == "torchscript":
        if "module" in features:
            yield (*key, "module"), "not used by kind torchscript; allowed: kind module, or no module"
        if not features.get("sha256"):
            yield (*key, "sha256"), "missing; a TorchScript file is a program, so its digest must be stated"


def _levers(data: Mapping[str, Value]) -> Iterator[Complaint]:
    waiting = mapping(data.get("model")).get("vram_limit") is not None
    if waiting and mapping(data.get("sampling")).get("compile") is True:
        text = "not with model.vram_limit, which moves the weights about; allowed: false, or no vram_limit"
        yield ("sampling", "compile"), text


def keys(model: type[BaseModel]) -> list[str]:
    """Return the keys that a suite file may have for a model."""
    return list(_fields(model))


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that a model allows below a path."""
    at: Any = model
    for part in path:
        field = _fields(at).get(str(part)) if isinstance(part, str) else None
        inner = at if field is None else field
        at = next(_models(inner), at)
    return keys(at)


def _fields(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a model class, or any other type
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    return {
        info.alias or name: info.annotation for name, info in model.model_fields.items() if not info.exclude
    }


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def without_value(data: Value, path: KeyPath = ()) -> Iterator[Complaint]:
    """Refuse keys with nothing behind them, which would count as left out without a word.

    Works on the raw tree: a dumped suite has such values, a file that somebody wrote has forgotten them.
    """
    if data is None:
        yield path, "nothing; allowed: a value, or the key left out"
    elif data == "" and path and str(path[-1]).endswith("sha256"):
        yield path, "''; allowed: 64 hexadecimal digits, or the key left out"
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from without_value(value, (*path, key))
    elif isinstance(data, tuple):
        for number, value in enumerate(data):
            yield from without_value(value, (*path, number))


def mapping(value: Value) -> Mapping[str, Value]:
    """The value, or an empty mapping in the place of what is none; the schema names that."""
    return value if isinstance(value, dict) else {}


def items(value: Value) -> Iterator[tuple[int, Mapping[str, Value]]]:
    """The mappings of a list with their places; the schema names what is none."""
    if isinstance(value, tuple):
        for number, item in enumerate(value):
            if isinstance(item, dict):
                yield number, item


def is_int(value: Value) -> TypeGuard[int]:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _either(sizes: Collection[int]) -> str:
    return " or ".join(str(size) for size in sizes)
