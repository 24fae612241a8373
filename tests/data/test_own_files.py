"""A single file as a data set, and folders whose files differ."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import call, options

from fedtune.data.columns import joined, separated
from fedtune.data.lookup import resolve
from fedtune.data.sources import load_texts
from fedtune.errors import BadInput

ROWS = [("the rain, and wind", "weather"), ("bread\nand salt", "cooking"), ("", "weather")]
LABELS = [1, 0, 1]


def in_csv(path: Path) -> None:
    lines = [f'"{text}",{label}' for text, label in ROWS]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")


def in_tsv(path: Path) -> None:
    lines = [f'"{text}"\t{label}' for text, label in ROWS]
    path.write_text("\r\n".join(["text\tlabel", *lines]) + "\r\n", encoding="utf-16")


def in_json(path: Path) -> None:
    path.write_text(json.dumps([{"text": text, "label": label} for text, label in ROWS]))


def in_json_lines(path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    path.write_text("\n".join(lines), encoding="utf-8-sig")


def in_parquet(path: Path) -> None:
    texts, labels = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), path)


def in_parquet_with_dictionaries(path: Path) -> None:
    """What pandas writes of a column of categories."""
    columns = [pa.array(values).dictionary_encode() for values in zip(*ROWS, strict=True)]
    pq.write_table(pa.table(dict(zip(("text", "label"), columns, strict=True))), path)


def packed(write: Callable[[Path], None]) -> Callable[[Path], None]:
    def pack(path: Path) -> None:
        write(path)
        path.write_bytes(gzip.compress(path.read_bytes()))

    return pack


KINDS = {
    "reviews.csv": in_csv,
    "RE VIEWS [1] *.CSV": in_csv,
    "reviews.tsv": in_tsv,
    "reviews.json": in_json,
    "re views [1] *.jsonl": in_json_lines,
    "reviews.parquet": in_parquet,
    "re views [1] *.parquet": in_parquet_with_dictionaries,
    "reviews.csv.gz": packed(in_csv),
    "reviews.jsonl.gz": packed(in_json_lines),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_texts(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    KINDS[name](tmp_path / name)
    texts = load_texts(str(tmp_path / name))
    assert texts.test is None
    assert [*texts.train.texts] == [text for text, _ in ROWS]
    assert texts.train.labels.tolist() == LABELS
    assert texts.label_names == ("cooking", "weather")
    assert (texts.text_column, texts.label_column) == ("text", "label")
    assert capfd.readouterr() == ("", "")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    for name, write in KINDS.items():
        path = tmp_path / name
        write(path)
        before = path.stat()
        assert load_texts(str(path)).train.labels.tolist() == LABELS
        swapped = [(text, {"weather": "cooking"}.get(label, "weather")) for text, label in ROWS]
        kept, ROWS[:] = ROWS[:], swapped
        try:
            write(path)
        finally:
            ROWS[:] = kept
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
        assert load_texts(str(path)).train.labels.tolist() == [1 - label for label in LABELS]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.json", b"", "a.json is empty"),
        ("a.jsonl", b" \n", "a.jsonl is empty"),
        ("a.parquet", b"", "cannot be read"),
        ("a.parquet", b"no table", "cannot be read"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text"', "cannot be read"),
        ("a.json", b'"prose"', "cannot be read"),
        ("a.json", b'{"text": ["a", "b"], "label": [0, 1]}', "needed is a list of records"),
        ("a.json", b'{"data": [{"text": "a", "label": 1}]}', "needed is a list of records"),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}'.encode("utf-16"),
            "a.jsonl is in UTF-16, and has to be in UTF-8; use what this writes in its place: ico",
        ),
        ("a.jsonl", b'{"text": "caf\xe9", "label": 1}', "not in UTF-8 (byte 0xe9 in line 1, which"),
        ("a.csv", b"review,stars\na,1\nb,1\n", "has 1 class (1); needed are two"),
        ("a.csv", b"a,b\nx,y\nz,y\n", "columns of"),
    ],
)
def test_unusable_files_are_refused_in_a_line(
    name: str, content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        load_texts(str(tmp_path / name))
    assert all("\n" not in str(fault) for fault in caught.value.faults)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/proc/self/mem")  # nobody can, not even root
    with pytest.raises(BadInput, match=rf"dataset='.*': {name} cannot be read \(.*error\)"):
        load_texts(str(tmp_path / name))


def test_files_of_a_folder_may_differ_in_separator_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('text;label\n"a, b";1.0\n"c;\nd";0.0\n', "utf-8-sig")
    (tmp_path / "test.csv").write_text('"text","label"\r\n"e, f",1\r\n', "utf-16")
    texts = load_texts(str(tmp_path))
    assert texts.test is not None
    assert [*texts.train.texts, *texts.test.texts] == ["a, b", "c;\nd", "e, f"]
    assert texts.label_names == ("0", "1")
    assert texts.train.labels.tolist() == [1, 0]


def test_files_of_a_split_are_one_table(tmp_path: Path) -> None:
    """The type of a column is that of all its values, in whichever file they are."""
    for split, rows in (("train", ["a,1", "b,2"]), ("test", ["c,1", "d,x"])):
        (tmp_path / split).mkdir()
        for number, row in enumerate(rows):
            (tmp_path / split / f"{number}.csv").write_text(f"text,label\n{row}\n")
    with pytest.raises(BadInput, match="has another type in the test split"):
        load_texts(str(tmp_path))
    (tmp_path / "test" / "1.csv").write_text("label,text\n2,d\n")
    texts = load_texts(str(tmp_path))
    assert texts.test is not None
    assert [*texts.test.texts] == ["c", "d"]
    assert texts.test.labels.tolist() == [0, 1]
    (tmp_path / "test" / "1.csv").write_text("label,content\n2,d\n")
    with pytest.raises(BadInput, match=r"1.csv has the columns label, content, and 0.csv has text"):
        load_texts(str(tmp_path))


def test_a_faulty_file_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,1\nb,0\n")
    (tmp_path / "test.csv").write_bytes("text,label\ncafé,1\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"test.csv is not in UTF-8 .* iconv -f WINDOWS-1252"):
        load_texts(str(tmp_path))


def test_what_a_card_says_about_csv_files_is_believed(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("good film:1\nbad film:0\n")
    (tmp_path / "test.csv").write_text("fine film:1\n")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  sep: ':'\n  column_names: [text, label]\n"
        "  data_files:\n  - {split: train, path: train.csv}\n  - {split: test, path: test.csv}\n"
        "---\n"
    )
    assert [*load_texts(str(tmp_path)).train.texts] == ["good film", "bad film"]


def test_the_classes_that_a_card_names_are_kept(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text;label\na;1\nb;0\n")
    (tmp_path / "test.csv").write_text("text;label\nc;1\n")
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n"
        "    dtype:\n      class_label:\n        names:\n          '0': bad\n          '1': good\n"
        "---\n"
    )
    assert load_texts(str(tmp_path)).label_names == ("bad", "good")


def test_a_folder_without_a_test_split_says_how_to_draw_one(
    tmp_path: Path, write_json: Callable[..., Path]
) -> None:
    folder = write_json(tmp_path / "d", test=None)
    with pytest.raises(BadInput, match=r"no test split; .*--test-fraction 0\.2 draws") as caught:
        load_texts(str(folder))
    assert len(caught.value.faults) == 1
    texts = load_texts(str(folder), may_lack_test=True)
    assert (len(texts.train), texts.test) == (5, None)
    file = resolve(str(folder / "train.jsonl"))
    assert load_texts(str(file.file)).test is None, "a file needs no leave"


def test_a_configuration_or_split_of_a_file_is_refused(tmp_path: Path) -> None:
    in_csv(tmp_path / "a.csv")
    with pytest.raises(BadInput, match=r"dataset_config='x': .* has no configurations"):
        load_texts(str(tmp_path / "a.csv"), dataset_config="x")
    with pytest.raises(BadInput, match=r"test_split='validation': .* has no split but train"):
        load_texts(str(tmp_path / "a.csv"), test_split="validation")
    with pytest.raises(BadInput, match=r"dataset_config='x': toy has no configurations"):
        load_texts("toy", dataset_config="x")


@pytest.mark.parametrize("kind", [pa.decimal128(1, 0), pa.decimal128(38, 2), pa.decimal256(60, 3)])
def test_decimals_that_are_whole_are_labels(kind: pa.DataType, tmp_path: Path) -> None:
    """As databases export whole numbers."""
    labels = pa.array([Decimal(5), Decimal(1), Decimal(5)], kind)
    for name in ("label", "outcome"):
        pq.write_table(pa.table({"text": ["a", "b", "c"], name: labels}), tmp_path / "x.parquet")
        texts = load_texts(str(tmp_path / "x.parquet"))
        assert (texts.label_column, texts.label_names) == (name, ("1", "5"))
        assert texts.train.labels.tolist() == [1, 0, 1]


def test_decimals_with_a_fraction_or_below_zero_are_refused_as_floats_are(tmp_path: Path) -> None:
    for value, said in (("0.5", "holds numbers with a fraction"), ("-1", "have a negative label")):
        labels = [Decimal(value), Decimal(1), Decimal(2)]
        pq.write_table(pa.table({"text": ["a", "b", "c"], "label": labels}), tmp_path / "x.parquet")
        with pytest.raises(BadInput, match=said):
            load_texts(str(tmp_path / "x.parquet"))


def test_a_decimal_beside_what_is_a_label_by_its_type_is_no_choice(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "price": [Decimal(1), Decimal(2)], "stufe": [1.0, 2.0]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert load_texts(str(tmp_path / "x.parquet")).label_column == "stufe"


NEITHER = {
    "date32": pa.array([date(2020, 1, 1), date(2020, 1, 2)]),
    "time64": pa.array([time(1), time(2)]),
    "duration": pa.array([timedelta(1), timedelta(2)]),
    "binary": pa.array([b"a", b"b"]),
    "large_binary": pa.array([b"a", b"b"], pa.large_binary()),
}


@pytest.mark.parametrize("kind", NEITHER)
def test_what_is_neither_text_nor_label_says_what_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": NEITHER[kind]}), path)
    allowed = "allowed are strings: decode it" if "binary" in kind else "allowed are words, whole n"
    for asked in ("auto", "label"):
        with pytest.raises(BadInput, match=rf"label_column=.*it holds {kind}.*{allowed}"):
            load_texts(str(path), label_column=asked)
    pq.write_table(pa.table({"text": NEITHER[kind], "label": [0, 1]}), path)
    allowed = "allowed are strings: decode it" if "binary" in kind else "allowed is a column of str"
    for asked in ("auto", "text"):
        with pytest.raises(BadInput, match=rf"text_column=.*it holds {kind}.*{allowed}"):
            load_texts(str(path), text_column=asked)


def test_a_column_may_have_a_comma_in_its_name(bert: str, tmp_path: Path) -> None:
    """It is one column of single texts, and two are told apart by quotes, as in a csv file."""
    path = tmp_path / "x.parquet"
    words, other = ["rain"] * 8 + ["bread"] * 8, ["snow"] * 16
    pq.write_table(pa.table({"text,a": words, "b": other, "label": [0] * 8 + [1] * 8}), path)
    for asked in ("text,a", '"text,a"'):
        texts = load_texts(str(path), asked)
        assert (texts.text_column, texts.train.seconds) == ('"text,a"', None)
        assert [*texts.train.texts] == words
    pairs = load_texts(str(path), 'b, "text,a"')
    assert pairs.text_column == 'b,"text,a"'
    assert pairs.train.seconds is not None
    assert ([*pairs.train.texts], [*pairs.train.seconds]) == (other, words)
    for asked, said in (("text,a", "test texts,"), ('"text,a",b', "test pairs of texts,")):
        what = options(model=bert, dataset=path, clients=2, text_column=asked, max_length=16)
        done = call("run", *what, "--dry-run", folder=tmp_path)
        assert done.code == 0, done.everything
        assert said in done.out


@pytest.mark.parametrize("asked", ["a,b", " a , b ", "a,", ",a", "a,b,c", 'a"b', "a"])
def test_names_without_a_comma_need_no_quotes(asked: str) -> None:
    assert separated(asked) == [name.strip() for name in asked.split(",")]
    assert separated(joined(separated(asked))) == separated(asked)
