from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_wanlora.reports import html
from pytest_wanlora.reports.i18n import change_of
from pytest_wanlora.reports.race import RACE
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.results.parts import CandidateCard, Video
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.results.training_data import ScenarioShare
from pytest_wanlora.verdict.judgement import ALL, ItemId, PytestOutcome, Verdict
from tests.unit.reports.pages import Page, parsed, renamed, videos, write_files
from tests.unit.reports.records import SCENARIOS, compared, race_card, run_record, with_tests
from tests.unit.reports.sample_records import epochs_record, mission_record

UNCUT: dict[tuple[str, ...], tuple[str, ...]] = {("bdi", "title"): ("bdi",)}
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]>",
    "javascript:alert(1)",
    "&lt;b&gt;&#60;",
    "../../etc/passwd",
    "a b/c\\d'e\"f",
    "\u202eevil.safetensors",
    "مدينة كورية في الليل",
    "👩‍👩‍👧‍👦🏳️‍🌈 서울의 밤",
    "zero\u200bwidth\ufeff",
    "\x1b[31mred\x07",
]


@pytest.fixture(scope="module")
def epochs() -> Page:
    return parsed(html.page(epochs_record(), Path("nowhere")))


class TestPage:
    def test_the_verdict_comes_first(self, epochs: Page) -> None:
        words = epochs.words.partition("Skip to the verdict")[2]
        verdict, matrix = words.index("2 of 3 checkpoints may be published"), words.index("Matrix Each")
        assert verdict < words.index("Gate epoch-2 alone, then publish it.") < matrix
        assert words.index("What fails") < matrix
        assert "may not be published" in words[verdict:matrix]

    def test_every_failing_item_is_named_with_its_numbers(self, epochs: Page) -> None:
        assert "CLIPScore, test2_nature" in epochs.words
        assert "20.4% worse, 2.0610 → 1.6400; 5% is allowed" in epochs.words
        assert "degenerate" in epochs.words

    def test_ids_are_unique_and_links_lead_somewhere(self, epochs: Page) -> None:
        assert len(epochs.ids) == len(set(epochs.ids))
        inside = {link[1:] for link in epochs.links if link.startswith("#")}
        assert inside <= set(epochs.ids)
        assert len(inside) > 40

    def test_nothing_is_loaded_from_anywhere(self, epochs: Page) -> None:
        outside = [link for link in epochs.links if not link.startswith("#")]
        assert [link.partition(",")[0] for link in outside] == ["data:image/svg+xml"]
        style = epochs.data["style"][0]
        assert "url(" not in style.replace("url(#hatch)", "")
        assert "@import" not in style

    def test_the_policy_lets_only_its_own_style_and_script_run(self, epochs: Page) -> None:
        def digest(text: str) -> str:
            return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

        assert "default-src 'none'" in epochs.policy
        assert f"style-src 'sha256-{digest(epochs.data['style'][0])}'" in epochs.policy
        assert f"script-src 'sha256-{digest(''.join(epochs.data['script']))}'" in epochs.policy
        assert "unsafe" not in epochs.policy
        # such attributes would be refused by it
        assert not any(
            "style" in names or any(n.startswith("on") for n in names) for _, *names in epochs.shape
        )

    def test_the_same_record_gives_the_same_page(self) -> None:
        assert html.page(epochs_record(), Path("a")) == html.page(epochs_record(), Path("a"))

    def test_every_plot_has_a_title_and_a_description(self) -> None:
        text = html.page(epochs_record(), Path("nowhere"))
        plots = re.findall(r'<svg class="plot[^>]*role="img">(.{7})', text)
        assert len(plots) > 50
        assert set(plots) == {"<title>"}
        assert text.count("<desc>") == len(plots)

    def test_marks_say_their_verdict_in_words(self, epochs: Page) -> None:
        text = html.page(epochs_record(), Path("nowhere"))
        marks = re.findall(
            r'<span class="mark (\w+)"><svg[^>]*><use href="#i-(\w+)"/></svg>([\w ]+)</span>', text
        )
        assert len(marks) == text.count('<span class="mark ')
        assert {kind for kind, _, _ in marks} >= {"pass", "warn", "fail", "better"}
        assert all(kind == icon for kind, icon, _ in marks)
        assert {icon for _, icon, _ in marks} <= {name.removeprefix("i-") for name in epochs.ids}

    def test_heads_of_columns_begin_alike(self) -> None:
        record = epochs_record()
        text = html.page(record.model_copy(update={"race": race_card()}), Path("nowhere"))
        english = text.partition("<template")[0]
        heads = re.findall(r'<th scope="col"[^>]*>([^<]+)', english)
        assert {"Metric", "Verdict", "Share", "Candidate", "Limit"} <= {head.strip() for head in heads}
        assert [head for head in heads if head.strip()[:1].islower()] == []

    def test_sections_that_only_some_runs_have(self, epochs: Page) -> None:
        assert {"courses", "training", "noise", "next", "limits"} <= set(epochs.ids)
        single = parsed(html.page(mission_record(), Path("nowhere")))
        assert not {"courses", "training", "noise"} & set(single.ids)
        assert "RAPA 2025 limits" in single.words
        assert "not reached" in single.words

    def test_a_race_has_a_section_with_the_winner_first_and_a_line_for_each_strength(self) -> None:
        raced = html.page(mission_record().model_copy(update={"race": race_card()}), Path("nowhere"))
        for language, won in (("en", "won"), ("ko", "우승")):
            page = parsed(raced, language)  # type: ignore[arg-type]
            section = raced.partition("<template")[0] if language == "en" else raced.partition("<template")[2]
            section = section.partition('id="race"')[2].partition("</section>")[0]
            rows = re.findall(r'<th scope="row">\u2068?([^<\u2069]*)', section)
            assert rows == ["epoch-1@0.8", "epoch-1@1", "epoch-0@0.8", "epoch-0@1"]
            assert len(re.findall(r'<polyline class="course', section)) == 2
            assert won in page.words
            assert "does not fit the GPU" in page.words

    @pytest.mark.parametrize(
        ("changed", "marks", "key"),
        [
            # the winner, one that is out behind it, one that is out for it is no better
            ({}, {"mean": 1, "m-out": 4}, "Strength 0.8 Strength 1 won out"),
            ({"stopped": "spent"}, {"mean": 1, "m-none": 1, "m-out": 2}, "ahead when it stopped not out out"),
            ({"winner": None}, {"m-none": 1, "m-out": 4}, "not out out"),
        ],
    )
    def test_a_race_marks_how_it_ended_for_each_and_never_a_verdict(
        self, changed: dict[str, object], marks: dict[str, int], key: str
    ) -> None:
        card = race_card(**changed)
        raced = html.page(mission_record().model_copy(update={"race": card}), Path("nowhere"))
        section = raced.partition("<template")[0].partition('id="race"')[2].partition("</section>")[0]
        listed, _, plot = section.partition('<svg class="plot')
        assert Counter(re.findall(r'class="(mean|m-\w+)"', plot.partition("</svg>")[0])) == marks
        assert " ".join(re.sub("<[^>]*>", " ", listed).split()).endswith(f"{key} {RACE['curves'].en}")
        # the unit is the table's
        assert "+1.00" in re.findall(r">([^<]*)</text>", plot)
        assert "%" not in plot.partition("</svg>")[0]

    def test_a_race_at_one_strength_names_no_strengths(self) -> None:
        card = race_card()
        alone = tuple(each for each in card.entrants if each.scale == 0.8)
        record = mission_record().model_copy(update={"race": card.model_copy(update={"entrants": alone})})
        raced = html.page(record, Path("nowhere"))
        section = raced.partition("<template")[0].partition('id="race"')[2].partition("</section>")[0]
        assert "strength" not in section.partition("<table")[0].lower()
        assert not re.findall(r'class="label"[^>]*>[^<]', section)

    def test_several_strengths_are_lines_over_the_epochs(self) -> None:
        names = [f"epoch-{epoch}@{scale}" for epoch in (0, 1, 2) for scale in ("0.8", "1")]
        judgements = [
            compared(scenario, "clip", 2.0, 1.9 + 0.01 * at, candidate=name)
            for scenario in (*SCENARIOS, ALL)
            for at, name in enumerate(names)
        ]
        record = run_record(judgements, names=names)
        cards = [card.model_copy(update={"scale": float(card.name[8:])}) for card in record.candidates]
        text = html.page(record.model_copy(update={"candidates": tuple(cards)}), Path("nowhere"))
        section = text.partition('id="courses"')[2].partition("</section>")[0]
        (lines,) = re.findall(r'<svg class="plot.*?</svg>', section, re.DOTALL)
        drawn = re.findall(r'<polyline class="course c\d" points="([^"]*)"', lines)
        assert [len(points.split()) for points in drawn] == [3, 3]
        assert "<b>0.8</b>" in section

    def test_the_training_data_stands_beside_the_verdicts_even_of_a_category_that_no_list_knows(self) -> None:
        record = epochs_record()
        card = record.training_data
        assert card is not None
        nobody = ScenarioShare(category="ghosts", prompts=None, share=None, rare=False)
        shares = {**card.scenarios, "test3_action": nobody}
        told = record.model_copy(update={"training_data": card.model_copy(update={"scenarios": shares})})
        section = html.page(told, Path("nowhere")).partition('id="training"')[2].partition("</section>")[0]
        rows = {
            row.partition("</th>")[0]: (re.findall(r'<span class="mark (\w+)"', row), row)
            for row in re.findall(r'<tr><th scope="row">(.*?)</tr>', section)
        }
        marks, nature = next(found for name, found in rows.items() if "test2_nature" in name)
        assert (len(marks), marks[0]) == (3, "fail")
        assert "5.0%, rare" in nature
        _, action = next(found for name, found in rows.items() if "test3_action" in name)
        assert "<td>unknown</td>" in action

    def test_what_the_run_noted_is_told(self, epochs: Page) -> None:
        assert "worker gw1 died" in epochs.words
        assert "torch is 2.14.1, the baseline's is 2.13.0" in epochs.words
        assert "out of memory" in epochs.words
        assert (
            "chance moves it by 105% with 8 seeds, the band is 25%; about 142 seeds would resolve it"
            in epochs.words
        )
        assert "A suspicion, no proof." in epochs.words

    def test_how_to_reproduce(self, epochs: Page) -> None:
        assert "pytest --lora loras/epoch-0.safetensors --lora loras/epoch-1.safetensors" in epochs.words
        assert "cd" * 32 in epochs.words
        assert '"sampling": {' in epochs.words


class TestUnmeasured:
    def test_an_item_that_nobody_judged_fails_in_words(self) -> None:
        item = ItemId("regression", "epoch-0", "test2_nature", "clip")
        known = run_record([])
        page = parsed(html.page(known.model_copy(update={"expected": (item,)}), Path("nowhere")))
        assert "epoch-0 may not be published" in page.words
        assert page.words.count("not measured") >= 2

    def test_a_partial_run_never_reads_like_a_pass(self) -> None:
        page = parsed(html.page(mission_record().model_copy(update={"partial": True}), Path("nowhere")))
        assert "This run was partial" in page.words
        assert "may be published" not in page.words.replace("may not be published", "")

    def test_a_run_that_measured_a_baseline_gates_nothing(self) -> None:
        base = CandidateCard(name="base", sha256=None, publishable=False, reason="the model without LoRA")
        known = run_record([], names=()).model_copy(update={"candidates": (base,), "baseline": None})
        page = parsed(html.page(known, Path("nowhere")))
        assert "base was measured as a baseline the model without LoRA" in page.words
        assert "Nothing was judged." in page.words

    def test_no_candidate_at_all(self) -> None:
        page = parsed(html.page(run_record([], names=()), Path("nowhere")))
        assert "No checkpoint was gated" in page.words

    @pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict.fails])
    def test_every_failing_verdict_is_red_and_named(self, verdict: Verdict) -> None:
        known = epochs_record()
        changed = tuple(
            judged.__class__(**{**judged.__dict__, "verdict": verdict, "value": None, "reason": "because"})
            if (judged.candidate, judged.scenario, judged.metric)
            == ("epoch-0", "test1_korean_city", "motion")
            else judged
            for judged in known.judgements
        )
        text = html.page(known.model_copy(update={"judgements": changed}), Path("nowhere"))
        cell = re.search(r'<a class="cell (\w+)" href="#s0-c0-3">(.*?)</a>', text, re.DOTALL)
        assert cell is not None
        assert cell[1] in ("fail", "unknown")
        assert verdict.value.replace("missing_baseline", "no baseline") in cell[2]


class TestProjectTests:
    def test_each_is_named_beside_the_verdict_with_what_became_of_it(self) -> None:
        page = parsed(html.page(with_tests(epochs_record()), Path("nowhere")))
        assert page.ids.index("verdict") < page.ids.index("tests") < page.ids.index("matrix")
        assert "1 of 13 pass" in page.words
        for outcome in PytestOutcome:
            assert f"tests/test_team.py::test_{outcome}" in page.words
        assert {link for link in page.links if link.startswith("#test-")} <= {f"#{name}" for name in page.ids}
        assert len(page.ids) == len(set(page.ids))
        assert "Other tests that failed: 1, the first tests/test_team.py::test_other." in page.words
        assert (
            "epoch-0: left out: 1 of 21 items, the first test_limit[epoch-0-test1_korean_city-clip]"
            in page.words
        )

    def test_a_run_without_any_has_no_such_section(self, epochs: Page) -> None:
        assert "tests" not in epochs.ids
        assert "project test" not in epochs.words.lower()

    @pytest.mark.parametrize("text", HOSTILE)
    def test_their_names_and_reasons_change_no_tag(self, text: str) -> None:
        plain = parsed(html.page(with_tests(epochs_record(), "n{}", "d"), Path("nowhere")))
        named = with_tests(epochs_record(), "n{}" + text.replace("{", "{{").replace("}", "}}"), f"d{text}")
        page = parsed(html.page(named, Path("nowhere")))
        assert [UNCUT.get(tag, tag) for tag in page.shape] == plain.shape
        assert page.ids == plain.ids


class TestHostileNames:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_a_name_changes_no_tag_and_no_attribute(self, text: str, epochs: Page) -> None:
        names = (
            "epoch-0",
            "test2_nature",
            "base",
            "nature",
            "worker gw1 died",
            "a cherry tree, many petals falling",
        )
        page = parsed(
            html.page(
                renamed(epochs_record(), {n: f"{i}{text}" for i, n in enumerate(names)}), Path("nowhere")
            )
        )
        assert page.shape == epochs.shape
        assert page.ids == epochs.ids
        assert page.policy == epochs.policy
        json.loads(page.data["script application/json"][0])

    @settings(max_examples=12, deadline=None)
    @given(text=st.text(max_size=24))
    @example(text="\x12" * 24)
    def test_no_text_at_all_does(self, text: str, epochs: Page) -> None:
        page = parsed(
            html.page(
                renamed(epochs_record(), {"epoch-1": f"e{text}", "test3_action": f"s{text}"}), Path("nowhere")
            )
        )
        # what is spelt out may be long, and a long name is cut: the whole of it is then the element's title
        assert [UNCUT.get(tag, tag) for tag in page.shape] == epochs.shape

    def test_ten_thousand_characters_can_be_opened_and_are_all_there(self) -> None:
        long = "<b>" + "ab" * 5000
        page = parsed(
            html.page(renamed(epochs_record(), {"a cherry tree, many petals falling": long}), Path("x"))
        )
        assert long in page.text
        assert "(10,003 characters)" in page.words

    def test_an_endless_name_is_cut_where_it_is_a_name(self) -> None:
        long = "n" * 10_000
        text = html.page(renamed(epochs_record(), {"epoch-0": long, "test2_nature": f"s{long}"}), Path("x"))
        assert len(text) < 3_000_000
        parsed(text)

    def test_signs_that_turn_the_reading_direction_are_spelt_out(self) -> None:
        text = html.page(renamed(epochs_record(), {"epoch-0": "a\u202eb"}), Path("x"))
        assert "\u202e" not in text.partition('<script type="application/json"')[0]
        assert "a\\u202eb" in text

    def test_names_that_are_no_unicode_can_still_be_written(self) -> None:
        known = mission_record()
        lost = known.model_copy(update={"command": ("pytest", "--lora", "caf\udce9.safetensors")})
        assert "caf\\udce9" in html.page(lost, Path("x")).encode().decode()


class TestPreviews:
    def record(self, **changed: object) -> object:
        return epochs_record(videos=videos(["epoch-0", "epoch-1", "epoch-2"], SCENARIOS, range(8)), **changed)

    def test_each_file_is_in_the_page_once(self, tmp_path: Path) -> None:
        known = epochs_record(videos=videos(["epoch-0"], SCENARIOS, (2, 3)))
        write_files(tmp_path, known, 500)
        page = parsed(html.page(known, tmp_path))
        clips = page.data["script text/plain"]
        assert len(clips) == len(set(clips)) == 12
        # the first screen's two are read before the script, which plays them while the others are read
        assert html.page(known, tmp_path).partition('"use strict"')[0].count('type="text/plain"') == 2
        assert base64.b64decode(clips[0])[4:8] == b"ftyp"
        players = json.loads(page.data["script application/json"][0])
        assert players["frames"] == 9
        named = {clip for p in players["players"].values() for t in p["takes"] for clip in t["clips"]} - {
            None
        }
        assert named == {f"v{i}" for i in range(12)}
        assert named <= set(page.ids)

    def test_a_page_that_would_be_too_large_leaves_some_out_and_says_so(self, tmp_path: Path) -> None:
        known = epochs_record(videos=videos(["epoch-0"], SCENARIOS, range(8)))
        write_files(tmp_path, known, 600_000)
        text = html.page(known, tmp_path)
        page = parsed(text)
        here = len(page.data["script text/plain"])
        assert 24_000_000 < len(text) <= html.LARGEST
        assert 0 < here < 48
        assert f"Left out of this page: {48 - here} of 48 videos. With them it would have 38 MB" in page.words
        assert "kept below 25 MB" in page.words
        assert page.words.count("Open the file of seed") == 48 - here
        assert all(f"./{video.preview}" in page.links for video in known.videos[-3:])
        # seed 3 is the worst of what fails
        players = json.loads(page.data["script application/json"][0])["players"]
        assert all(clip.startswith("v") for clip in players["s1"]["takes"][3]["clips"])

    def test_what_is_left_out_of_the_page_lies_beside_it(self, tmp_path: Path) -> None:
        run = tmp_path / "runs" / "one"
        run.mkdir(parents=True)
        made = videos(["epoch-0"], SCENARIOS[:1], range(4))
        known = epochs_record(
            videos=tuple(v.model_copy(update={"preview": f"../../cache/{v.preview}"}) for v in made)
        )
        write_files(run, known, 300_000)
        bare = len(html.page(epochs_record(), run))
        found = html.made(known, run, largest=bare + 1_600_000)
        page = parsed(found.text)
        inside = len(page.data["script text/plain"])
        assert len(found.beside) == len(known.videos) - inside > 0
        for address, source in found.beside.items():
            assert re.fullmatch(r"\./videos/[0-9a-f]{32}\.mp4", address)
            assert source.is_file()
            assert address in page.links

    def test_the_room_is_measured_when_the_page_itself_is_large(self, tmp_path: Path) -> None:
        known = epochs_record(videos=videos(["epoch-0"], SCENARIOS, (0, 1, 2)))
        write_files(tmp_path, known, 300_000)
        bare = len(html.page(epochs_record(), tmp_path))
        text = html.page(known, tmp_path, largest=bare + 1_500_000)
        assert len(text) <= bare + 1_500_000
        assert 0 < text.count('<script type="text/plain"') < 18

    def test_what_is_absent_is_told_in_words(self, tmp_path: Path) -> None:
        made = videos(["epoch-0"], SCENARIOS[:1], (0, 1, 2))
        kept = made[3].model_copy(update={"preview": None, "degenerate": "the video is black", "scores": {}})
        known = epochs_record(videos=(*made[:3], kept, *made[4:]))
        write_files(tmp_path, epochs_record(videos=made), 100)
        (tmp_path / str(made[4].preview)).unlink()
        (tmp_path / str(made[5].preview)).write_text("no video at all")
        words = parsed(html.page(known, tmp_path)).words
        assert "degenerate: the video is black; no preview of this video was kept" in words
        assert "the preview's file is no longer there" in words
        assert "the preview's file cannot be read as an mp4" in words

    def test_without_any_preview_there_is_no_player(self) -> None:
        known = epochs_record(videos=videos(["epoch-0"], SCENARIOS, (0, 1)))
        text = html.page(known, Path("nowhere"))
        assert "There are no videos to show." in parsed(text).words
        assert "<canvas" not in text

    def test_a_record_cannot_have_other_files_put_into_the_page(self, tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("the secret")
        stolen = Video(
            role="candidate",
            candidate="epoch-0",
            scenario=SCENARIOS[0],
            seed=0,
            scores={},
            preview="../secret.txt",
        )
        folder = tmp_path / "run"
        folder.mkdir()
        text = html.page(epochs_record(videos=(stolen,)), folder)
        assert base64.b64encode(b"the secret").decode() not in text
        assert "cannot be read as an mp4" in text


class TestHonestWords:
    def test_a_rise_that_warns_is_not_called_better(self) -> None:
        assert change_of("sharpness", -0.9, Verdict.WARN) == "90.0% higher"
        assert change_of("fvd", -0.9, Verdict.WARN) == "90.0% lower"
        assert change_of("sharpness", -0.9, Verdict.PASS) == "90.0% better"
        assert change_of("sharpness", 0.1, Verdict.WARN) == "10.0% worse"
        assert change_of("sharpness", None, Verdict.WARN) == ""

    def test_a_step_for_every_checkpoint_is_told_once(self, epochs: Page) -> None:
        assert epochs.words.count("Bands narrower than chance") == 1
        assert epochs.words.index("Whichever checkpoint") < epochs.words.index("Bands narrower than chance")

    def test_the_matrix_says_why_a_distance_may_pass_all_of_it(self, epochs: Page) -> None:
        assert "so it can be more than 100%" in epochs.words


class TestKorean:
    @pytest.mark.parametrize("record", [epochs_record(), mission_record(), with_tests(epochs_record())])
    def test_the_page_is_there_in_korean_with_the_same_places(self, record: RunRecord) -> None:
        text = html.page(record, Path("nowhere"))
        korean, english = parsed(text, "ko"), parsed(text)
        assert korean.ids == english.ids
        assert korean.links == english.links
        assert korean.shape == english.shape
        # what a reader meets outside of names, numbers, commands and the metrics' own names
        for said in ("may be published", "What fails", "worse,", "higher is better", "interval", "Numbers"):
            assert said not in korean.words.partition("판정으로 건너뛰기")[2]
        assert "배포" in korean.words

    def test_every_phrase_of_the_page_is_used(self) -> None:
        folder = Path(html.__file__).parent
        code = "".join(
            path.read_text(encoding="utf-8")
            for path in (*folder.glob("html*.py"), folder / "plots.py", *folder.glob("templates/*.html.j2"))
        )
        unused = [name for name in Html.__members__ if not re.search(rf"\b{name}\b", code)]
        assert unused == []
