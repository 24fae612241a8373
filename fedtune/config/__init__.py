"""The one definition of a trial.

The command line, sweep files, ``MLproject`` and Tune's search space all derive from
:class:`TrialConfig`.
"""

from fedtune.config.checks import (
    allowed,
    check_value,
    choices,
    comma_is_value,
    find_faults,
    parse_text,
)
from fedtune.config.fields import FIELDS, GROUPS, LATER, OF_CLIENTS, UNHASHED, fields_for, mark_of
from fedtune.config.names import DISTILLING, PLACES, SERVER_OPTIMIZERS, strategy_name
from fedtune.config.trial import TrialConfig, fields_about

__all__ = [
    "DISTILLING",
    "FIELDS",
    "GROUPS",
    "LATER",
    "OF_CLIENTS",
    "PLACES",
    "SERVER_OPTIMIZERS",
    "UNHASHED",
    "TrialConfig",
    "allowed",
    "check_value",
    "choices",
    "comma_is_value",
    "fields_about",
    "fields_for",
    "find_faults",
    "mark_of",
    "parse_text",
    "strategy_name",
]
