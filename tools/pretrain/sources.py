"""Readers that turn what packages install (web pages, dictionaries, tables) into plain documents.

Every reader takes a path and yields documents: strings of one or more sentences, white space
flattened. Nothing here reaches the network.
"""

import gzip
import html
import json
import random
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

_SPACE = re.compile(r"\s+")
_TAG = re.compile(r"<[^>]+>")


def flatten(text: str) -> str:
    """Return `text` with every run of white space as one blank."""
    return _SPACE.sub(" ", text).strip()


class _Paragraphs(HTMLParser):
    """Collects the text of `<p>` elements: prose, without menus, tables and code blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.parts: list[str] = []
        self.paragraphs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "p":
            self.depth, self.parts = 1, []

    def handle_endtag(self, tag: str) -> None:
        if tag == "p" and self.depth:
            self.depth = 0
            self.paragraphs.append(flatten("".join(self.parts)))

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.parts.append(data)


def read_html(folder: Path) -> Iterator[str]:
    """Yield one document per web page below `folder`: its paragraphs of at least eight words."""
    for path in sorted(folder.rglob("*.html")):
        parser = _Paragraphs()
        parser.feed(path.read_text(encoding="utf-8", errors="replace"))
        paragraphs = [p.removesuffix("¶") for p in parser.paragraphs if len(p.split()) >= 8]
        if paragraphs:
            yield " ".join(paragraphs)


def read_texts(folder: Path) -> Iterator[str]:
    """Yield one document per `.txt` file below `folder`."""
    for path in sorted(folder.rglob("*.txt")):
        yield flatten(path.read_text(encoding="utf-8", errors="replace"))


def read_dictd(path: Path) -> Iterator[str]:
    """Yield one document per entry of a dictd dictionary (`.dict.dz`), cross-reference braces off.

    Entries are recognised by their head word at the start of a line, as in the Jargon File.
    """
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    for entry in re.split(r"\n(?=\S)", text):
        body = flatten(entry.replace("{", "").replace("}", ""))
        if len(body.split()) >= 12 and not body.startswith("00-database"):
            yield body


def read_factbook(folder: Path) -> Iterator[str]:
    """Yield one document per country and section of the World Factbook in JSON."""

    def prose(node: Any, heading: str) -> Iterator[str]:
        for key, value in node.items():
            if key == "text" and isinstance(value, str) and len(value.split()) >= 4:
                text = flatten(html.unescape(_TAG.sub(" ", value))).rstrip(".")
                yield f"{heading}: {text}."
            elif isinstance(value, dict):
                yield from prose(value, key)

    for path in sorted(folder.rglob("*.json")):
        if path.name == "package.json":
            continue
        for section, node in json.loads(path.read_text(encoding="utf-8")).items():
            if isinstance(node, dict):
                document = " ".join(prose(node, section))
                if document:
                    yield document


def read_table(path: Path) -> Iterator[str]:
    """Yield the `text` column of a parquet file, HTML line breaks as blanks."""
    # pyarrow has no type information; imported this way it is simply Any.
    parquet = import_module("pyarrow.parquet")
    for value in parquet.read_table(path, columns=["text"])["text"].to_pylist():
        yield flatten(_TAG.sub(" ", value))


def read_wordnet(folder: Path) -> Iterator[str]:
    """Yield topical documents made from WordNet's glosses.

    A gloss alone is a dozen words. A document here is a synset and a random walk among what it
    contains (hyponyms, instances, members, and terms of that topic), so that it is about one
    thing, as a news text is: "baseball: ...; shortstop: ...; ..." Every synset with at least
    three such relatives opens up to three documents.
    """
    glosses: dict[str, str] = {}
    children: dict[str, list[str]] = {}
    for part, kind in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            num_words = int(fields[3], 16)
            words = [w.replace("_", " ").split("(")[0] for w in fields[4 : 4 + 2 * num_words : 2]]
            key = kind + fields[0]
            definition = gloss.strip().replace('"', "")
            glosses[key] = f"{', '.join(words[:4])}: {definition}."
            pointers = fields[5 + 2 * num_words :]
            for symbol, offset, target_kind in zip(
                pointers[0::4], pointers[1::4], pointers[2::4], strict=False
            ):
                if symbol in ("~", "~i", "-c", "%m", "%p", "#m"):
                    children.setdefault(key, []).append(target_kind.replace("s", "a") + offset)
    for key in sorted(children):
        relatives = children[key]
        if len(relatives) < 3:
            continue
        # Seeded by the synset: the same documents whatever else is read.
        generator = random.Random(key)
        for _ in range(min(3, 1 + len(relatives) // 8)):
            chosen = generator.sample(relatives, min(len(relatives), 12))
            deeper = [c for r in chosen[:4] for c in children.get(r, [])[:2]]
            yield flatten(" ".join(glosses[k] for k in [key, *chosen, *deeper] if k in glosses))


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "html": read_html,
    "texts": read_texts,
    "dictd": read_dictd,
    "factbook": read_factbook,
    "table": read_table,
    "wordnet": read_wordnet,
}
