"""How the help of a command looks: sentences wrapped to the terminal, examples as they are.

Rule of this file: argparse wraps all texts or none; here a text of one line is wrapped, and one of several lines stays.
It must not know any command, nor import anything slow: parsers are built whenever ``msl-network`` runs.
"""

from __future__ import annotations

import argparse

__all__ = ["HelpFormatter"]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps a description that is one line, and leaves the lines of an epilog as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)  # noqa: SLF001 - as in argparse's own classes
