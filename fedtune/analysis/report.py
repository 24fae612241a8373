"""``fedtune report``: from a sweep in MLflow to a folder with page, figures, tables and claims."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.markup import escape

from fedtune.analysis import curves, figures, origin, page, regime, style, summary, tables
from fedtune.analysis.figures import Drawn
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import load_sweep
from fedtune.analysis.paper.judging import as_data, judge
from fedtune.analysis.tracked import Sweep
from fedtune.errors import check_writable, first_line
from fedtune.paths import expanded
from fedtune.tracking.uri import resolve_uri

#: The folder of artifacts of the sweep's run.
ARTIFACTS = "report"

FIGURES: tuple[Callable[[Grid], Drawn | None], ...] = (
    figures.accuracy_at_budget,
    figures.rounds_to_target,
    curves.accuracy_per_round,
    curves.accuracy_per_step,
    curves.accuracy_per_byte,
    figures.clients_apart,
)


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
    except (MlflowException, OSError) as error:
        _problem(console, f"MLflow at {address} cannot be read ({first_line(error)})")
        return 1
    with tempfile.TemporaryDirectory() as private:
        made = Path(private, "report")  # of the usual mode, unlike a temporary folder
        content = build(found, made)
        _clear(out)
        shutil.copytree(made, out, dirs_exist_ok=True)
        _tell(content, out, console)
        try:
            MlflowClient(address).log_artifacts(found.run_id, str(made), ARTIFACTS)
        except Exception as error:  # whatever the store of artifacts raises
            _problem(
                console, f"MLflow did not take the report ({first_line(error)}); it is in {out}"
            )
            return 1
    return 0


def _clear(out: Path) -> None:
    """Remove the figures and tables of an earlier report, which may have had others.

    Whatever else lies there stays, and everything in a folder that holds no report.
    """
    try:
        is_report = "claims" in json.loads((out / "claims.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return
    for folder in (out / "figures", out / "tables"):
        if is_report and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


def build(sweep: Sweep, folder: Path) -> page.Content:
    """Write the report of a sweep into ``folder``, and give what its page says.

    The same tracked rounds give the same bytes.
    """
    grid = Grid(sweep.trials, sweep.expected)
    folder.mkdir(exist_ok=True)
    drawn = _draw(grid, folder / "figures")
    made = [
        tables.per_cell(grid),
        tables.ranks(grid),
        tables.to_target(grid),
        regime.regime(grid),
        tables.per_trial(grid),
        origin.trained_on(grid),
    ]
    cost = summary.cost(grid)
    (folder / "tables").mkdir()
    for table in (cost, *made):
        (folder / "tables" / f"{table.name}.csv").write_text(table.as_csv(), encoding="utf-8")
        (folder / "tables" / f"{table.name}.md").write_text(table.as_markdown(), encoding="utf-8")
    claims = judge(grid)
    data = json.dumps(as_data(sweep.name, claims), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "claims.json").write_text(data + "\n", encoding="utf-8")
    content = page.Content(
        sweep=sweep.name,
        progress=_progress(sweep),
        sentences=summary.sentences(grid),
        cost=cost,
        caveats=summary.caveats(grid),
        missing=grid.missing(),
        claims=claims,
        settings_age=origin.settings_age(sweep, grid),
        figures=drawn,
        tables=made,
        settings=origin.settings(grid),
        history=origin.history(sweep, grid),
        clients=grid.clients,
    )
    (folder / "index.html").write_text(page.render(content), encoding="utf-8")
    return content


def _draw(grid: Grid, folder: Path) -> list[tuple[Drawn, str]]:
    """Every figure that there is data for, as SVG and PDF; gives the SVG of each."""
    folder.mkdir()
    drawn = []
    with style.settings():
        for make in FIGURES:
            figure = make(grid)
            if figure is None:
                continue
            svg = style.save_svg(figure.figure, figure.name)
            (folder / f"{figure.name}.svg").write_text(svg, encoding="utf-8")
            (folder / f"{figure.name}.pdf").write_bytes(style.save_pdf(figure.figure))
            drawn.append((figure, svg))
    return drawn


def _progress(sweep: Sweep) -> str:
    ended = sum(trial.ended for trial in sweep.trials)
    told = f"{ended} of {len(sweep.trials)} trials in MLflow are complete"
    whole = sweep.expected.num_trials
    return f"{told}; the whole grid has {whole}" if whole > len(sweep.trials) else told


def _tell(content: page.Content, out: Path, console: Console) -> None:
    """What the report says, in a few lines."""
    start = f"Sweep [bold]{escape(content.sweep)}[/]: {content.progress}"
    console.print(start, highlight=False)
    for line in content.sentences:
        console.print(escape(line), soft_wrap=True, highlight=False)
    for line in content.missing[:5]:
        console.print(f"[yellow]missing:[/] {escape(line)}", soft_wrap=True, highlight=False)
    if len(content.missing) > 5:
        console.print(f"[yellow]missing:[/] and {len(content.missing) - 5} more", highlight=False)
    counts = page.count_verdicts(content.claims)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    console.print(f"Claims: {told or 'none'}", highlight=False)
    console.print(f"{out / 'index.html'}", soft_wrap=True, highlight=False)


def _problem(console: Console, text: str) -> None:
    console.print(f"[red]problem:[/] {escape(text)}", soft_wrap=True, highlight=False)
