"""What a shell offers after TAB, and the script that makes it ask.

A shell runs ``fedtune`` for each TAB, so nothing here imports anything slow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    add_completion_class,
    get_completion_class,
)

from fedtune.commands.help import Command
from fedtune.config import FIELDS, PLACES, TrialConfig, allowed
from fedtune.errors import BadInput
from fedtune.paths import expanded

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: How each shell is told, when it starts, to ask fedtune.
_RC_LINES = {
    "bash": ("~/.bashrc", 'eval "$(fedtune completion bash)"'),
    "zsh": ("~/.zshrc", 'eval "$(fedtune completion zsh)"'),
    "fish": ("~/.config/fish/config.fish", "fedtune completion fish | source"),
}


class _Fish(FishComplete):
    """click's, for values that have commas in them."""

    source_template = FishComplete.source_template.replace('split ","', 'split -m 1 ","')


class _Bash(BashComplete):
    """click's, for ``--model=VALUE`` too, which bash gives as three words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, begun = super().get_completion_args()
        return [word for word in args if word != "="], "" if begun == "=" else begun


add_completion_class(_Fish)
add_completion_class(_Bash)


@click.command(cls=Command, short_help="Print what makes a shell complete fedtune's words.")
@click.argument(
    "shell",
    metavar="[bash|zsh|fish]",
    required=False,
    shell_complete=lambda context, argument, begun: _matching(_RC_LINES, begun),
)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the script with which a shell completes commands, options, models, data sets and
    sweeps after TAB  [default: for the shell in use].

    Its last line says where it belongs.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    made = get_completion_class(name) if name in _RC_LINES else None
    if made is None:
        raise BadInput.of("shell", name, f"allowed is {', '.join(_RC_LINES)}")
    program = context.find_root().command
    source = made(program, {}, "fedtune", "_FEDTUNE_COMPLETE").source().rstrip()
    file, line = _RC_LINES[name]
    click.echo(f"{source}\n\n# To complete fedtune in every shell, add this line to {file}:")
    click.echo(f"#   {line}")


def of_field(field: str) -> Complete | None:
    """What completes the values of a setting; None where nothing is known of them."""
    if field == "model":
        return _in_list(_models, "dir")
    if field in PLACES:
        return _in_list(_datasets, "file")
    words = re.findall(r"'(\w[\w-]*)'", allowed(field))
    if TrialConfig.model_fields[field].annotation is bool:
        words = ["true", "false"]
    return _in_list(lambda: words) if words else None


def settings(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """The KEY= of ``--set``."""
    return [CompletionItem(f"{field}=") for field in FIELDS if field.startswith(begun)]


def folders(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(begun, type="dir")]


def sweep_files(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Sweep files here and those that come with fedtune, else any file."""
    from fedtune.plan.sweepfile import experiments

    here = sorted(path.name for path in Path().glob("*.y*ml"))
    return _matching([*here, *experiments()], begun, "file")


def sweeps(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The sweeps of the store, else any file."""
    store = expanded(context.params.get("store") or "trials")
    return _matching(sorted(path.stem for path in store.glob("sweeps/*.yaml")), begun, "file")


def _in_list(names: Callable[[], Iterable[str]], otherwise: str = "") -> Complete:
    """Complete the last value of a comma list, leaving out those that stand before it."""

    def complete(
        context: click.Context, parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        before, comma, _ = begun.rpartition(",")
        left = [name for name in names() if name not in before.split(",")]
        return _matching([f"{before}{comma}{name}" for name in left], begun, otherwise)

    return complete


def _matching(names: Iterable[str], begun: str, otherwise: str = "") -> list[CompletionItem]:
    """The names that go on as begun; where there are none the shell's own folders or files."""
    found = [CompletionItem(name) for name in names if name.startswith(begun)]
    return found or ([CompletionItem(begun, type=otherwise)] if otherwise else [])


def _models() -> list[str]:
    from fedtune.models.short_names import NAMES

    return [*NAMES, *(path.name for path in _data_home() if (path / "config.json").exists())]


def _datasets() -> list[str]:
    from fedtune.data.lookup import NAMES, is_table

    found = (path for path in _data_home() if not (path / "config.json").exists())
    return [*NAMES, *(path.name for path in found if path.is_dir() or is_table(path))]


def _data_home() -> list[Path]:
    home = os.environ.get("FEDTUNE_DATA")
    return sorted(expanded(home).glob("*")) if home else []
