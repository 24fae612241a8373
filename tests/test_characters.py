"""Outputs that lack characters get others, from whatever prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from fedtune.bars import new_bar
from fedtune.characters import plain

PRINTS = """
import click, sys
from rich.console import Console
from rich.table import Table
from fedtune.characters import make_printable
make_printable()
print("print ≤ … Übermaß 漢字")
click.echo("click ≤ …")
click.echo("error ≤ …", err=True)
table = Table("a")
table.add_row("rich ≤ …")
Console(width=60).print(table)
from tqdm import tqdm
list(tqdm(range(2)))
"""


def printed(**environment: str) -> tuple[bytes, bytes]:
    plain_environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env={**plain_environment, **environment},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_an_output_in_ascii_gets_ascii_from_everything_that_prints(
    environment: dict[str, str],
) -> None:
    out, err = printed(**environment)

    told = out.decode("ascii").splitlines()
    assert told[0] == "print <= ... Uberma? ??"
    assert told[1] == "click <= ..."
    assert told[2].startswith("+--")
    assert "| rich <= ..." in out.decode("ascii")
    assert err.decode("ascii").startswith("error <= ...")
    assert "100%|###" in err.decode("ascii")


def test_a_latin_1_output_keeps_what_it_has() -> None:
    out, _ = printed(PYTHONIOENCODING="latin-1")
    assert out.decode("latin-1").splitlines()[0] == "print <= ... Übermaß ??"


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "utf-8", "LC_ALL": "C"}, {}])
def test_an_output_in_utf_8_gets_everything(environment: dict[str, str]) -> None:
    out, _ = printed(**environment or {"PYTHONIOENCODING": "utf-8"})
    assert out.decode().splitlines()[0] == "print ≤ … Übermaß 漢字"


def test_every_character_that_has_another_becomes_printable_ascii() -> None:
    assert plain("≤≥…–—−·━─┃│✓✗×±→", "ascii").isascii()
    assert plain("≤ 3 min …", "ascii") == "<= 3 min ..."
    assert plain("≤ 3 min …", "utf-8") == "≤ 3 min …"


def test_a_command_whose_output_is_closed_goes_on() -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{sys.executable} -m fedtune list {closed}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has it")  # noqa: PTH110
def test_an_output_that_is_full_is_told_in_a_line() -> None:
    command = f"{sys.executable} -m fedtune list >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "fedtune: what is printed cannot be written (no space left)\n"


@pytest.mark.parametrize("closed", [False, True])
def test_a_bar_without_a_stream_shows_nothing(
    closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO() if closed else None
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with new_bar("works", 2) as bar:
        bar.update()
