"""Names that somebody else chose: in figures, on the page, in Markdown, with and without fonts."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from as_tracked import in_memory
from grids import whole_grid
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic import BEGUN_MS, run_all

from fedtune.analysis import fonts, style, words
from fedtune.analysis.fonts import BASE, fonts_for
from fedtune.analysis.grid import Grid
from fedtune.analysis.naming import names_of
from fedtune.analysis.report import FIGURES, build
from fedtune.analysis.table import Table
from fedtune.analysis.tracked import Sweep

AWKWARD = ("$x_1$ {y} 100%", "_hidden|pipe", "<script>alert(1)", "a\\b^2$", "{}", "50% & more")
JAPANESE, CHINESE, KOREAN = "映画レビュー", "电影评论", "영화리뷰"
LONG = ["a" * 60 + digit + "b" * 59 for digit in "12"]


def grid_of(models: tuple[str, ...], datasets: tuple[str, ...]) -> Grid:
    trials = whole_grid(models, datasets, (1, 8))
    return in_memory(run_all(trials, lambda _, step: min(0.9, 0.25 + 0.1 * step)))


def drawn_texts(grid: Grid, number: int) -> set[str]:
    """The texts of a figure; drawing and saving it must not warn."""
    names = names_of(grid)
    with style.settings(names.families):
        made = FIGURES[number](grid.renamed(*names.drawn))
        assert made is not None
        style.save_svg(made.figure, made.name)
        style.save_pdf(made.figure)
    return texts_of(made.figure)


def texts_of(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text)}


@pytest.fixture
def only_matplotlibs_own_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono"}
    monkeypatch.setattr(fonts, "_families", lambda: own)
    monkeypatch.setattr(fonts, "_look_again", lambda: None)


def test_signs_that_mean_something_to_a_library_are_drawn_as_they_are() -> None:
    grid = grid_of(AWKWARD, ("$5_reviews$.csv",))

    budget, rounds = drawn_texts(grid, 1), drawn_texts(grid, 3)

    assert {*AWKWARD, "$5_reviews$.csv, after 10 rounds"} <= budget
    assert {f"{name}\n$5_reviews$.csv" for name in AWKWARD} <= rounds


@pytest.mark.usefixtures("only_matplotlibs_own_fonts")
def test_without_a_font_a_name_has_a_stand_in_and_one_sentence() -> None:
    grid = grid_of(("mini-bert",), (CHINESE, "plain", JAPANESE))

    names = names_of(grid)

    assert names.families == (BASE,)
    assert set(names.stand_ins.values()) == {CHINESE, JAPANESE}
    assert {"plain, after 10 rounds", *(f"{s}, after 10 rounds" for s in names.stand_ins)} <= (
        drawn_texts(grid, 1)
    )
    assert len(names.notes()) == 2
    assert f"is {JAPANESE}: no font on this machine has all its letters" in " ".join(names.notes())


@pytest.mark.skipif(
    not any("CJK" in path or "wqy" in path.lower() for path in font_manager.findSystemFonts()),
    reason="no font with Chinese, Japanese and Korean letters here: install `fonts-noto-cjk`",
)
def test_with_a_font_names_are_drawn_in_their_own_letters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    grid = grid_of((f"bert {KOREAN}",), (CHINESE, JAPANESE))

    with caplog.at_level(logging.WARNING):
        texts = drawn_texts(grid, 1)

    assert f"bert {KOREAN}" in texts
    assert {f"{CHINESE}, after 10 rounds", f"{JAPANESE}, after 10 rounds"} <= texts
    assert names_of(grid).notes() == []
    assert names_of(grid).families[0] == BASE
    assert caplog.messages == []


def test_a_font_that_was_installed_after_matplotlib_looked_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "STIXGeneral"  # comes with matplotlib, as if it had been installed just now
    letter = min(fonts._letters_of(name) - fonts._letters_of(BASE))
    manager = font_manager.fontManager
    paths = [entry.fname for entry in manager.ttflist if entry.name == name]
    known = [entry for entry in manager.ttflist if entry.name == BASE]
    monkeypatch.setattr(manager, "ttflist", known)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [*paths, "/no/such/font.ttf"])

    assert fonts_for([f"a{letter}"]) == ((BASE, name), frozenset())


def test_letters_that_no_font_has_are_named_and_draw_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = fonts_for(["plain", "\U0010fffd"])  # a private character, in no font

    assert found.lacking == {"\U0010fffd"}
    assert found.families == (BASE,)
    assert caplog.messages == []


def test_long_names_are_short_everywhere_and_apart_and_whole_in_a_tooltip(tmp_path: Path) -> None:
    grid = grid_of((*LONG, "<script>alert(1)"), ("own.csv",))
    build(Sweep("sweep", "run", "FINISHED", BEGUN_MS, grid.trials, {}), tmp_path / "report")

    page = (tmp_path / "report" / "index.html").read_text()

    shorts = [words.shortened(LONG, 28)[name] for name in LONG]
    assert len(set(shorts)) == 2
    end = page.index('<section id="settings"')
    visible = re.sub(r"<[^>]*>", " ", page[page.index("<body>") : end])
    for name, short in zip(LONG, shorts, strict=True):
        assert f'<td class="word" title="{name}">{short}</td>' in page
        assert f"Spread over 8 clients, {short} is" in visible
        assert name not in visible
        assert name in page[end:]
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    table = (tmp_path / "report" / "tables" / "cost.csv").read_text()
    assert all(name in table for name in LONG), "programs get the whole name"


def test_shortening_counts_wide_letters_twice_and_marks_what_becomes_the_same() -> None:
    assert words.shortened(["abcdefghij"], 10) == {"abcdefghij": "abcdefghij"}
    assert words.shortened(["abcdefghijk"], 10) == {"abcdefghijk": "abcde…hijk"}
    assert words.shortened(["映画レビュー映画"], 9) == {"映画レビュー映画": "映画…映画"}
    same = words.shortened(["abcde1fghij", "abcde2fghij", "abcde3fghij"], 10)
    assert list(same.values()) == ["abcde…ghij", "abc…hij #2", "abc…hij #3"]
    assert all(words.width(short) <= 10 for short in same.values())


def test_a_renamed_grid_keeps_its_order_and_its_trials() -> None:
    grid = grid_of(("mini-bert", "zeta", "alpha", LONG[0]), ("own.csv", "imdb"))
    names = {name: f"model {99 - i}" for i, name in enumerate(grid.models)}

    renamed = grid.renamed(names, {"own.csv": "a", "imdb": "b"}, {"": ""})

    assert renamed.models == [names[name] for name in grid.models]
    assert renamed.datasets == ["b", "a"]
    assert len(renamed.series) == len(grid.series) == 8


def test_a_line_break_in_a_name_does_not_break_a_line() -> None:
    trials = whole_grid(("a\nb",), ("folder/",), (1,))

    (trial,) = in_memory(run_all(trials, lambda *_: 0.5)).trials

    assert trial.model == "a�b"
    assert trial.dataset == "folder"


def test_markdown_shows_names_as_they_are() -> None:
    names = ["<b>x</b>", "a|b", "$x$", "_x_", "ag_news_14k", "*x*", "`x`", "[x]"]

    lines = Table("t", "t", "", ["name"], [[name] for name in names]).as_markdown().splitlines()

    assert lines[2:] == [
        *(r"| \<b>x\</b> |", r"| a\|b |", r"| \$x\$ |", r"| \_x\_ |", "| ag_news_14k |"),
        *(r"| \*x\* |", r"| \`x\` |", r"| \[x\] |"),
    ]
