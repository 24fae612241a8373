"""Why a command ends before its time: Ctrl-C, or a scheduler."""

from __future__ import annotations

import signal
import sys

import click

from fedtune.invocation import same_command

#: What a scheduler expects of a job that it ended, as a shell has it.
_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class Ending:
    """Why this command ends before its time, "" while it does not; said once, and before all else
    that is said then.
    """

    def __init__(self) -> None:
        self.why, self._said = "", False

    def interrupt(self, *_: object) -> None:
        """Ctrl-C; a second one does not wait for what is being closed."""
        self.why = self.why or "Interrupted."
        raise KeyboardInterrupt

    def terminate(self, *_: object) -> None:
        """As a scheduler ends a job, and `mlflow run` its child after Ctrl-C: what is open in
        MLflow is closed on the way out, and if that has begun it goes on.
        """
        if not self.why:
            self.why = "Terminated."
            sys.exit(_TERMINATED)

    def say_why(self) -> None:
        if not self._said:
            self._said = True
            click.echo(f"\n{self.why}")

    def finish(self, why: str) -> int:
        """Say why, unless that has been said, and how to go on; the exit code."""
        self.why = self.why or why
        self.say_why()
        if sys.argv[1:2] in (["run"], ["sweep"]) and "--dry-run" not in sys.argv:
            click.echo("\nComplete rounds are kept; the same command goes on from there:")
            click.echo(f"  {same_command()}")
        return _INTERRUPTED if self.why == "Interrupted." else _TERMINATED
