"""When Python looks for garbage: not while a library is imported, not on the way out."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib import import_module

import pytest

from fedtune.garbage import uncollected


def test_nothing_is_collected_inside_and_all_is_as_before_after() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled(), "the outer one still holds"
    assert gc.isenabled()


def test_an_error_does_not_leave_it_off() -> None:
    with pytest.raises(ImportError), uncollected():
        import_module("there is no such module")
    assert gc.isenabled()


def test_who_has_switched_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_leaves_nothing_to_look_at_when_it_ends() -> None:
    script = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count(), len(gc.get_objects())))\n"
        "import fedtune.commands.main\n"
        "sys.argv = ['fedtune', '--version']\n"
        "fedtune.commands.main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    frozen, left = map(int, done.stdout.splitlines()[-1].split())
    assert frozen > 1_000
    assert left < 100
