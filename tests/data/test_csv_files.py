"""csv files as people have them: what is read, what is refused, and that nothing is shifted."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fedtune.data.csv_files import SEPARATORS, read_csv, typed
from fedtune.errors import BadInput

ROWS = [
    ("plain", "pos"),
    ("commas, many, of them, and; semicolons; too | \t", "neg"),
    ('quotes "in" it', "pos"),
    ("two\nlines; of, text | \t", "neg"),
    ("", "pos"),
    ("  spaces around  ", "neg"),
    ("ünï – cødé 中文", "pos"),
    ("NA", "neg"),
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def as_csv(separator: str, *, quoting: int = csv.QUOTE_MINIMAL, end: str = "\n") -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("text", "label"), *ROWS])
    return out.getvalue()


def rows_of(path: Path) -> list[tuple[str, ...]]:
    return list(zip(*read_csv("d", path).values(), strict=True))


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_csv("d", path)
    (fault,) = caught.value.faults
    assert fault[:2] == ("dataset", "d")
    assert fault.message.startswith(path.name)
    assert "\n" not in str(fault)
    return fault.message


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_every_separator_is_told(separator: str, quoting: int, end: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", as_csv(separator, quoting=quoting, end=end))
    assert rows_of(path) == ROWS
    assert list(read_csv("d", path)) == ["text", "label"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_texts_hold_they_come_back_as_they_were(seed: int, tmp_path: Path) -> None:
    """The oracle: what the writer was given. Most texts are of separators and quotes alone."""
    generator = random.Random(seed)
    names = generator.sample(["text", "a b", "x;y", "p,q", 'say "so"', "label", "z|w"], 3)
    rows = [
        tuple(
            "".join(generator.choices('ab ,;|\t"\n\r', k=generator.randint(0, 12))) for _ in names
        )
        for _ in range(generator.randint(1, 30))
    ]
    rows = [row for row in rows if "".join(row).strip()]
    out = io.StringIO(newline="")
    separator = generator.choice(list(SEPARATORS))
    csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    path = write(tmp_path / "a.csv", out.getvalue())
    assert list(read_csv("d", path)) == names
    assert rows_of(path) == rows


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_encodings_that_are_certain_are_read(mark: bytes, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(mark + as_csv(";").encode(encoding))
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a b.csv.gz"])
def test_other_encodings_are_refused_with_the_command_that_converts_them(
    name: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is run, and gives the texts as they were."""
    monkeypatch.chdir(tmp_path)
    raw = 'text,label\nplain,1\n"le café, noir",0\n'.encode(encoding)
    Path(name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    said = refusal(Path(name))
    if encoding in ("latin-1", "cp1252"):
        assert "not in UTF-8 (byte 0xe9 in line 3, which Windows-1252 reads as 'café')" in said
    command = re.search(r"(iconv|gzip -dc) .*$", said)
    assert command is not None
    subprocess.run(command[0], shell=True, check=True)
    written = command[0].rpartition("> ")[2].strip("'")
    assert rows_of(Path(written)) == [("plain", "1"), ("le café, noir", "0")]


def test_a_file_that_begins_like_utf16_and_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(codecs.BOM_UTF16_LE + "text,label\n".encode("utf-16-le") + b"a")
    assert "begins with the mark of UTF-16, but is none" in refusal(path)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_packed_files_are_read(suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(pack(as_csv("|").encode()))
    assert rows_of(path) == ROWS
    path.write_bytes(pack(as_csv("|").encode())[:-9])
    assert "cannot be read as" in refusal(path)
    path.write_bytes(as_csv("|").encode())
    assert "cannot be read as" in refusal(path)


def test_tabs_without_quotes_keep_quotes_as_they_are(tmp_path: Path) -> None:
    """Read as an opening quote the second text would swallow the third."""
    texts = ['"Great" film', '"never closed', 'ends with one"', 'in "the" middle', '"all"']
    lines = ["text\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(texts))]
    path = write(tmp_path / "a.tsv", "\n".join(lines) + "\n")
    assert [text for text, _ in rows_of(path)] == texts
    path = write(tmp_path / "b.tsv", 'text\tlabel\n"a\tb"\t1\n"two\nlines"\t0\n"c"\t1\n')
    assert [text for text, _ in rows_of(path)] == ["a\tb", "two\nlines", "c"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("sep=;\r\ntext;label\r\na, b;1\r\n", {"text": ["a, b"], "label": ["1"]}),
        ("\n\ntext,label\n\na,1\n \nb,0\n\n", {"text": ["a", "b"], "label": ["1", "0"]}),
        (",text,y\n0,a,1\n1,b,0\n", {"text": ["a", "b"], "y": ["1", "0"]}),
        ("text,label,\na,1,\n", {"text": ["a"], "label": ["1"]}),
        (' text , label\n"a, b", 1\n', {"text": ["a, b"], "label": ["1"]}),
        ("text,label\n a,1\n", {"text": [" a"], "label": ["1"]}),
        ('"text;long","label"\n"a;b",1\n', {"text;long": ["a;b"], "label": ["1"]}),
        ("text,label\nlabel,1\n", {"text": ["label"], "label": ["1"]}),
        ("a,b\nx,y", {"a": ["x"], "b": ["y"]}),
        ("text\nhello, world\n", {"text": ["hello, world"]}),
        ('text\n"a, b; c"\n\nd\n', {"text": ["a, b; c", "d"]}),
        ("title,spam\nhello,spam\nyou,ham\n", {"title": ["hello", "you"], "spam": ["spam", "ham"]}),
    ],
)
def test_oddities_that_are_read(text: str, columns: dict[str, list[str]], tmp_path: Path) -> None:
    assert read_csv("d", write(tmp_path / "a.csv", text)) == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("text,label\n", "has no rows below its first line (text, label)"),
        ("just prose.\n", "has no rows below its first line (just prose.)"),
        ("this is a text\nand another\n", "looks like an example, not like names of columns"),
        (
            "text,label\na,1\n\nhello, world,0\n",
            "has 3 fields in line 4 where its first line has 2, separated by ','; put texts that "
            "contain ',' in double quotes",
        ),
        ("text;label\na;1\nb\n", "has 1 field in line 3 where its first line has 2"),
        ('text,label\n"a\nb",1\nc,d,0\n', "has 3 fields in line 4 where"),
        ("text,label\n1,hello,1\n2,you,0\n", "has 3 fields in line 2 where"),  # an unnamed index
        ('text,label\n"a,1\nb,0\n', "opens a double quote in line 2 that is never closed"),
        ('text,label\nb,0\n"a" c,1\n', "has text after a closing double quote in line 3"),
        ("text,text\na,b\n", "has two columns that are called 'text'; rename one"),
        ("a,b;c\nx,y;z\n", "could be separated by ',' or by ';'; put fields that contain"),
        ("what a film indeed,pos\nso bad,neg\nfine,pos\n", "('what a film indeed', 'pos'); put a"),
        ("ham\tgo until the end\nspam\twin\nham\tok\n", "such as 'label\\ttext'"),
        (
            '"3","Title","A long description"\n"4","T","D"\n',
            "looks like an example, not like",
        ),
        ("good,1\nbad,0\nfine,1\n", "looks like an example, not like names of columns"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(write(tmp_path / "a.csv", text))


def test_long_texts_are_read(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "word " * 100_000
    assert rows_of(write(tmp_path / "a.csv", f"text,label\n{long},1\n")) == [(long, "1")]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", " 3 ", "+4", "007"], "int64"),
        (["1", "2.0", ".5", "1e3", "3."], "float64"),
        (["true", "False", "TRUE"], "bool"),
        (["1", ""], "large_string"),
        (["1", "yes"], "large_string"),
        (["nan", "1"], "large_string"),
        (["1" * 18, "-" + "9" * 18], "int64"),
        (["1234567890123456789", "1234567890123456790"], "int64"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "large_string"),
        (["1" * 30], "large_string"),
        (["1" * 500], "large_string"),
        (["9007199254740993.0", "9007199254740992.0"], "large_string"),
        (["4503599627370497.5", "1e15"], "float64"),
        (["1_000"], "large_string"),
        (["٣"], "large_string"),
    ],
)
def test_columns_have_the_type_of_all_their_values(values: list[str], kind: str) -> None:
    found, converted = typed(values)
    assert found == kind
    assert len(converted) == len(values)
