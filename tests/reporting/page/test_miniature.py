"""The miniature of a claim: hand-computed places in units of the margin, and words for who cannot see it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from optstudy.reporting.page.miniature import WIDTH, miniature


def places(effect: float, low: float, high: float, margin: float) -> tuple[float, float, int]:
    """Return where the interval begins and ends, and the number of arrows and diamonds."""
    svg = str(miniature(effect, low, high, margin, "words"))
    found = re.search(r'class="interval" d="M([\d.]+) 12H([\d.]+)"', svg)
    assert found
    return float(found[1]), float(found[2]), svg.count("<path d=")


def test_a_margin_is_a_quarter_of_a_side() -> None:
    """The middle is at 90, and 4 margins are 86 wide: a margin is 21.5."""
    assert places(0.0, -0.01, 0.02, 0.01) == (68.5, 133.0, 1)
    assert places(0.0, -1.0, 2.0, 1.0) == (68.5, 133.0, 1)  # whatever the unit


def test_an_interval_that_leaves_the_picture_ends_in_an_arrow() -> None:
    assert places(0.0, -9.0, 1.0, 1.0) == (4.0, 111.5, 2)
    assert places(-8.0, -9.0, -7.0, 1.0) == (4.0, 4.0, 1)  # beyond it altogether: only the arrow
    assert places(0.0, -9.0, 9.0, 1.0) == (4.0, WIDTH - 4.0, 3)


@pytest.mark.parametrize("words", ["+1 pp (0 to 2)", '<b> & "quotes"'])
def test_its_words_are_escaped_and_read_by_a_screen_reader(words: str) -> None:
    svg = ElementTree.fromstring(str(miniature(0, -1, 1, 1, words)))
    assert svg.attrib["aria-label"] == words
    assert svg.attrib["role"] == "img"
    [title] = [child.text for child in svg if child.tag == "title"]
    assert title == words


def test_there_is_none_without_a_margin() -> None:
    assert miniature(0, -1, 1, 0, "words") == ""
