"""YAML as people write it, and no more of it than can be worked with."""

from __future__ import annotations

import re
from itertools import accumulate, repeat
from typing import Any

import yaml

from fedtune.errors import first_line

#: What a text may amount to where an anchor stands for all that it names: as many values, or as
#: many times what is written. Ten lines of ten aliases each are ten thousand million values.
_MOST_VALUES, _MOST_TIMES = 100_000, 10

_BRACKETS, _DEEPEST = {"[": 1, "{": 1, "]": -1, "}": -1}, 200


class BadYAML(yaml.YAMLError, ValueError):
    """Text that is no YAML, or that stands for far more than it is; the message says where."""


def load_yaml(text: str) -> Any:
    """What ``text`` says, in plain types: 2e-5 is a number, and a key that stands twice an error.

    Raises BadYAML, in one line, for whatever cannot be read.
    """
    return _load(text, _Loader)


def load_dumped(text: str) -> Any:
    """What ``yaml.safe_dump`` has written, which leaves words without quotes that are numbers to
    :func:`load_yaml`: a trial may be called 43e623921709.
    """
    return _load(text, yaml.SafeLoader)


def _load(text: str, kind: type[yaml.SafeLoader]) -> Any:
    if max(accumulate(map(_BRACKETS.get, text, repeat(0))), default=0) > _DEEPEST:
        raise BadYAML("it is nested too deeply")  # to find out while reading it takes seconds
    try:
        loader = kind(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return loader.construct_document(node)
    except BadYAML:
        raise
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        raise BadYAML(f"{_place(mark)}{problem}") from None
    except RecursionError:
        raise BadYAML("it is nested too deeply") from None
    except Exception as error:  # a number of 5,000 digits, a 30th of February: Python's own words
        raise BadYAML(first_line(error)) from None


def _check(root: yaml.Node) -> None:
    """Raise BadYAML for a key that stands twice, and where aliases make a text far larger than it
    is, or without an end.
    """
    sizes: dict[int, int] = {}
    begun: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in begun:
            raise BadYAML(f"{_place(node.start_mark)}holds an alias of itself")
        begun.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inside = (part for entry in parts for part in _nodes(entry))
        sizes[id(node)] = 1 + sum(map(size, inside))
        return sizes[id(node)]

    if size(root) > max(_MOST_VALUES, _MOST_TIMES * len(sizes)):
        raise BadYAML(f"its aliases stand for {size(root):,} values; write out what is meant")


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise BadYAML(f"{_place(node.start_mark)}the key {key.value!r} stands twice")
            seen.add((key.tag, key.value))


def _nodes(entry: Any) -> tuple[yaml.Node, ...]:
    return entry if isinstance(entry, tuple) else (entry,)


def _place(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


class _Loader(yaml.SafeLoader):
    """With a number as people write it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d[\d_]*(?:\.[\d_]*)?(?:[eE][-+]?\d+)|\d[\d_]*\.[\d_]*|\.\d[\d_]*"
        r"(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
