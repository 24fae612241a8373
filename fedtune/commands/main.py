"""The front door: the process is set up, a command called, and whatever it raises is told in lines.

Imports nothing heavy, so that ``fedtune --help`` answers at once.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
from pathlib import Path

import click

from fedtune.characters import make_printable
from fedtune.commands.cli import cli
from fedtune.commands.ending import Ending
from fedtune.errors import Refusal
from fedtune.paths import has_home, temporary_home
from fedtune.redaction import redact_logs, redacted


def main() -> None:
    """The console script.

    Exit codes: 0 done, 1 something failed, 2 bad input, 130 interrupted (Ctrl-C), 143 terminated
    (SIGTERM); after the last two the same command goes on.
    """
    _set_up()
    ending = Ending()
    signal.signal(signal.SIGINT, ending.interrupt)
    signal.signal(signal.SIGTERM, ending.terminate)
    sys.exit(_exit_code(ending))


def _set_up() -> None:
    """What libraries and whatever is printed need of this process."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    if not has_home():  # as in containers; libraries would fail, or make a folder called ~
        os.environ["HOME"] = str(temporary_home())
    make_printable()
    redact_logs()
    atexit.register(gc.freeze)  # else Python looks at everything for garbage on its way out: 2 s


def _exit_code(ending: Ending) -> int:
    """Call the command that was asked for, and say what kept it from its end."""
    try:
        return cli.main(prog_name="fedtune", standalone_mode=False, obj=ending) or 0
    except click.MissingParameter as error:
        param, path = error.param, error.ctx and error.ctx.command_path
        # An argument goes by the name that stands in the command's usage, an option by its field's.
        name = param and (
            param.human_readable_name if param.param_type_name == "argument" else param.name
        )
        click.echo(f"fedtune: {name}: missing; see `{path} --help`", err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return ending.finish("Interrupted.")
    except SystemExit as ended:
        # Ray makes a 1 of any exit while it waits; its own handler exits with the bare number.
        if not ending.why and ended.code != signal.SIGTERM:
            raise
        return ending.finish("Terminated.")
    except Refusal as error:
        for line in str(error).splitlines():
            click.echo(f"fedtune: {redacted(line)}", err=True)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        # Of a file it has the name; what is left is what is printed on.
        click.echo("fedtune: what is printed cannot be written (no space left)", err=True)
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        return 1
