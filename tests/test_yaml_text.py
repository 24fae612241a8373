"""YAML as people write it; what is none, or far too much, in one line."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from fedtune.yaml_text import BadYAML, load_dumped, load_yaml

#: Each name stands for twenty of the one before.
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 20)}]}}\n"
    for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("[2e-5, 1.5E3, .5, 12]", [2e-5, 1500.0, 0.5, 12]),
        ("[&a {x: 1}, {<<: *a, y: 2}, *a]", [{"x": 1}, {"x": 1, "y": 2}, {"x": 1}]),
        ("[&a {x: 1}, &b {<<: *a, x: 2}, {<<: [*b, *a]}]", [{"x": 1}, {"x": 2}, {"x": 2}]),
        ("a: '[[[[{{{{'", {"a": "[[[[{{{{"}),
    ],
)
def test_what_is_written_is_read(text: str, value: Any) -> None:
    assert load_yaml(text) == value


def test_a_long_text_and_many_aliases_of_little_are_fine() -> None:
    whole = {"trials": [{f"field_{i}": number for i in range(40)} for number in range(30)]}
    assert load_yaml(yaml.safe_dump(whole)) == whole
    shared = {"a": 1}
    assert load_yaml(yaml.safe_dump([shared] * 500)) == [shared] * 500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "line 2, column 4: the key 'c' stands twice"),
        ("a: [1, 2", "line 1, column 9: "),
        ("a: &a [*a]", "alias of itself"),
        ("a: &a {b: {c: *a}}", "alias of itself"),
        ("a: *b", "undefined alias 'b'"),
        ("{[1]: 2}", "unhashable key"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !!timestamp noon", ""),
        ("a: !!int ''", ""),
        ("a: !!bool perhaps", ""),
        ("a: 2026-13-01", "month"),
        ("a: \0", "special characters"),
        ("a: " + "9" * 5000, "5000 digits"),
        ("{" * 3000, "nested too deeply"),
        ("? " * 3000, "nested too deeply"),
        (MERGED, "aliases stand for"),
    ],
)
def test_what_is_none_or_far_too_much_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadYAML) as caught:
        load_yaml(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "word",
    [
        *("43e623921709", "2101173e5522", "1e5", "0e0", "017", "0x1f", "1_000", "12:30", "1."),
        *("yes", "no", "null", "~", "2026-11-26", "=", "-", "inf", ".inf", ".5e3"),
        *("", " a", "a: b", "#a", "né"),
    ],
)
def test_a_word_that_was_written_is_read_as_that_word(word: str) -> None:
    values = {"trial_id": word, word: [word], "rate": 2e-5, "count": 3}
    assert load_dumped(yaml.safe_dump(values, sort_keys=False)) == values
    assert load_dumped(yaml.safe_dump(values, allow_unicode=True)) == values
