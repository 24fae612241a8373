"""The directive ``settings``: every field of TrialConfig with its meaning, values and default."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fedtune.config import GROUPS, UNHASHED, TrialConfig, allowed


class Settings(SphinxDirective):
    """A ``py:attribute`` for each field, in the groups of ``fedtune run --help``."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for group, fields in GROUPS.items():
            lines += [f"```{{rubric}} {group}", "```", ""]
            lines += [line for field in fields for line in _described(field)]
        return self.parse_text_to_nodes("\n".join(lines))


def _described(field: str) -> list[str]:
    info = TrialConfig.model_fields[field]
    required = info.is_required()
    assert info.description is not None
    said = [
        f"{info.description[0].upper()}{info.description[1:]}.",
        f"Allowed is {allowed(field)}.",
    ]
    said += ["Required."] * required + ["Part of the trial's identity."] * (field not in UNHASHED)
    value = [] if required else [f":value: {str(info.default).lower()}"]
    return [f"````{{py:attribute}} {field}", *value, "", " ".join(said), "````", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}
