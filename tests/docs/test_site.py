"""The site that `make docs` builds: no warning, everything in it, links that lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT

import fedtune
from fedtune.commands.cli import cli
from fedtune.config import FIELDS

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. The notebook is not executed: test_tutorial.py does that."""
    out = tmp_path_factory.mktemp("site")
    how = ["-W", "--keep-going", "-q", "-D", "nb_execution_mode=off", "-d", str(out / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", *how, str(DOCS), str(out / "html")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_every_page_is_in_the_site_and_found_from_its_front_page(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    pages = [path for path in PAGES if path.is_relative_to(DOCS)] + [DOCS / "tutorial.ipynb"]
    for page in pages:
        built = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / built).is_file(), built
        assert built == "index.html" or f'href="{built}"' in front, f"{built} is in no menu"


def test_the_reference_has_every_setting_command_and_name(site: Path) -> None:
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    for field in FIELDS:
        assert f'id="fedtune.TrialConfig.{field}"' in settings
    commands = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    for name, command in cli.commands.items():
        for param in (p for p in command.params if not getattr(p, "hidden", False)):
            for spelling in param.opts:
                if spelling.startswith("--"):
                    assert f'id="cmdoption-fedtune-{name}-{spelling[2:]}"' in commands
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in fedtune.__all__:
        place = settings if name == "TrialConfig" else python
        assert f'id="fedtune.{name}"' in place


def test_the_search_knows_words_of_pages_settings_and_the_notebook(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    for word in ("slurm", "courier", "drift"):
        assert word in found["terms"], word
    names = {entry[4] for entries in found["objects"].values() for entry in entries}
    assert names >= {"simulate", "plot", "trainable"}
    assert "learning_rate" in {entry[4] for entry in found["objects"]["fedtune.TrialConfig"]}


def test_nothing_in_the_site_names_a_folder_of_this_machine(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert str(ROOT) not in text, page
        assert str(Path.home()) + "/" not in text, page


# What is not in the site


def test_links_of_the_pages_beside_it_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        page = ROOT / name
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (ROOT / target).exists(), f"{page.name}: {target}"


def literals() -> list[list[str]]:
    """Every text in the package's code as its constant parts: what an f-string fills in is cut."""
    found = []
    for path in (ROOT / "fedtune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)
                found.append("".join(map(str, parts)).split("\0"))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append([node.value])
    return found


def test_the_messages_that_are_explained_are_messages_of_the_code() -> None:
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^\*\*(.+?)\*\*", page, re.M)
    messages = [message for heading in headings for message in re.findall(r"`([^`]+)`", heading)]
    assert len(messages) > 15
    code = literals()
    for message in messages:
        wanted = [part.strip() for part in message.split("…") if part.strip()]
        known = any(
            all(any(part in piece for piece in pieces) for part in wanted) for pieces in code
        )
        assert known, f"no text in the code says: {message}"
