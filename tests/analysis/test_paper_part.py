"""When a report has the paper's claims, and how the rest of it knows of them."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from as_tracked import in_memory, write
from grids import whole_grid
from support import call, new_database
from synthetic import run_all
from worlds import paper_like

import fedtune.analysis
from fedtune.analysis.expected import Expected
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper.part import FILE, part_of
from fedtune.analysis.paper.shape import has_papers_shape


@pytest.mark.parametrize(
    ("models", "datasets", "clients", "has"),
    [
        (("mini-bert",), ("imdb",), (1, 2, 4), True),
        (("bert-base-cased",), ("ag_news",), (1, 8, 32), True),
        (("mini-distilbert", "roberta"), ("toy", "yelp"), (1, 2, 32), True),
        (("mini-bert",), ("imdb",), (1, 32), False),
        (("mini-bert",), ("reviews.csv",), (1, 2, 4, 8), False),
        (("roberta",), ("imdb",), (1, 2, 4, 8), False),
        (("mini-bert",), ("reviews.csv",), (1, 8), False),
    ],
)
def test_the_papers_shape(
    models: tuple[str, ...], datasets: tuple[str, ...], clients: tuple[int, ...], has: bool
) -> None:
    assert has_papers_shape(in_memory(run_all(whole_grid(models, datasets, clients), flat))) is has
    planned = Expected(models, datasets, clients, (0,))
    assert has_papers_shape(Grid((), planned)) is has


def flat(*_: object) -> float:
    return 0.6


def test_a_pair_needs_its_own_numbers_of_clients() -> None:
    trials = [
        *whole_grid(("mini-bert",), ("imdb",), (1, 2)),
        *whole_grid(("roberta",), ("imdb",), (1, 4, 8)),
    ]

    assert not has_papers_shape(in_memory(run_all(trials, flat)))


def test_a_sweep_about_something_else_has_no_claims_and_a_file_that_says_so(
    tmp_path: Path,
) -> None:
    trials = whole_grid(("mini-bert",), ("reviews.csv",), (1, 8), stop="target")
    write(new_database(tmp_path), run_all(trials, lambda _, step: min(0.9, 0.25 + 0.1 * step)))

    done = call("report", folder=tmp_path)

    assert done.code == 0, done.everything
    assert "laim" not in done.out
    page = (tmp_path / "report" / "index.html").read_text()
    assert "claims" not in page.lower()
    assert "miniature" not in page
    assert "the paper" not in page
    assert not (tmp_path / "report" / "tables" / "regime.csv").exists()
    data = json.loads((tmp_path / "report" / FILE).read_text(), parse_constant=pytest.fail)
    assert data["claims"] == []
    assert "does not have the paper's shape" in data["note"]


def test_claims_are_lines_to_open_and_what_is_not_run_is_one_at_the_end() -> None:
    trials = whole_grid(("mini-bert", "mini-albert"), ("ag-news",), seeds=range(5))
    grid = in_memory(run_all(trials, paper_like))

    part = part_of("sweep", grid, "Not known.")

    (section,) = part.sections
    judged, unjudged = section.html.split("Not judged here:")
    assert judged.count("<details") == 5, "C1, C5, C10, the rule, and what is not judged"
    for number in ("C1", "C5", "C10"):
        assert f"<span>{number}</span>" in judged
    assert unjudged.count("</details>") == 1
    for number in ("C2", "C3", "C4", "C6", "C7", "C8", "C9", "C11", "C13"):
        assert f"{number} not run" in unjudged
    assert part.lines == ("The paper's claims: 3 holds, 1 not applicable, 9 not run",)
    assert len(json.loads(part.files[FILE])["claims"]) == 13


def test_the_rest_of_the_report_knows_the_papers_claims_by_one_module() -> None:
    folder = Path(fedtune.analysis.__path__[0])
    seen = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and ".paper" in (node.module or ""):
                seen.add((path.name, node.module))
        assert "claims.json" not in path.read_text()

    assert seen == {("report.py", "fedtune.analysis.paper.part")}
    for template in folder.glob("*.j2"):
        assert "claim" not in template.read_text()
