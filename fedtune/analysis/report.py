"""``fedtune report``: from a sweep in MLflow to a folder with page, figures, tables and claims."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import SQLAlchemyError

from fedtune.analysis import by_client, curves, figures, origin, page, style, summary, tables
from fedtune.analysis.drawing import Drawn
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import load_sweep
from fedtune.analysis.missing import missing
from fedtune.analysis.naming import Names, names_of
from fedtune.analysis.paper.part import part_of
from fedtune.analysis.pooled import pooled_table
from fedtune.analysis.strategies import averages, by_strategy, compares_strategies, stages
from fedtune.analysis.table import Table
from fedtune.analysis.tracked import Sweep
from fedtune.errors import check_writable, first_line
from fedtune.paths import expanded
from fedtune.redaction import redacted
from fedtune.terminal import say_problem
from fedtune.tracking.uri import resolve_uri

#: The folder of artifacts of the sweep's run.
ARTIFACTS = "report"

#: By their numbers, of which the first three are those of the paper's figures.
FIGURES: Mapping[int, Callable[[Grid], Drawn | None]] = {
    1: figures.accuracy_at_budget,
    2: figures.rounds_to_target,
    3: curves.accuracy_per_round,
    4: curves.accuracy_per_step,
    5: curves.accuracy_per_byte,
    6: figures.clients_apart,
    7: by_client.classes_of_clients,
    8: by_client.accuracy_by_client,
}
#: Those that are about clients that differ.
CLIENT_BY_CLIENT = (7, 8)


def print_report(sweep: str | None, out: Path, uri: str | None, console: Console) -> int:
    """Make the report of a sweep (None: the latest) in ``out``, log it, and say what it says.

    The exit code is 1 where MLflow could not be read, or did not take the artifacts. Raises
    BadInput for an unknown sweep or a folder that cannot be written to, before anything is made.
    """
    out = expanded(out)
    check_writable("out", out)
    address = resolve_uri(uri)
    try:
        found = load_sweep(address, sweep)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        where = redacted(address)
        say_problem(console, f"MLflow at {where} cannot be read ({first_line(error)})")
        return 1
    with tempfile.TemporaryDirectory() as private:
        made = Path(private, "report")  # of the usual mode, unlike a temporary folder
        content, further = build(found, made)
        _clear(out)
        shutil.copytree(made, out, dirs_exist_ok=True)
        _tell(content, further, out, console)
        try:
            MlflowClient(address).log_artifacts(found.run_id, str(made), ARTIFACTS)
        except Exception as error:  # whatever the store of artifacts raises
            say_problem(
                console, f"MLflow did not take the report ({first_line(error)}); it is in {out}"
            )
            return 1
    return 0


def _clear(out: Path) -> None:
    """Remove the figures and tables of an earlier report, which may have had others.

    Whatever else lies there stays, and everything in a folder that holds no report.
    """
    try:
        is_report = page.GENERATOR in (out / "index.html").read_text(encoding="utf-8")[:1000]
    except (OSError, ValueError):
        return
    for folder in (out / "figures", out / "tables"):
        if is_report and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


def build(sweep: Sweep, folder: Path) -> tuple[page.Content, list[str]]:
    """Write the report of a sweep into ``folder``; give what its page says, and further lines.

    The same tracked rounds give the same bytes on the same machine: its fonts draw the names that
    matplotlib's own cannot.
    """
    grid = Grid(sweep.trials, sweep.expected)
    names = names_of(grid)
    shown = grid.renamed(*names.shown)
    folder.mkdir(exist_ok=True)
    drawn = _draw(grid, names, folder / "figures")
    paper = part_of(sweep.name, grid, origin.settings_age(sweep, grid))
    made = [
        tables.per_cell(grid),
        tables.ranks(grid),
        pooled_table(grid),
        tables.to_target(grid),
        *paper.tables,
        tables.per_trial(grid),
        origin.trained_on(grid),
    ]
    cost = summary.cost(grid)
    staged = stages(grid)
    if staged.rows:
        made.insert(0, staged)
    if compares_strategies(grid):
        made.insert(0, by_strategy(grid))
    _write(folder / "tables", [cost, *made])
    for name, text in paper.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    have = {figure.number for figure in drawn}
    content = page.Content(
        sweep=sweep.name,
        progress=_progress(sweep),
        sentences=summary.sentences(shown),
        cost=cost,
        figures=drawn,
        absent=[number for number in _of_interest(grid) if number not in have],
        caveats=[*summary.caveats(shown), *names.notes()],
        missing=missing(grid),
        sections=paper.sections,
        tables=made,
        history=origin.history(sweep, grid),
        settings=origin.settings(grid),
        short=names.in_tables(grid),
        joined=" by federated averaging" if averages(grid) else "",
        num_colours=len(grid.xs),
    )
    (folder / "index.html").write_text(page.page(content), encoding="utf-8")
    return content, [*names.notes(), *paper.lines]


def _of_interest(grid: Grid) -> list[int]:
    """The numbers of the figures that a reader looks for."""
    differ = any(trial.spread != "iid" for trial in grid.trials)
    return [number for number in FIGURES if differ or number not in CLIENT_BY_CLIENT]


def _draw(grid: Grid, names: Names, folder: Path) -> list[page.Numbered]:
    """Every figure that there is data for, as SVG and PDF."""
    folder.mkdir()
    drawn = []
    named = grid.renamed(*names.drawn)
    with style.settings(names.families):
        for number, make in FIGURES.items():
            figure = make(named)
            if figure is None:
                continue
            svg = style.save_svg(figure.figure, figure.name)
            (folder / f"{figure.name}.svg").write_text(svg, encoding="utf-8")
            (folder / f"{figure.name}.pdf").write_bytes(style.save_pdf(figure.figure))
            drawn.append(page.Numbered(number, figure, svg))
    return drawn


def _write(folder: Path, made: list[Table]) -> None:
    folder.mkdir()
    for table in made:
        (folder / f"{table.name}.csv").write_text(table.as_csv(), encoding="utf-8")
        (folder / f"{table.name}.md").write_text(table.as_markdown(), encoding="utf-8")


def _progress(sweep: Sweep) -> str:
    ended = sum(trial.ended for trial in sweep.trials)
    told = f"{ended} of {len(sweep.trials)} trials in MLflow are complete"
    whole = sweep.expected.num_trials
    return f"{told}; the whole grid has {whole}" if whole > len(sweep.trials) else told


def _tell(content: page.Content, further: list[str], out: Path, console: Console) -> None:
    """What the report says, in a few lines; a terminal wraps them between words."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=not console.is_terminal, highlight=False)

    say(f"Sweep [bold]{escape(content.sweep)}[/]: {content.progress}")
    for line in content.sentences:
        say(escape(line))
    for line in content.missing[:5]:
        say(f"[yellow]missing:[/] {escape(line)}")
    if len(content.missing) > 5:
        say(f"[yellow]missing:[/] and {len(content.missing) - 5} more")
    for line in further:
        say(escape(line))
    console.print(f"{out / 'index.html'}", soft_wrap=True, highlight=False, markup=False)
