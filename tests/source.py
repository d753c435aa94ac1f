"""The project's own source, parsed, for the tests that keep its rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("kimad", "compressors", "launch")
EVERYTHING = (*LIBRARY, "examples", "benchmarks", "tests")


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: str  # relative to the root, with slashes
    lines: int
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def paths(folders: tuple[str, ...] = EVERYTHING) -> list[Path]:
    """Python files of top-level folders; the linked folders are seen once, where they really are."""
    found: list[Path] = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.resolve().is_relative_to(ROOT / folder):
                found.append(path)
    return found


@cache
def sources(folders: tuple[str, ...] = EVERYTHING) -> tuple[Source, ...]:
    def read(path: Path) -> Source:
        text = path.read_text(encoding="utf-8")
        return Source(path.relative_to(ROOT).as_posix(), len(text.splitlines()), ast.parse(text, str(path)))

    return tuple(read(path) for path in paths(folders))


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Subscript):  # Generic[T]
        return dotted(node.value)
    return ""


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every name that an import statement makes available: `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node, "." * node.level + (f"{node.module}." if node.module else "") + alias.name


def uses_module(tree: ast.AST, module: str) -> bool:
    """Whether a module is imported, or reached by attribute from a package that is."""
    inside = f"{module}."
    if any(f"{name}.".startswith(inside) for _, name in imports(tree)):
        return True
    return any(isinstance(node, ast.Attribute) and dotted(node) == module for node in ast.walk(tree))
