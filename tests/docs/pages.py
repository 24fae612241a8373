"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

#: What a person reads: the front page, what stands beside it, and every page of the site. (A
#: report's tables are files to take, not pages.)
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if not {"_build", "tables"} & {*p.parts}),
)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``info`` is what follows the fence (``python``), ``line`` where it begins."""

    page: str
    line: int
    info: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return next(iter(self.text.splitlines()), "")


@dataclass(frozen=True)
class Command:
    """A line of a shell block: its ``words``, and the ``environment`` that is set before them."""

    page: str
    line: int
    text: str
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place} {self.text}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, except the directives of the site (``{include}`` …)."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    name = page.relative_to(ROOT).as_posix()
    found = [t for t in tokens if t.type == "fence" and not t.info.startswith(("{", ":"))]
    return [Block(name, (t.map or [0])[0] + 1, t.info.strip(), t.content) for t in found]


def commands(block: Block) -> list[Command]:
    """The commands of a shell block. ``&&`` and a pipe divide a line into several."""
    found = []
    for number, line in enumerate(block.text.replace("\\\n", "  ").splitlines(), block.line + 1):
        for part in re.split(r"\s(?:&&|\|)\s", line):
            words = shlex.split(part, comments=True)
            set_before = []
            while words and re.fullmatch(r"[A-Z][A-Z_0-9]*=.*", words[0]):
                name, _, value = words.pop(0).partition("=")
                set_before.append((name, value))
            if words:
                text = shlex.join(words)
                found.append(Command(block.page, number, text, tuple(words), tuple(set_before)))
    return found


def named(page: Path) -> list[str]:
    """What stands in backticks within the sentences of a page."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    inline = [child for token in tokens for child in token.children or ()]
    return [child.content for child in inline if child.type == "code_inline" and child.content]
