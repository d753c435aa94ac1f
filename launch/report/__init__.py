"""`kimad report`: run folders to one HTML page."""

from kimad.launch.report.make import command

__all__ = ["command"]
