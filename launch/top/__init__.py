"""`kimad top`: a run in the terminal."""

from kimad.launch.top.command import command

__all__ = ["command"]
