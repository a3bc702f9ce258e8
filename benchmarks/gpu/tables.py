"""Make the tables of `docs/performance.md`: `python -m benchmarks.gpu.tables bench.json ... --into FILE`.

Several files are laid over each other, so that one page can hold what one GPU and what several were asked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.breakdown import OTHER
from benchmarks.markdown import NOT_MEASURED, Marks, sections, table

__all__ = ["MARKS", "laid_over", "page"]

MARKS = Marks("benchmarks.gpu.tables")

Steps = Mapping[str, Mapping[str, Any]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.tables", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what benchmarks.gpu wrote")
    parser.add_argument("--into", type=Path, help="a page with the two marks; printed when left out")
    arguments = parser.parse_args()
    text = page(laid_over(json.loads(path.read_text(encoding="utf-8")) for path in arguments.files))
    if arguments.into is None:
        print(text)
        return
    MARKS.write(arguments.into, text)


def laid_over(runs: Iterable[Steps]) -> dict[str, dict[str, Any]]:
    """Lay runs over each other: of a step that several have, the last one counts. Each keeps its machine."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        machine = run.get("machine", {})
        for name, step in run.items():
            found[name] = {**step, "machine": machine}
    return found


def page(steps: Steps) -> str:
    """All tables."""
    return sections(
        [
            ("Goals", table(("what", "goal", "measured", ""), goals(steps))),
            ("Machine", table(("step", "machine"), _machines(steps))),
            ("Levers", _levers(steps)),
            ("Matrix products", _ceiling(steps)),
            ("Reading the denoiser's files", _reading(steps)),
            ("LoRA on and off", _loras(steps)),
            ("What fusing loses", _fusing(steps)),
            ("A gate of 3 scenarios and 4 seeds", _gate(steps)),
            ("Scoring", _scoring(steps)),
            ("Several GPUs", _gpus(steps)),
        ]
    )


def goals(steps: Steps) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is asked for and what was measured."""
    stock, own = _get(steps, "stock", "best"), _get(steps, "levers", "variants", "suite", "best")
    floor = _get(steps, "ceiling", "floor_seconds")
    yield _goal("seconds a video / the stock call's", _ratio(own, stock), 0.6)
    yield _goal("seconds a video / floor (work / measured matrix product)", _ratio(own, floor), 1.6)
    for mode in ("fused", "unfused"):
        seconds = _get(steps, "lora", mode, "best")
        exact = _get(steps, "lora", mode, "bit_exact")
        note = "" if exact is None else (", bit-exact" if exact else ", NOT bit-exact")
        yield _goal(
            f"a LoRA on and off again, {mode}", seconds, 0.5, unit=" s", note=note, also=exact is True
        )
    warm = _get(steps, "gate", "warm") or {}
    spent = warm.get("breakdown", {}).get("rendering")
    share = _ratio(spent, warm.get("seconds"))
    yield _goal("rendering, of a warm gate's time", share, 0.6, least=True, percent=True)
    yield _goal("scoring adds to rendering", _added(warm.get("rendering", {})), 0.05, percent=True)
    yield _goal(
        "several GPUs against one, rendering alone",
        _get(steps, "gpus", "speed_up_busiest"),
        round(0.925 * (_get(steps, "gpus", "count") or 4), 2),
        least=True,
    )
    twice = _get(steps, "gpus", "all", "rendering", "twice")
    yield _goal("jobs that were rendered twice", twice, 0)
    compared, equal = _get(steps, "gpus", "videos_compared"), _get(steps, "gpus", "equal_frames")
    apart = None if compared is None else compared - equal
    yield _goal("videos whose frames differ between GPUs", apart, 0, note=f" of {compared}")


def _goal(
    what: str,
    value: float | None,
    bound: float,
    *,
    least: bool = False,
    percent: bool = False,
    unit: str = "",
    note: str = "",
    also: bool = True,
) -> tuple[str, str, str, str]:
    def shown(number: float) -> str:
        return f"{100 * number:.0f} %" if percent else f"{number:.3g}{unit}"

    goal = f"{'>=' if least else '<='} {shown(bound)}"
    if value is None:
        return what, goal, NOT_MEASURED, "-"
    met = also and (value >= bound if least else value <= bound)
    return what, goal, f"{shown(value)}{note}", "yes" if met else "NO"


def _machines(steps: Steps) -> Iterator[tuple[str, str]]:
    for name, step in steps.items():
        machine = step.get("machine") or {}
        if name == "machine" or not machine:
            continue
        packages = machine.get("packages", {})
        versions = ", ".join(f"{key} {packages[key]}" for key in ("torch", "diffsynth") if packages.get(key))
        gpus = f"{machine.get('gpus')} x {machine.get('gpu')}"
        cores = f"{machine.get('cores')} cores"
        yield name, f"{gpus}, {cores}, Python {machine.get('python')}, {versions}, {machine.get('date')}"


def _levers(steps: Steps) -> str:
    stock = _get(steps, "stock", "best")
    rows = [_video("stock call", steps.get("stock", {}), stock)]
    left_out: list[str] = []
    for name, found in (_get(steps, "levers", "variants") or {}).items():
        if "best" in found:
            rows.append(_video(name, found, stock))
        elif "error" in found:
            rows.append((name, str(found["error"]), "", "", "", ""))
        else:
            left_out.append(name)
    head = (
        "",
        "s a video",
        "of the stock call",
        "peak GiB",
        "s until ready",
        "frames against the stock call's",
    )
    shown = table(head, rows) if stock is not None or len(rows) > 1 else ""
    return f"{shown}\n\nNot measured, as no time was left: {'; '.join(left_out)}." if left_out else shown


def _video(name: str, found: Mapping[str, Any], stock: float | None) -> tuple[str, ...]:
    ratio = _ratio(found.get("best"), stock)
    frames = found.get("frames")
    differs = ""
    if frames:
        differs = "equal" if frames["equal"] else f"{frames['mean']:.2f} grey levels off on average"
    ready = found.get("ready_seconds", found.get("loading_seconds"))
    return (
        name,
        _number(found.get("best"), 2),
        _number(ratio, 2),
        _number(found.get("peak_gib"), 1),
        _number(ready, 1),
        differs,
    )


def _ceiling(steps: Steps) -> str:
    found = steps.get("ceiling", {})
    if "tflops" not in found:
        return ""
    rows = [(f"{found['square']}^3", _number(found["tflops"], 0))]
    rows += [(name, _number(value, 0)) for name, value in found.get("shapes", {}).items()]
    work, floor = found["work_flop"] / 1e15, found["floor_seconds"]
    text = (
        f"One video is {found['forwards']} passes of {found['parameters'] / 1e9:.2f} B parameters over "
        f"{found['tokens']} tokens: {work:.3g} PFLOP, {floor:.2f} s at the first line's rate."
    )
    shown = f"{text}\n\n{table(('bfloat16, rows x inner x columns', 'TFLOP/s'), rows)}"
    attention: Mapping[str, Mapping[str, float]] = found.get("attention", {})
    if not attention:
        return shown
    kernels = dict.fromkeys(kernel for times in attention.values() for kernel in times)
    heads = ("attention, rows x heads x queries x keys", *(f"{kernel}, ms" for kernel in kernels))
    times = [
        (name, *(_number(taken.get(kernel), 3) for kernel in kernels)) for name, taken in attention.items()
    ]
    return f"{shown}\n\n{table(heads, times)}"


def _reading(steps: Steps) -> str:
    found = steps.get("reading", {})
    rows = [(name, _number(min(seconds), 2)) for name, seconds in found.get("ways", {}).items()]
    if not rows:
        return ""
    return table((f"{found['gigabytes']} GB from the page cache to the GPU, by", "fastest, s"), rows)


def _loras(steps: Steps) -> str:
    rows = []
    for mode in ("fused", "unfused"):
        found = _get(steps, "lora", mode)
        if found:
            on, off = (min(each[side] for each in found["times"]) for side in ("on", "off"))
            rows.append((mode, _number(on, 3), _number(off, 3), "yes" if found["bit_exact"] else "NO"))
    if not rows:
        return ""
    shown = table(("", "on, s", "off, s", "all weights back, bit for bit"), rows)
    parts = _lora_parts(steps)
    return f"{shown}\n\n{parts}" if parts else shown


def _lora_parts(steps: Steps) -> str:
    """Where the seconds of putting a LoRA on go; nothing for runs that were made before that was measured."""
    of_mode = {mode: _get(steps, "lora", mode, "parts") for mode in ("fused", "unfused")}
    measured = {mode: parts for mode, parts in of_mode.items() if parts}
    if not measured:
        return ""
    names = dict.fromkeys(name for parts in measured.values() for name in parts["seconds"])
    beside = dict.fromkeys(name for parts in measured.values() for name in parts["beside"])
    found = measured.values()
    rows = [(name, *(_number(parts["seconds"].get(name), 3) for parts in found)) for name in names]
    rest = (_number(max(0.0, parts["on"] - sum(parts["seconds"].values())), 3) for parts in found)
    rows += [("the rest", *rest), ("whole", *(_number(parts["on"], 3) for parts in found))]
    rows += [
        (f"beside it, in a thread: {name}", *(_number(parts["beside"].get(name), 3) for parts in found))
        for name in beside
    ]
    text = (
        "Its parts, in passes of their own: the GPU is waited for before and after each, which takes "
        "longer than letting it work beside the CPU."
    )
    return f"{text}\n\n{table(('putting it on, s', *measured), rows)}"


def _fusing(steps: Steps) -> str:
    rows = []
    for mode in ("fused", "unfused"):
        for size, applied in (_get(steps, "lora", mode, "sizes") or {}).items():
            patched = f"{applied['patched']} of {applied['targets']}"
            rows.append((mode, size, patched, _number(applied["strength"], 4), _number(applied["cosine"], 4)))
    head = ("", "LoRA / weights", "patched", "change made / intended", "cosine of the two")
    return table(head, rows) if rows else ""


def _gate(steps: Steps) -> str:
    names = [name for name in ("cold", "warm", "cached") if _get(steps, "gate", name)]
    runs = [steps["gate"][name] for name in names]
    if not runs:
        return ""
    found = {key for run in runs for key in run.get("breakdown", {})}
    order = sorted(found - {OTHER}, key=lambda key: -max(run["breakdown"].get(key, 0.0) for run in runs))
    rows = [("whole", *(_number(run["seconds"], 1) for run in runs))]
    rows += [
        (key, *(_number(run.get("breakdown", {}).get(key), 1) for run in runs)) for key in (*order, OTHER)
    ]
    rows.append(("videos rendered", *(str(run["rendering"]["jobs"]) for run in runs)))
    rows.append(("exit code", *(str(run["exit_code"]) for run in runs)))
    return table(("seconds", *names), rows)


def _scoring(steps: Steps) -> str:
    found = steps.get("scoring", {})
    timed = [key.removesuffix("_seconds") for key in found if key.endswith("_seconds")]
    names = [name for name in timed if name != "loading"]
    rows = [(name, *(_number(value, 3) for value in found[f"{name}_seconds"])) for name in names]
    return table(("of one video", "first, s", "fastest, s"), rows) if rows else ""


def _gpus(steps: Steps) -> str:
    found = steps.get("gpus", {})
    if "speed_up" not in found:
        return ""
    count = found["count"]
    rows = [
        ("whole run, s", *(_number(found[side]["seconds"], 1) for side in ("one", "all"))),
        *(
            (label, *(_number(found[side]["rendering"][key], 1) for side in ("one", "all")))
            for label, key in (("first video's begin to last one's end, s", "span"), ("rendering, s", "busy"))
        ),
        ("videos", *(str(found[side]["rendering"]["jobs"]) for side in ("one", "all"))),
    ]
    span, busiest = (_number(found[f"speed_up_{what}"], 2) for what in ("span", "busiest"))
    lines = [
        f"Speed-up: {found['speed_up']:.2f} with everything counted, {span} from the first video to the "
        f"last, {busiest} in rendering alone. {found['equal_frames']} of {found['videos_compared']} videos "
        f"have equal frames, {found['equal_scores']} equal scores; "
        f"verdicts are {'equal' if found['equal_verdicts'] else 'NOT equal'}.",
        table(("", "1 GPU", f"{count} GPUs"), rows),
        table(
            ("GPU", "videos", "busy, s", "began after, s", "idle between, s", "idle at the end, s"),
            [
                (name, str(gpu["videos"]), *(_number(gpu[key], 1) for key in _GPU_KEYS))
                for name, gpu in found["all"]["rendering"]["gpus"].items()
            ],
        ),
    ]
    if by_videos := found.get("by_videos"):
        rows = [
            (
                videos,
                *(_number(of[side], 1) for side in ("one", "all")),
                _number(of["one"] / of["all"], 2),
                _number(of["speed_up_busiest"], 2),
                f"{of['equal_frames']} of {of['videos_compared']}",
            )
            for videos, of in sorted(by_videos.items(), key=lambda each: int(each[0]))
        ]
        head = (
            "videos, everything counted",
            "1 GPU, s",
            f"{count} GPUs, s",
            "times as fast",
            "in rendering alone",
            "equal frames",
        )
        lines.append(table(head, rows))
    return "\n\n".join(lines)


_GPU_KEYS = ("busy", "begins", "between", "at_the_end")


def _added(rendering: Mapping[str, Any]) -> float | None:
    """What a GPU waited between its videos, as a share of rendering."""
    gpus = (rendering.get("gpus") or {}).values()
    busy = sum(gpu["busy"] for gpu in gpus)
    return sum(gpu["between"] for gpu in gpus) / busy if busy else None


def _get(steps: Steps, *path: str) -> Any:  # noqa: ANN401 - whatever is there
    found: Any = steps
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
