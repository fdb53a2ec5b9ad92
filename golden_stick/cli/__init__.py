"""The command line: `entry` reads it, one file a command, and what the commands share."""
from golden_stick.cli.entry import build_parser, main

__all__ = ["main", "build_parser"]
