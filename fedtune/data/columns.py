"""Which columns of a data set hold text and label."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedtune.errors import BadInput, Fault, did_you_mean

TEXT_NAMES = ("text", "content", "sentence", "review", "description", "document", "comment", "body")
LABEL_NAMES = ("label", "labels", "class", "target", "category", "topic", "sentiment", "stars")

#: Columns that make sense only together: one of them alone is never taken for the text.
PAIRS = (
    *(("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2")),
    *(("question", "sentence"), ("question", "passage"), ("question", "context")),
    *(("text", "text_pair"), ("text1", "text2"), ("text_a", "text_b")),
    ("sentence_a", "sentence_b"),
)

_NOT_FOR_FEDTUNE = "not for fedtune, which gives a text"

Features = Mapping[str, Any]  # column name -> `datasets` feature


def find_columns(
    dataset: str, features: Features, text_column: str, label_column: str
) -> tuple[tuple[str, ...], str]:
    """Return the names of the text column, or of the two, and of the label column.

    ``auto`` finds them by name, then by type; two text columns are given with a comma. Raises
    BadInput, naming the columns there are, where a column is missing, cannot be what it is asked to
    be, or cannot be told from others.
    """
    faults: list[Fault] = []
    texts = _asked_texts(features, text_column, faults)
    label = _by_name("label_column", features, label_column, _is_label, LABEL_NAMES, faults)
    if not texts and not faults:
        texts = _auto_text(features, label, faults)
    # A column that declares its classes beats numbers, those beat words, and fractions come last.
    kinds = [_is_class_label, _is_number, _is_text, _is_fraction, _is_decimal]
    if not label and not any(fault.field == "label_column" for fault in faults):
        label = _by_type("label_column", features, kinds, texts, faults)
    faults = [fault for fault in faults if _NOT_FOR_FEDTUNE in fault.message][:1] or faults
    if faults:
        raise _with_columns(dataset, features, faults)
    if label in texts:
        raise BadInput.of("label_column", label, "is the text column too; name another")
    return texts, label


def find_text(dataset: str, features: Features, usual: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the text column, or of the two, where no label is wanted.

    Those of the ``usual`` names where all are there, else the one with a name for texts, else the
    only column of strings without a name for labels. Raises BadInput.
    """
    words = [name for name in features if _is_text(features[name])]
    if set(usual) <= set(words):
        return tuple(usual)
    named = [name for known in TEXT_NAMES for name in words if name.lower() == known]
    others = [name for name in words if name.lower() not in LABEL_NAMES]
    if named or len(others) == 1:
        return ((named or others)[0],)
    what = f"could be any of {', '.join(others)}" if others else "is none of its columns"
    message = f"the text {what}; call the column of the texts 'text'"
    raise _with_columns(dataset, features, [Fault("dataset", dataset, message)])


def check_client_column(
    dataset: str, features: Features, column: str, texts: Sequence[str], label: str
) -> None:
    """Raise BadInput unless ``column`` is one, of single values, and none of text and label.

    ``auto`` looks for those as if it were any column: the baseline, which does not know of it, has
    to find the same ones.
    """
    faults: list[Fault] = []
    _by_name("client_column", features, column, _is_label, (), faults)
    if faults:
        raise _with_columns(dataset, features, faults)
    if column in (*texts, label):
        what = "label" if column == label else "text"
        message = f"is the {what} column too; name another here, or with --{what}-column"
        raise BadInput.of("client_column", column, message)


def _with_columns(dataset: str, features: Features, faults: Sequence[Fault]) -> BadInput:
    there = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    return BadInput(
        Fault(field, value, f"{message}; columns of {dataset}: {there}")
        for field, value, message in faults
    )


def joined(names: Sequence[str]) -> str:
    """The columns of texts in one line, with a comma between two; :func:`separated` takes it apart.

    A name is in quotes where it has a comma itself, as in a csv file.
    """
    return ",".join(f'"{name}"' if "," in name else name for name in names)


def separated(columns: str) -> list[str]:
    """The names of the columns of texts, of which there are two where texts are pairs."""
    parts = re.findall(r'\s*(?:"([^"]*)"\s*|([^,]*))(?:,|$)', columns + ",")[:-1]
    return [quoted or plain.strip() for quoted, plain in parts]


def _asked_texts(features: Features, asked: str, faults: list[Fault]) -> tuple[str, ...]:
    """The text columns that were asked for; none for ``auto``."""
    if asked == "auto":
        return ()
    names = [asked] if asked in features else separated(asked)
    if len(names) > 2 or "" in names or len(set(names)) < len(names):
        message = "allowed is one column, or two different ones with a comma between them"
        faults.append(Fault("text_column", asked, message))
        return ()
    return tuple(_by_name("text_column", features, name, _is_text, (), faults) for name in names)


def _auto_text(features: Features, label: str, faults: list[Fault]) -> tuple[str, ...]:
    there = {name.lower(): name for name in features if _is_text(features[name])}
    for first, second in PAIRS:
        if first in there and second in there:
            message = f"could be {there[first]}, {there[second]} or both; name one, or read them as"
            message += f" pairs: --text-column {there[first]},{there[second]}"
            faults.append(Fault("text_column", "auto", message))
            return ()
    text = _by_name("text_column", features, "auto", _is_text, TEXT_NAMES, faults)
    text = text or _by_type("text_column", features, [_is_text], (label,), faults)
    return (text,) if text else ()


def _by_name(
    field: str,
    features: Features,
    asked: str,
    fits: Callable[[Any], bool],
    usual_names: Sequence[str],
    faults: list[Fault],
) -> str:
    """The column that was asked for, else the first that has a usual name, else an empty string."""
    if asked != "auto":
        if asked not in features:
            hint = did_you_mean(asked, features)
            faults.append(Fault(field, asked, f"there is no such column{hint}"))
        elif not fits(features[asked]):
            why = _foreign(field, features, asked) or _unfit(field, features[asked])
            faults.append(Fault(field, asked, f"cannot be one: {why}"))
        return asked
    names = {name.lower(): name for name in reversed(list(features))}
    usual = [names[name] for name in usual_names if name in names]
    found = next((name for name in usual if fits(features[name])), "")
    if not found and usual and (why := _foreign(field, features, usual[0])):
        faults.append(Fault(field, "auto", f"{usual[0]} cannot be one: {why}"))
    return found


def _by_type(
    field: str,
    features: Features,
    kinds: Sequence[Callable[[Any], bool]],
    taken: Sequence[str],
    faults: list[Fault],
) -> str:
    """The only column of the first kind that there is any of."""
    for fits in kinds:
        fitting = [name for name in features if name not in taken and fits(features[name])]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            hint = "name it"
            if field == "text_column":
                hint = "name one, or two that are read as pairs: --text-column "
                hint += ",".join(fitting[:2])
            faults.append(Fault(field, "auto", f"could be any of {', '.join(fitting)}; {hint}"))
            return ""
    lists = [name for name in features if _is_list(features[name])]
    why = _foreign(field, features, lists[0]) if lists else ""
    rest = [name for name in features if name not in taken]
    rest.sort(key=lambda name: "binary" not in _kind(features[name]))
    if not why and rest:
        why = f"{rest[0]}: {_unfit(field, features[rest[0]])}"
    faults.append(Fault(field, "auto", "no column could be one" + (f": {why}" if why else "")))
    return ""


def _foreign(field: str, features: Features, name: str) -> str:
    """Why a column that holds lists, or one thing and another, is for something else."""
    if _kind(features[name]) == "mixed":
        return "it holds values of different types; write all as numbers or all as words"
    if not _is_list(features[name]):
        return ""
    words = [other for other in features if _is_list(features[other], of=_is_text)]
    if words and (field == "text_column" or not any(map(_is_text, features.values()))):
        return (
            f"it holds {_kind(features[name])}; labels of single tokens are {_NOT_FOR_FEDTUNE}, as "
            "one string, one label"
        )
    if field == "label_column":
        return (
            f"it holds {_kind(features[name])}; several labels for a text (multi-label) are "
            f"{_NOT_FOR_FEDTUNE} one label: make a column with one"
        )
    return ""


def _unfit(field: str, feature: Any) -> str:
    """Why a column of this type is none, what is allowed, and what to do."""
    kind = _kind(feature)
    if "binary" in kind:
        return (
            f"it holds {kind}, bytes that are no text yet; allowed are strings: decode it, in "
            "pandas with frame[column].str.decode('utf-8')"
        )
    if field == "text_column":
        return f"it holds {kind}; allowed is a column of strings"
    return f"it holds {kind}; allowed are words, whole numbers or classes: write it as one of them"


def _kind(feature: Any) -> str:
    if _is_class_label(feature):
        return "class"
    if _is_list(feature):
        return f"lists of {_kind(feature.feature)}"
    if type(feature).__name__ == "Json":  # what `datasets` makes of numbers beside words
        return "mixed"
    return str(getattr(feature, "dtype", None) or "nested")


def _is_list(feature: Any, of: Callable[[Any], bool] = lambda _: True) -> bool:
    return type(feature).__name__ in ("List", "LargeList") and of(feature.feature)


def _is_class_label(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _is_text(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and feature.dtype in (
        "string",
        "large_string",
        "string_view",
    )


def _is_number(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and feature.dtype.startswith(("int", "uint", "bool"))


def _is_fraction(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and feature.dtype.startswith("float")


def _is_decimal(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and feature.dtype.startswith("decimal")


def _is_label(feature: Any) -> bool:
    kinds = (_is_class_label, _is_number, _is_text, _is_fraction, _is_decimal)
    return any(kind(feature) for kind in kinds)
