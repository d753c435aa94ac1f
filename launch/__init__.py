"""Everything that starts processes: the `kimad` command, its workers, and shaped links to try them on."""

if __name__ != "kimad.launch":
    raise ImportError("this package is imported as kimad.launch, not as a top-level package")
