"""The package can be imported where modules of one operating system are missing."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fedtune

ROOT = Path(fedtune.__file__).parent

#: Modules of the standard library that Windows lacks, and those that macOS lacks.
UNIX_ONLY = ("fcntl", "resource", "pty", "termios", "grp", "pwd", "posix")

#: What a distribution is called whose module has another name.
DISTRIBUTIONS = {"yaml": "pyyaml", "huggingface_hub": "huggingface-hub"}


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(ROOT)], "fedtune.")
    return [module.name for module in found if module.name != "fedtune.__main__"]


def test_every_module_can_be_imported_without_what_only_unix_has() -> None:
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in UNIX_ONLY if name != "posix")
    # Ray itself imports some of these; fedtune's modules that need Ray are read below instead.
    own = [name for name in modules() if not name.startswith(("fedtune.run", "fedtune.analysis"))]
    script = f"import sys, importlib\n{missing}for name in {own!r}: importlib.import_module(name)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_module_imports_what_only_unix_has_when_it_is_imported() -> None:
    for path in ROOT.rglob("*.py"):
        assert not _imported(path, only_at_once=True) & set(UNIX_ONLY), path


def test_what_is_imported_is_declared() -> None:
    """A package that only comes along with another may stop doing so."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        re.split(r"[^\w.-]", line)[0].lower() for line in project["project"]["dependencies"]
    }
    imported = set().union(*(_imported(path) for path in ROOT.rglob("*.py")))
    others = imported - set(sys.stdlib_module_names) - {"fedtune", "__future__"}
    assert {DISTRIBUTIONS.get(name, name) for name in others} <= declared


#: The layers of docs/architecture.md, from the top; everything else is at the bottom.
LAYERS = (
    ("commands", "__main__"),
    ("run", "analysis", "notebook"),
    ("plan", "cost"),
    ("tracking",),
    ("trial",),
    ("federated",),
    ("models", "data"),
)


def test_every_import_points_down() -> None:
    height = {name: -number for number, names in enumerate(LAYERS) for name in names}
    lowest = -len(LAYERS)
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).with_suffix("").parts[0]
        if own == "__init__":
            continue  # it offers names of every layer, and imports them when they are used
        for package in _packages_imported(path):
            assert height.get(package, lowest) <= height.get(own, lowest), f"{path}: {package}"


def _packages_imported(path: Path) -> set[str]:
    """What a module imports of fedtune, by the package or the module at its top."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "fedtune":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("fedtune."):
            names.add(str(node.module).split(".")[1])
    return names


def _imported(path: Path, only_at_once: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if only_at_once else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("name", ["py.typed"])
def test_type_checkers_may_read_the_types(name: str) -> None:
    assert (ROOT / name).is_file()
