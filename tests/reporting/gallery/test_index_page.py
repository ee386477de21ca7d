"""The index: each claim has its mark and its words, each link its target, and text of a study file is escaped."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from builders import tiny
from optstudy.analysis.verdicts import worded_effect, worded_verdict
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.gallery.index_page import DARK_INK, DARK_PAPER, write_index
from optstudy.reporting.gallery.matrix import GLYPHS
from optstudy.reporting.style import INK, PAPER
from optstudy.study.claim import TOPICS
from synthetic import answer_study

EVIL = "<script>alert('x')</script> | <b>"


class Page(HTMLParser):
    """A page's links, ids and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two studies, one a copy of the other."""
    root = tmp_path_factory.mktemp("index")
    claims = [
        {"statement": EVIL, "better": "adam", "than": "sgd", "topic": "adam-fast"},
        {"statement": "second", "better": "adam", "than": "sgd", "metric": "epochs_to_target"},
        {"statement": "third", "better": "adam", "than": "sgd", "topic": "adam-fast", "primary": False},
    ]
    paths = StudyPaths(tiny(question=EVIL, replicates=6, claims=claims), root / "results", root / "mlruns")
    answer_study(paths)
    for name in ("one", "other"):
        shutil.copytree(paths.tables, root / "all" / name)
    write_index(root / "all", ["one", "other"])
    return root / "all"


def claims_of(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "claims.json").read_text())  # type: ignore[no-any-return]


def test_each_claim_has_a_mark_and_its_verdict_and_effect_in_words(studies: Path) -> None:
    source, page = (studies / "index.html").read_text(), Page(studies / "index.html")
    claims = claims_of(studies / "one")
    for verdict in GLYPHS:
        count = sum(claim["verdict"] == verdict for claim in claims)
        assert source.count(f'class="verdict {verdict.replace(" ", "-")}"') == 2 * count, verdict
    for claim in claims:
        assert page.text.count(f"{worded_verdict(claim)}; Adam against SGD") >= 2
        assert page.text.count(worded_effect(claim)) >= 2
    assert all(question in page.text for question in TOPICS.values())  # asked by a study, or named as asked by none


def test_each_link_of_the_index_has_its_target(studies: Path) -> None:
    page = Page(studies / "index.html")
    assert {link.partition("#")[0] for link in page.links} == {"", "one/report.html", "other/report.html"}
    for link in page.links:
        file, _, name = link.partition("#")
        target = Page(studies / file) if file else page
        assert not name or name in target.ids, link
    assert len(set(page.ids)) == len(page.ids)


def test_text_from_a_study_file_is_escaped_in_page_and_table(studies: Path) -> None:
    assert "<script>alert" not in (studies / "index.html").read_text()
    assert {line.replace("\\|", "").count("|") for line in (studies / "index.md").read_text().splitlines()} == {3}


def test_the_table_has_a_line_for_each_question_that_is_asked(studies: Path) -> None:
    """Of the question's two claims, the primary one is shown; a claim on no question of the protocol has no line."""
    [line] = (studies / "index.md").read_text().splitlines()[2:]
    shown, _, hidden = claims_of(studies / "one")
    assert line.startswith(f"| {TOPICS['adam-fast']} |")
    assert line.count(worded_verdict(shown)) == 1
    assert [line.count(f"{name} {worded_effect(shown)}") for name in ("one", "other")] == [1, 1]
    assert worded_verdict(hidden) not in line


def test_several_studies_have_a_section_together_and_a_single_one_has_none(studies: Path, tmp_path: Path) -> None:
    [line] = pd.read_csv(studies / "across.csv").to_dict("records")
    assert (line["question"], line["studies"]) == (TOPICS["adam-fast"], 2)
    assert {"over", "figure-profiles"} <= set(Page(studies / "index.html").ids)
    shutil.copytree(studies / "one", tmp_path / "one")
    write_index(tmp_path, ["one"])
    assert "over" not in Page(tmp_path / "index.html").ids


def test_the_headline_for_dark_pages_differs_in_ink_and_paper_alone(studies: Path) -> None:
    light, dark = (studies / "one" / name for name in ("figures/headline.svg", "headline-dark.svg"))
    assert dark.read_text() != light.read_text()
    assert dark.read_text().replace(DARK_INK, INK).replace(DARK_PAPER, PAPER) == light.read_text()


def test_the_documentation_explains_each_mark() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reading.md").read_text(encoding="utf-8")
    words = " ".join(page.split())
    assert all(f"{glyph} {verdict}" in words or f"{glyph} is {verdict}" in words for verdict, glyph in GLYPHS.items())
