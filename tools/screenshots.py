"""Pictures of a run's HTML report in headless Chromium, for the documents and for a look at every part.

The page is made anew from the run's record, so a picture shows the report as this tree writes it. The
pictures in `docs/images` are those of the three example checkpoints::

    pytest --lora 'examples/epoch-*.safetensors'
    python -m tools.screenshots .wanlora/runs/RUN --output docs/images
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from pytest_wanlora import results
from pytest_wanlora.reports import html

__all__ = ["DOCUMENTS", "SECTIONS", "Shot", "main", "take"]

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZES: Final[dict[str, ViewportSize]] = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 390, "height": 844},
    "poster": {"width": 1280, "height": 1400},
}
#: Widths at which every section is taken.
WIDTHS: Final = ("desktop", "phone")
#: Parts of the page that have a picture of their own with `--sections`.
SECTIONS: Final = (
    *("verdict", "tests", "matrix", "courses", "next", "s0", "s1", "s2", "all", "limits", "training"),
)
LAST_SECTIONS: Final = ("checkpoint", "noise", "run")


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        name: Of its file, without the ending.
        size: Key of `SIZES`.
        scheme: Of colours.
        place: Id of the element to take; empty for what the window shows at the top, `"page"` for all of it.
        difference: Whether the player in that place shows the difference of its videos.
    """

    name: str
    size: str
    scheme: Literal["light", "dark"]
    place: str = ""
    difference: bool = False


#: The pictures that the documents show.
DOCUMENTS: Final = (
    Shot("report-desktop", "poster", "light"),
    Shot("report-scenario", "desktop", "light", place="s1", difference=True),
    Shot("report-phone", "phone", "dark"),
)


def take(run: Path, shots: Sequence[Shot], output: Path) -> Iterator[Path]:
    """Take pictures of a run's report.

    Args:
        run: `results.json` or its folder, previews where the record says they are.
        shots: What to take.
        output: Folder for them, made if need be.

    Yields:
        Each picture's path.
    """
    folder = run if run.is_dir() else run.parent
    text = html.page(results.load(run), folder)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, _browser() as browser:
        file = Path(made) / "report.html"
        file.write_text(text, encoding="utf-8")
        for shot in shots:
            path = output / f"{shot.name}.png"
            page = browser.new_page(
                viewport=SIZES[shot.size], color_scheme=shot.scheme, reduced_motion="reduce"
            )
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-settled]")
            _take(page, shot, path)
            page.close()
            _shrink(path)
            yield path


def _take(page: Page, shot: Shot, path: Path) -> None:
    if shot.place in ("", "page"):
        page.screenshot(path=path, full_page=shot.place == "page")
        return
    part = page.locator(f"#{shot.place}")
    if shot.difference:
        part.get_by_role("button", name="Difference").first.click()
    part.screenshot(path=path)


def _shrink(path: Path) -> None:
    """Keep 256 colours: these pages look the same, at a third of the bytes."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


@contextmanager
def _browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        # the system's, else the one that `playwright install` fetched
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _everything(run: Path) -> tuple[Shot, ...]:
    text = html.page(results.load(run), run if run.is_dir() else run.parent)
    places = [place for place in (*SECTIONS, *LAST_SECTIONS) if f'id="{place}"' in text]
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    return tuple(
        Shot(f"{size}-{scheme}-{place}", size, scheme, place)
        for size in WIDTHS
        for scheme in schemes
        for place in ("page", *places)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="results.json or its folder")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), metavar="FOLDER")
    parser.add_argument(
        "--everything", action="store_true", help="every section at both widths in both schemes, to look at"
    )
    given = parser.parse_args(arguments)
    shots = _everything(given.run) if given.everything else DOCUMENTS
    for path in take(given.run, shots, given.output):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
