"""The HTML report in a real browser: it plays, obeys the keyboard, loads and hides nothing."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect, sync_playwright

from pytest_wanlora.reports import html
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.studio.previews import write_preview
from pytest_wanlora.verdict.judgement import Verdict
from tests.unit.reports.pages import renamed, videos
from tests.unit.reports.records import SCENARIOS, compared, run_record
from tests.unit.reports.sample_records import EPOCHS, epochs_record

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = (96, 160)
FRAMES = 9
FPS = 8  # of previews
SEEDS = (0, 1, 2, 3)
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
#: H.264 keeps a flat picture to about this.
CLOSE = 6


#: A pixel of a canvas, read from a copy: reading the canvas itself would change how the browser keeps it.
READ = """(canvas, x) => {
    const copy = document.createElement('canvas');
    Object.assign(copy, { width: canvas.width, height: canvas.height });
    const context = copy.getContext('2d', { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    return [...context.getImageData(Math.floor(copy.width * x), copy.height / 2, 1, 1).data];
}"""

#: Room between the words of a mark and what stands beside or below it.
GAP = """line => {
    const words = document.createRange();
    words.selectNodeContents(line.querySelector('.mark'));
    const [mark, what] = [words, line.children[1]].map(each => each.getBoundingClientRect());
    return [what.left - mark.right, what.top - mark.bottom];
}"""


def level(frame: int, *, candidate: bool) -> int:
    """Grey of a frame: each frame has its own, and the candidate is always brighter by 12."""
    return 30 + 20 * frame + 12 * candidate


def flat_video(seed: int, *, candidate: bool) -> NDArray[np.uint8]:
    """Grey by frame; the right half is bluer by seed."""
    video = np.zeros((FRAMES, *SIZE, 3), dtype=np.uint8)
    for frame in range(FRAMES):
        video[frame] = level(frame, candidate=candidate)
    video[:, :, SIZE[1] // 2 :] = (20, 20, 40 + 40 * seed)
    return video


def tell_apart(path: Path, index: int) -> None:
    """Make a file another one with the same pictures: a page holds equal files once."""
    with path.open("ab") as file:
        # a box that players skip
        file.write(b"\0\0\0\x0cfree" + index.to_bytes(4, "big"))


def write_videos(folder: Path, record: RunRecord) -> None:
    for index, video in enumerate(record.videos):
        assert video.preview is not None
        path = folder / video.preview
        path.parent.mkdir(parents=True, exist_ok=True)
        write_preview(flat_video(video.seed, candidate=video.role == "candidate"), path)
        tell_apart(path, index)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three checkpoints with videos, and its page."""
    folder = tmp_path_factory.mktemp("run")
    record = epochs_record(videos=videos(EPOCHS, SCENARIOS, SEEDS, scores={"clip": 2.0, "motion": 0.3}))
    write_videos(folder, record)
    (folder / "report.html").write_text(html.page(record, folder), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        # the system's, else the one that playwright may have fetched
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.fail(f"no browser: {', '.join(BROWSERS)} not on the PATH; `make browser` installs one")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


class Visit:
    """One visit to a page: what it says on the console and what it asks for is kept."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page = context.new_page()
        self.beside = 0
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, file: Path, place: str = "") -> Page:
        self.page.goto(file.as_uri() + place)
        self.page.wait_for_selector("html[data-settled]")
        return self.page


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit on a desktop or as parametrised; at its end nothing was complained of and nothing loaded."""
    options: dict[str, Any] = {"viewport": DESKTOP, **getattr(request, "param", {})}
    context = browser.new_context(offline=True, **options)
    visit = Visit(context)
    yield visit
    context.close()
    assert visit.said == []
    outside = [url for url in visit.asked if not url.startswith(("file:", "blob:null/", "data:image/svg"))]
    assert outside == []
    assert len({url for url in visit.asked if url.startswith("file:")}) <= 1 + visit.beside


def player(page: Page, scenario: int = 0) -> Locator:
    return page.locator(f'[data-player="s{scenario}"]')


def colour(canvas: Locator, *, at: float = 0.25) -> list[int]:
    """Red, green and blue in the middle of the height, at a share of the width."""
    return list(canvas.evaluate(READ, at)[:3])


def screens(where: Locator) -> list[Locator]:
    """Canvases of the baseline and of the checkpoints."""
    return where.locator(".screen:not(.compared) canvas").all()


def shows(where: Locator, frame: int) -> None:
    """All videos show this frame, and the slider says so."""
    expect(where.locator(".frames .count")).to_have_text(f"{frame + 1} of {FRAMES}")
    for index, canvas in enumerate(screens(where)):
        assert colour(canvas)[0] == pytest.approx(level(frame, candidate=index > 0), abs=CLOSE)


class TestFirstScreen:
    def test_the_worst_pair_plays_before_anything_is_decoded(self, visit: Visit, folder: Path) -> None:
        page = visit.page
        page.set_viewport_size({"width": 1280, "height": 800})
        # not `open`: this must not wait until the other videos are decoded
        page.goto((folder / "report.html").as_uri())
        look = page.locator(".look").first
        assert look.locator("h2").inner_text().split("\n")[0].startswith("degenerate")
        assert "Motion: look at the videos" in look.locator("h2").inner_text()
        names = [each.inner_text().split()[1] for each in look.locator("figcaption").all()]
        assert names == ["base", *EPOCHS]
        plays = "all => all.every(video => !video.paused && video.readyState >= 2 && video.currentTime > 0)"
        page.wait_for_function(f"() => ({plays})([...document.querySelectorAll('.look video')])")
        # verdict, reason, what broke, which checkpoint, what to do
        seen = ("h1", ".lead", ".advice", ".compact caption", ".step")
        for place in (
            *(page.locator(f"#page {each}").first for each in seen),
            *look.locator("video").all(),
        ):
            box = place.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= 800
        pause = page.locator(".pause-looks")
        pause.focus()
        page.keyboard.press("Enter")
        assert pause.inner_text() == "Play"
        assert page.evaluate("[...document.querySelectorAll('.look video')].every(video => video.paused)")

    def test_a_video_is_saved_and_fills_the_screen(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        figure = page.locator(".look figure").nth(1)
        with page.expect_download() as saving:
            figure.locator(".save").click()
        assert saving.value.suggested_filename == "candidate1-s1-seed3.mp4"
        assert Path(saving.value.path()).read_bytes()[4:8] == b"ftyp"
        figure.locator(".full").click()
        page.wait_for_function(
            "() => document.fullscreenElement && document.fullscreenElement.tagName === 'VIDEO'"
        )

    def test_nothing_moves_unasked_where_motion_is_reduced(self, visit: Visit, folder: Path) -> None:
        visit.page.emulate_media(reduced_motion="reduce")
        page = visit.open(folder / "report.html")
        assert page.locator(".pause-looks").inner_text() == "Play"
        assert page.evaluate("[...document.querySelectorAll('.look video')].every(video => video.paused)")


class TestPlayer:
    def test_it_plays_all_videos_in_step_and_pauses(self, visit: Visit, folder: Path) -> None:
        where = player(visit.open(folder / "report.html"))
        where.get_by_role("button", name="Play").click()
        seen = set()
        for _ in range(30):
            shown = where.evaluate(
                f"""root => [...root.querySelectorAll('.screen:not(.compared) canvas')].map(
                    canvas => ({READ})(canvas, 0.25)[0])"""
            )
            assert len(shown) == 1 + len(EPOCHS)
            assert [each - shown[0] for each in shown[1:]] == pytest.approx([12] * 3, abs=CLOSE)
            seen.add(round((shown[0] - 30) / 20))
            if len(seen) > 4:
                break
            visit.page.wait_for_timeout(80)
        assert len(seen) > 4
        where.get_by_role("button", name="Pause").click()
        frame = int(where.get_attribute("data-frame") or -1)
        visit.page.wait_for_timeout(300)
        shows(where, frame)

    def test_it_plays_in_a_circle_and_slower_when_told(self, visit: Visit, folder: Path) -> None:
        where = player(visit.open(folder / "report.html"))
        where.get_by_label("Speed").select_option("0.25")
        where.get_by_label("Frame", exact=True).fill("8")
        # the page notes what it shows and when: a busy machine skips frames, but never shows one too early
        shown = where.evaluate(
            """async player => {
                const shown = [];
                const note = () => shown.push([performance.now() - start, Number(player.dataset.frame)]);
                new MutationObserver(note).observe(player, { attributeFilter: ["data-frame"] });
                const start = performance.now();
                player.querySelector(".play").click();
                const round = (each, i) => i && each[1] < shown[i - 1][1];
                while (!shown.some(round)) await new Promise(resolve => setTimeout(resolve, 20));
                return shown;
            }"""
        )
        first_round = [(seconds / 1000, frame) for seconds, frame in shown[:-1]]
        assert len(first_round) > 1
        for seconds, frame in first_round:
            assert seconds >= frame / (FPS * 0.25) - 0.02

    def test_slider_and_strip_land_on_every_frame(self, visit: Visit, folder: Path) -> None:
        where = player(visit.open(folder / "report.html"), 1)
        for frame in (0, 8, 4, 5, 1):
            where.get_by_label("Frame", exact=True).fill(str(frame))
            shows(where, frame)
        strip = where.locator(".frames-strip button")
        expect(strip).to_have_count(FRAMES)
        strip.nth(6).click()
        shows(where, 6)
        expect(strip.nth(6)).to_have_attribute("aria-current", "true")
        expect(where.locator(".frames-strip [aria-current]")).to_have_count(1)

    def test_seeds_are_switched_and_the_worst_is_shown_first(self, visit: Visit, folder: Path) -> None:
        where = player(visit.open(folder / "report.html"), 1)
        expect(where).to_have_attribute("data-ready", "3")
        expect(where.get_by_label("3, worst in")).to_be_checked()
        for seed in (0, 2):
            where.locator(".seeds label", has_text=str(seed)).first.click()
            expect(where).to_have_attribute("data-ready", str(seed))
            for canvas in screens(where):
                assert colour(canvas, at=0.75)[2] == pytest.approx(40 + 40 * seed, abs=10)

    def test_the_difference_is_amplified(self, visit: Visit, folder: Path) -> None:
        where = player(visit.open(folder / "report.html"))
        expect(where.locator(".compared")).to_be_hidden()
        where.get_by_role("button", name="Difference").click()
        difference = where.locator(".compared canvas")
        expect(difference).to_be_visible()
        assert colour(difference)[0] == pytest.approx(4 * 12, abs=4 * 4)
        where.get_by_label("Amplified").select_option("16")
        assert colour(difference)[0] == pytest.approx(16 * 12, abs=16 * 4)
        assert max(colour(difference, at=0.75)) <= 16 * 3
        expect(where.locator(".measure")).to_have_text("2.4% of the range on average", use_inner_text=True)
        where.get_by_role("button", name="Difference").click()
        expect(where.locator(".compared")).to_be_hidden()

    def test_the_wipe_shows_the_baseline_on_its_left(self, visit: Visit, folder: Path) -> None:
        where = player(visit.open(folder / "report.html"))
        where.get_by_role("button", name="Wipe").click()
        wiped = where.locator(".compared canvas")
        share = where.get_by_label("Share of the baseline")
        for percent, candidate in (("50", False), ("10", True), ("0", True), ("100", False)):
            share.fill(percent)
            assert colour(wiped)[0] == pytest.approx(level(0, candidate=candidate), abs=CLOSE)
        box = wiped.bounding_box()
        assert box is not None
        wiped.hover(position={"x": box["width"] / 10, "y": box["height"] / 2})
        assert int(share.input_value()) == pytest.approx(10, abs=2)
        expect(where.locator(".gain")).to_be_hidden()
        where.get_by_role("button", name="Difference").click()
        expect(where.locator(".wipe")).to_be_hidden()

    def test_it_fills_the_screen_and_saves_each_video(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        where = player(page, 2)
        where.locator(".seeds label", has_text="1").click()
        with page.expect_download() as saving:
            where.locator(".screen .save").nth(2).click()
        assert saving.value.suggested_filename == "candidate2-s2-seed1.mp4"
        saved = Path(saving.value.path()).read_bytes()
        assert saved == (folder / "videos" / f"epoch-1-{SCENARIOS[2]}-1.mp4").read_bytes()
        where.locator("button.full").click()
        page.wait_for_function(
            "() => document.fullscreenElement && document.fullscreenElement.className === 'screens'"
        )

    def test_all_play_at_once(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        page.get_by_role("button", name="Play all").click()
        for scenario in range(3):
            expect(player(page, scenario).locator(".play")).to_have_attribute("aria-pressed", "true")
            expect(player(page, scenario)).to_have_attribute("data-frame", re.compile("[1-8]"))
        page.get_by_role("button", name="Pause all").click()
        expect(page.locator('.play[aria-pressed="true"]')).to_have_count(0)

    def test_another_checkpoint_is_compared_where_its_numbers_are_shown(
        self, visit: Visit, folder: Path
    ) -> None:
        page = visit.open(folder / "report.html")
        where = player(page)
        where.get_by_role("button", name="Difference").click()
        page.locator("#s0").get_by_role("button", name="epoch-2").click()
        expect(page.locator("#s0-c2")).to_be_visible()
        expect(page.locator("#s0-c0")).to_be_hidden()
        expect(where.locator(".chosen figcaption")).to_contain_text("epoch-2")
        expect(where.locator(".compared")).to_be_visible()

    def test_videos_are_decoded_when_they_are_needed(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        clips = page.locator('script[type="text/plain"]').count()
        decoded = {url for url in visit.asked if url.startswith("blob:")}
        # of each scenario and seed the baseline's and three checkpoints'
        assert clips == 3 * 4 * (1 + 3)
        # the first screen's, then one seed of each scenario
        assert len(decoded) == (1 + 3) + 3 * (1 + 3)


class TestLanguage:
    def test_it_is_switched_and_back_with_all_that_was_done(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        player(page).locator(".seeds label", has_text="1").click()
        page.get_by_role("button", name="한국어").click()
        assert page.evaluate("document.documentElement.lang") == "ko"
        assert page.title().startswith("체크포인트 3개 중 2개 배포 가능")
        expect(page.get_by_role("heading", level=1)).to_have_text("체크포인트 3개 중 2개 배포 가능")
        expect(page.get_by_role("button", name="English")).to_be_focused()
        where = player(page)
        where.get_by_role("button", name="재생").click()
        expect(where).to_have_attribute("data-frame", re.compile("[1-8]"))
        where.get_by_role("button", name="일시정지").click()
        page.get_by_role("button", name="English").click()
        assert page.evaluate("document.documentElement.lang") == "en"
        expect(player(page).locator(".seeds input:checked")).to_have_value("1")
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
        assert len(ids) == len(set(ids))

    @pytest.mark.parametrize("visit", [{"locale": "ko-KR"}], indirect=True)
    def test_a_korean_browser_reads_korean_first(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html", "#s2-c1-3")
        expect(page.get_by_role("heading", level=1)).to_have_text("체크포인트 3개 중 2개 배포 가능")
        expect(page.locator("#s2-c1-3")).to_be_in_viewport()


class TestKeyboard:
    def test_everything_works_without_a_mouse(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        press = page.keyboard.press
        press("Tab")
        expect(page.get_by_role("link", name="Skip to the verdict")).to_be_focused()
        where = player(page)
        where.locator(".play").focus()
        press("Space")
        expect(where.locator(".play")).to_have_attribute("aria-pressed", "true")
        press("Space")
        expect(where.locator(".play")).to_have_attribute("aria-pressed", "false")
        press("Tab")
        expect(where.get_by_label("Frame", exact=True)).to_be_focused()
        press("End")
        shows(where, 8)
        press("ArrowLeft")
        shows(where, 7)
        expect(where.get_by_label("Frame", exact=True)).to_have_attribute("aria-valuetext", "frame 8 of 9")
        for _ in ("speed", "wipe"):
            press("Tab")
        press("Enter")
        expect(where.locator(".compared")).to_be_visible()
        for _ in ("difference", "its share"):
            press("Tab")
        press("ArrowRight")
        expect(where.get_by_label("Share of the baseline")).to_have_value("51")
        for _ in ("full screen", "seeds"):
            press("Tab")
        press("ArrowLeft")
        expect(where).to_have_attribute("data-ready", "2")
        shows(where, 7)

    def test_a_mark_leads_to_its_row(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        page.get_by_text("Every metric of epoch-2").click()
        link = page.locator('a.cell[href="#s1-c2-0"]')
        link.focus()
        page.keyboard.press("Enter")
        row = page.locator("#s1-c2-0")
        expect(row).to_be_in_viewport()
        expect(row).to_be_focused()
        expect(page.locator("#s1").get_by_role("button", name="epoch-2")).to_have_attribute(
            "aria-pressed", "true"
        )

    def test_an_address_with_a_place_opens_there(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html", "#s2-c1-3")
        expect(page.locator("#s2-c1-3")).to_be_in_viewport()


LOOKS = [
    pytest.param({"viewport": size, "color_scheme": scheme}, korean, id=f"{name}-{scheme}")
    for name, size, scheme, korean in (
        # each size, scheme and language
        ("desktop", DESKTOP, "dark", True),
        ("phone", PHONE, "light", False),
    )
]


class TestLooks:
    @pytest.mark.parametrize(("visit", "korean"), LOOKS, indirect=["visit"])
    def test_axe_finds_nothing_and_nothing_sticks_out(self, visit: Visit, folder: Path, korean: bool) -> None:
        page = visit.open(folder / "report.html")
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] == width[1]
        player(page).get_by_role("button", name="Difference").click()
        if korean:
            page.locator(".language").click()
            player(page).get_by_role("button", name="화면 나누기").click()
        for summary in page.locator("summary:visible").all():
            summary.click()
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        told = [(each["id"], each["impact"], each["nodes"][0]["html"][:200]) for each in found]
        assert told == []

    @pytest.mark.parametrize("visit", [{"viewport": PHONE}, {"viewport": DESKTOP}], indirect=True)
    @pytest.mark.parametrize("names", [EPOCHS[:1], EPOCHS])
    def test_nothing_touches_its_neighbour_without_videos_either(
        self, visit: Visit, tmp_path: Path, names: tuple[str, ...]
    ) -> None:
        """The word of a verdict and what it is about; the table and what to do next."""
        judged = [
            replace(compared(place, "clip", 1.0, 0.92, candidate=name), verdict=Verdict.UNDECIDED)
            for name in names
            for place in SCENARIOS
        ]
        page_file = tmp_path / "report.html"
        page_file.write_text(html.page(run_record(judged, names=names), tmp_path), encoding="utf-8")
        page = visit.open(page_file)
        gaps = [line.evaluate(GAP) for line in page.locator(".line:visible").all()]
        assert len(gaps) == len(judged)
        assert all(max(across, down) >= 2 for across, down in gaps), gaps
        beside = [
            part.evaluate("of => of.getBoundingClientRect()") for part in page.locator(".aside > *").all()
        ]
        for above, below in pairwise(beside):
            apart = below["y"] - above["y"] - above["height"]
            assert apart >= 8 or below["x"] >= above["x"] + above["width"] + 8

    def test_dark_is_dark_and_print_holds_every_checkpoint_on_white(self, visit: Visit, folder: Path) -> None:
        page = visit.open(folder / "report.html")
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 22)"
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        for candidate in range(3):
            expect(page.locator(f"#s1-c{candidate}-0")).to_be_visible()
        expect(page.locator(".controls:visible")).to_have_count(0)
        assert page.pdf(format="A4").startswith(b"%PDF")

    @pytest.mark.parametrize("visit", [{"java_script_enabled": False}], indirect=True)
    def test_without_javascript_all_but_the_videos_is_there(self, visit: Visit, folder: Path) -> None:
        page = visit.page
        page.goto((folder / "report.html").as_uri())
        expect(page.get_by_text("The videos need JavaScript")).to_be_visible()
        for candidate in range(3):
            expect(page.locator(f"#s1-c{candidate}-0")).to_be_visible()
        expect(page.locator("button:visible")).to_have_count(0)


class TestTrouble:
    def page(self, folder: Path, record: RunRecord) -> Path:
        file = folder / "report.html"
        file.write_text(html.page(record, folder), encoding="utf-8")
        return file

    def test_a_missing_video_is_told_in_words_beside_the_other(self, visit: Visit, tmp_path: Path) -> None:
        record = epochs_record(videos=videos(["epoch-0"], SCENARIOS[:1], (0, 1)))
        write_videos(tmp_path, record)
        (tmp_path / "videos" / f"base-{SCENARIOS[0]}-1.mp4").unlink()
        where = player(visit.open(self.page(tmp_path, record)))
        where.locator(".seeds label", has_text="1").click()
        expect(where).to_have_attribute("data-ready", "1")
        expect(where.get_by_text("the preview's file is no longer there")).to_be_visible()
        base, candidate = screens(where)
        expect(base).to_be_hidden()
        expect(candidate).to_be_visible()
        expect(where.get_by_role("button", name="Difference")).to_be_disabled()
        expect(where.locator(".strip-box")).to_be_hidden()
        where.get_by_label("Frame", exact=True).fill("5")
        assert colour(candidate)[0] == pytest.approx(level(5, candidate=True), abs=CLOSE)
        where.locator(".seeds label", has_text="0").click()
        expect(where.get_by_text("no longer there")).to_be_hidden()
        expect(base).to_be_visible()

    def test_a_broken_video_is_told_in_words(self, visit: Visit, tmp_path: Path) -> None:
        record = epochs_record(videos=videos(["epoch-0"], SCENARIOS[:1], (0, 1)))
        write_videos(tmp_path, record)
        whole = tmp_path / "videos" / f"epoch-0-{SCENARIOS[0]}-0.mp4"
        whole.write_bytes(whole.read_bytes()[:400])
        where = player(visit.open(self.page(tmp_path, record)))
        expect(where.get_by_role("status")).to_contain_text("The video cannot be shown")
        where.locator(".seeds label", has_text="1").click()
        expect(where).to_have_attribute("data-ready", "1")
        expect(where.get_by_role("status")).to_have_text("")

    def test_a_video_beside_the_page_plays_from_there(self, visit: Visit, tmp_path: Path) -> None:
        visit.beside = 4
        record = epochs_record(videos=videos(["epoch-0"], SCENARIOS[:1], (0, 1)))
        write_videos(tmp_path, record)
        bare = len(html.page(epochs_record(), tmp_path))
        file = tmp_path / "report.html"
        file.write_text(html.page(record, tmp_path, largest=bare), encoding="utf-8")
        (tmp_path / "videos" / f"epoch-0-{SCENARIOS[0]}-1.mp4").unlink()
        page = visit.open(file)
        where = player(page)
        expect(page.locator("#left-out")).to_contain_text("Left out of this page: 4 of 4 videos")
        where.get_by_label("Frame", exact=True).fill("5")
        # a browser lets nobody read the pixels of another file, so look at the screen
        where.get_by_role("button", name="Difference").click()
        for canvas, grey in zip(
            where.locator("canvas:visible").all()[:3],
            (level(5, candidate=False), level(5, candidate=True), 12),
            strict=True,
        ):
            shot = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))
            assert shot[shot.shape[0] // 2, shot.shape[1] // 4, 0] == pytest.approx(grey, abs=CLOSE)
        where.locator(".seeds label", has_text="1").click()
        expect(where.get_by_role("status")).to_contain_text("its file is not beside this page")
        assert ["ERR_FILE_NOT_FOUND" in said for said in visit.said] == [True]
        visit.said.clear()

    @pytest.mark.parametrize(
        "text",
        [
            "</script><script>document.title='taken'</script>",
            '"><img src=x onerror="document.title=1">',
            "\u202eمدينة 👩‍👩‍👧‍👦 서울",
            "x" * 10_000,
        ],
    )
    def test_hostile_names_run_nothing_and_break_nothing(
        self, visit: Visit, tmp_path: Path, text: str
    ) -> None:
        record = epochs_record(videos=videos(["epoch-0"], SCENARIOS, (0,)))
        write_videos(tmp_path, record)
        changed = {
            "epoch-0": f"e{text}",
            "test2_nature": f"s{text}",
            "a cherry tree, many petals falling": text,
        }
        page = visit.open(self.page(tmp_path, renamed(record, changed)))
        assert "checkpoints may be published" in page.title()
        where = player(page, 1)
        where.get_by_label("Frame", exact=True).fill("4")
        shows(where, 4)
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width[0] == width[1]

    def test_48_noisy_videos_of_full_size_stay_below_the_limit(self, visit: Visit, tmp_path: Path) -> None:
        record = epochs_record(videos=videos(["epoch-0"], SCENARIOS, range(8)))
        noise = np.random.default_rng(0)
        made = []
        for strength in (2, 12):
            path = tmp_path / f"{strength}.mp4"
            write_preview(_noisy(noise, strength), path)
            made.append(path.read_bytes())
        (tmp_path / "videos").mkdir()
        for index, video in enumerate(record.videos):
            path = tmp_path / str(video.preview)
            path.write_bytes(made[index % 2])
            tell_apart(path, index)
        file = self.page(tmp_path, record)
        assert file.stat().st_size <= html.LARGEST
        # usable before anything is decoded, however busy the machine is: pictures are there at once
        page = visit.page
        page.goto(file.as_uri(), wait_until="commit")
        first = page.locator(".look video").first
        expect(first).to_be_visible()
        assert str(first.get_attribute("poster")).startswith("data:image/jpeg;base64,")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.look:first-child video')].every(v => v.readyState >= 2)"
        )
        page.wait_for_load_state("domcontentloaded")
        here = page.locator('script[type="text/plain"]').count()
        left_out = page.locator("#left-out")
        if here < 48:
            expect(left_out).to_contain_text(f"Left out of this page: {48 - here} of 48 videos")
        else:
            expect(left_out).to_have_count(0)
        page.locator(".pause-looks").click()
        expect(page.locator(".pause-looks")).to_have_text("Play")


def _noisy(noise: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """A picture that moves sideways, under noise: what is hard to make small."""
    rows, columns = np.mgrid[0:480, 0:832]
    picture = 128 + 60 * np.sin(columns / 23)[..., None] * np.cos(rows / 17)[..., None] * np.array(
        [1.0, 0.7, 0.4]
    )
    moved = np.stack([np.roll(picture, 6 * frame, axis=1) for frame in range(FRAMES)])
    return np.clip(moved + noise.normal(scale=strength, size=moved.shape), 0, 255).astype(np.uint8)
