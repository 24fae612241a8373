"""The report as a user makes it: the command, its folder, and the page in a real browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from as_tracked import with_answers, write
from grids import whole_grid
from mlflow import MlflowClient
from support import call, mlflow_server, new_database, sweep_run
from synthetic import make_trial, run_all
from worlds import paper_like

from fedtune.analysis import style

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FIGURES = {
    "accuracy-at-budget",
    "rounds-to-target",
    "accuracy-per-round",
    "accuracy-per-step",
    "accuracy-per-byte",
    "drift-and-agreement",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database and the report of a sweep that has a gap."""
    folder = tmp_path_factory.mktemp("made")
    trials = whole_grid(datasets=("imdb", "yelp"), clients=(1, 4, 32))
    results = run_all(trials, paper_like)
    gap = make_trial("mini-bert", "yelp", 4).trial_id
    write(new_database(folder), [r for r in results if r.trial.trial_id != gap])
    done = call("report", "--out", "made", folder=folder)
    assert done.code == 0, done.everything
    assert "17 of 17 trials in MLflow are complete" in done.out
    assert "missing: K004 mini-bert yelp s0: not begun" in done.out
    assert re.search(r"The paper's claims: \d+ inconclusive", done.out)
    return folder


def test_the_folder_holds_page_figures_tables_and_claims(made: Path) -> None:
    out = made / "made"
    assert {path.stem for path in out.glob("figures/*.svg")} == FIGURES
    assert {path.stem for path in out.glob("figures/*.pdf")} == FIGURES
    for path in out.glob("figures/*.svg"):
        root = ElementTree.fromstring(path.read_text())
        assert float(root.attrib["width"].removesuffix("pt")) <= 72 * style.PAGE + 1
    names = {path.stem for path in out.glob("tables/*.csv")}
    assert names == {path.stem for path in out.glob("tables/*.md")}
    assert names >= {"trials", "by-clients", "ranks", "to-target", "regime", "cost"}
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert [claim["id"] for claim in claims] == [f"C{i}" for i in range(1, 14)]


def test_it_is_an_artifact_of_the_sweeps_run(made: Path) -> None:
    client = MlflowClient(f"sqlite:///{made}/mlflow.db")
    run = sweep_run(client, "synthetic").info.run_id
    assert {a.path for a in client.list_artifacts(run, "report")} == {
        "report/index.html",
        "report/claims.json",
        "report/figures",
        "report/tables",
    }


def test_the_page_needs_nothing_beside_it_and_says_what_is_missing(made: Path) -> None:
    page = (made / "made" / "index.html").read_text()
    loads = re.findall(r"""(?:\bsrc|\bhref|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert {address for address in loads if not address.startswith(("#", "data:"))} == set()
    assert "<script" not in page
    assert "@import" not in page
    assert "K004 mini-bert yelp s0: not begun" in page
    assert "mini-distilbert for DistilBERT" in page
    assert page.count("<svg") == 6
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_rounds_give_the_same_report(made: Path) -> None:
    (made / "some.yaml").write_text("name: synthetic\naxes: {clients: [1, 4, 32]}\n")

    again = call("report", "some.yaml", "--out", "again", folder=made)

    assert again.code == 0, again.everything
    first, second = made / "made", made / "again"
    paths = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert paths == {path.relative_to(second) for path in second.rglob("*") if path.is_file()}
    for path in paths:
        assert (first / path).read_bytes() == (second / path).read_bytes(), path


def test_tables_agree_with_the_rounds(made: Path) -> None:
    with (made / "made" / "tables" / "trials.csv").open() as file:
        rows = {(r["model"], r["data set"], r["K"]): r for r in csv.DictReader(file)}
    one, many = rows["mini-bert", "imdb", "1"], rows["mini-bert", "imdb", "32"]
    assert (one["outcome"], one["accuracy at budget"], one["rounds to target"]) == (
        "baseline",
        "0.9",
        "3",
    )
    assert float(many["accuracy at budget"]) == pytest.approx(0.5 + 0.4 * 0.6, abs=1e-3)
    assert float(many["retention"]) == pytest.approx(0.6, abs=2e-3)
    assert many["rounds to target"] == "17"
    assert int(many["steps to target"]) == 17 * 16
    assert int(many["bytes to target"]) == 17 * 2 * 32 * 4 * 2_000_000
    assert rows["mini-distilbert", "imdb", "32"]["rounds to target"] == "> 20"
    assert rows["mini-distilbert", "imdb", "32"]["outcome"] == "not_reached, collapsed"


def test_the_page_begins_with_what_it_says_and_numbers_its_figures_in_order(made: Path) -> None:
    page = (made / "made" / "index.html").read_text()

    numbers = re.findall(r"<figcaption><b>Figure (\d)\.", page)
    order = [
        page.index(part)
        for part in (
            '<p class="lead">Spread over 32 clients, mini-bert',
            '<p class="lead">Spread over 32 clients, mini-albert',
            '<p class="lead">Spread over 32 clients, mini-distilbert',
            "<th>points lost</th>",
            *(f"<b>Figure {number}." for number in (1, 2, 3)),
            "<h2>Figures</h2>",
            *(f"<b>Figure {number}." for number in (4, 5, 6)),
            "<h2>The paper&#39;s claims</h2>"
            if "paper&#39;s claims" in page
            else "paper's claims<",
            "<h2>Tables</h2>",
            "<h2>Settings, code and hardware</h2>",
        )
    ]
    assert order == sorted(order)
    assert numbers == list("123456")
    assert "There is no Figure" not in page


def browsed(page: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """What Chromium makes of a page without a network, as text, with what its console says."""
    assert CHROMIUM is not None
    always = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    )
    rules = "--host-resolver-rules=MAP * ~NOTFOUND"
    profile = f"--user-data-dir={folder / 'profile'}"
    return subprocess.run(
        [CHROMIUM, *always.split(), rules, profile, *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )


#: Says of a page in a frame how wide it is, what sticks out of it, and where figures stand.
MEASURE = """
<body><iframe style="width: %dpx; height: 900px; border: 0" src="%s"></iframe><pre></pre><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach(one => one.open = true);
  const inside = one => one.getBoundingClientRect().right <= root.clientWidth + 1;
  const free = [...page.querySelectorAll("main *")].filter(one => !one.closest(".scroll > *"));
  const wide = [...page.querySelectorAll(".scroll")].filter(s => s.scrollWidth > s.clientWidth + 1);
  const tables = wide.filter(scroll => scroll.querySelector("td"));
  tables.forEach(scroll => scroll.scrollLeft = 1000);
  const sticks = scroll => scroll.querySelector("td").getBoundingClientRect().left >= 0;
  const top = name => page.getElementById(name).getBoundingClientRect().top;
  document.querySelector("pre").textContent = JSON.stringify({
    sideways: root.scrollWidth - root.clientWidth,
    outside: free.filter(one => !inside(one)).map(one => one.outerHTML.slice(0, 80)),
    wide: tables.length,
    shadows: wide.every(one => page.defaultView.getComputedStyle(one).backgroundImage !== "none"),
    stay: tables.every(sticks),
    tops: [top("accuracy-at-budget"), top("rounds-to-target"), top("accuracy-per-round")],
  });
};
</script></body>
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package `chromium`")
@pytest.mark.parametrize("width", [390, 1400])
def test_what_is_wider_than_the_page_scrolls_by_itself(
    made: Path, tmp_path: Path, width: int
) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE % (width, (made / "made" / "index.html").as_uri()))

    done = browsed(frame, tmp_path, "--allow-file-access-from-files", "--window-size=1500,1000")

    found = re.search(r"<pre>(.*)</pre>", done.stdout)
    assert found is not None, done.stderr
    seen = json.loads(found[1])
    assert seen["sideways"] == 0
    assert seen["outside"] == []
    assert seen["shadows"]
    assert seen["stay"], "the first column is seen however far a table is scrolled"
    if width == 390:
        assert seen["wide"] >= 5
        assert seen["tops"] == sorted(seen["tops"])
    else:
        assert len(set(seen["tops"])) == 1, "Figures 1 to 3 stand side by side"
        assert seen["tops"][0] < 600, "on the first screen"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package `chromium`")
def test_the_page_opens_without_a_network_and_without_errors(made: Path, tmp_path: Path) -> None:
    done = browsed(made / "made" / "index.html", tmp_path, "--window-size=390,800")

    assert "CONSOLE" not in done.stderr, done.stderr
    assert "what federation costs" in done.stdout
    for name in FIGURES:
        assert re.search(rf'<figure( class="wide")? id="{name}">', done.stdout)
    for number in range(1, 14):
        assert re.search(rf"\bC{number}\b", done.stdout)


@pytest.mark.slow
def test_a_server_takes_the_report_too(tmp_path: Path) -> None:
    new_database(tmp_path)
    with mlflow_server(tmp_path / "mlflow.db", tmp_path) as address:
        results = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2)), paper_like)
        write(address, with_answers(results, tmp_path))

        done = call("report", "--tracking-uri", address, folder=tmp_path)

        assert done.code == 0, done.everything
        client = MlflowClient(address)
        run = sweep_run(client, "synthetic").info.run_id
        kept = {artifact.path for artifact in client.list_artifacts(run, "report")}
        assert "report/index.html" in kept
        page = (tmp_path / "report" / "index.html").read_text()
        assert "known of 2 of 2 trials" in page
        assert "Downloading" not in done.err


def test_bad_input_is_said_in_a_line_and_makes_nothing(made: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{made}/mlflow.db"
    (tmp_path / "file").write_text("")

    unknown = call("report", "synthetik", "--tracking-uri", uri, folder=tmp_path)
    blocked = call("report", "--tracking-uri", uri, "--out", "file", folder=tmp_path)
    nowhere = call("report", folder=tmp_path)

    assert (unknown.code, blocked.code, nowhere.code) == (2, 2, 2)
    assert "did you mean 'synthetic'" in unknown.err
    assert "no folder that can be written to" in blocked.err
    assert "there is no such database" in nowhere.err
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_an_earlier_report_leaves_nothing_in_a_new_one(tmp_path: Path, two_figures: None) -> None:
    trials = whole_grid(("mini-bert",), ("imdb",), (1, 2))
    results, uri = run_all(trials, paper_like), new_database(tmp_path)
    write(uri, results, "whole")
    write(uri, results[:1], "alone")
    mine = {tmp_path / "report" / name for name in ("notes.md", "figures.txt", "data/own.csv")}

    assert call("report", "whole", folder=tmp_path).code == 0
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    first = {path for path in (tmp_path / "report").rglob("*") if path.is_file()}
    assert call("report", "alone", folder=tmp_path).code == 0
    second = {path for path in (tmp_path / "report").rglob("*") if path.is_file()}
    assert call("report", "alone", "--out", "new", folder=tmp_path).code == 0

    new = {path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*.*")}
    assert {path.relative_to(tmp_path / "report") for path in second - mine} == new
    assert first - second, "the first one has figures that the second has not"
    assert {path.read_text() for path in mine} == {"mine"}


@pytest.mark.parametrize("page", [None, "", "<!doctype html>mine"])
def test_figures_and_tables_of_the_users_own_stay(
    tmp_path: Path, page: str | None, two_figures: None
) -> None:
    write(new_database(tmp_path), run_all(whole_grid(("mini-bert",), ("imdb",), (1,)), paper_like))
    own = [tmp_path / "figures" / "own.svg", tmp_path / "tables" / "own.csv"]
    for path in own:
        path.parent.mkdir()
        path.write_text("mine")
    if page is not None:
        (tmp_path / "index.html").write_text(page)

    assert call("report", "--out", ".", folder=tmp_path).code == 0

    assert [path.read_text() for path in own] == ["mine", "mine"]
    assert (tmp_path / "figures" / "accuracy-at-budget.svg").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_as_large_as_the_papers_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = whole_grid(budget_rounds=200, max_rounds=200)
    slow = run_all(trials, paper_like)
    assert [len(result.records) for result in slow] == [201] * 54
    write(new_database(tmp_path), slow)
    start = time.perf_counter()

    done = call("report", folder=tmp_path)

    seconds = time.perf_counter() - start
    assert done.code == 0, done.everything
    rounds = sum(len(result.records) - 1 for result in slow)
    with capsys.disabled():
        print(f"\nreport of {len(slow)} trials and {rounds:,} rounds: {seconds:.1f} s")
