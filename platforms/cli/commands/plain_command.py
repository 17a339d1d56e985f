"""The help of a command, in sections."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class PlainCommand(TyperCommand):
    """A command whose help has one section per panel of flags."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                usual = "Options"
                if param.param_type_name == "argument":
                    # Typer adds the Python type to the name, which tells the user nothing.
                    usual, record = "Arguments", (param.metavar or record[0], record[1])
                panels.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
        for title in sorted(panels, key=lambda panel: panel == "Output"):
            with formatter.section(title):
                formatter.write_dl(panels[title])
