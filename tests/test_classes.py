"""A class is abstract or final: behaviour is changed by wrapping, never by overriding what already works."""

from __future__ import annotations

import ast

import pytest

from tests.source import LIBRARY, Source, dotted, sources

ABSTRACT = {"ABC", "Protocol"}
CLOSED = {"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "NamedTuple", "TypedDict"}  # closed by the language
ERROR = ("Error", "Exception", "Warning", "Exit", "Interrupt")


def last(node: ast.expr) -> str:
    """Name without its modules: of a base, or of a decorator with or without a call."""
    return dotted(node.func if isinstance(node, ast.Call) else node).split(".")[-1]


def is_abstract(node: ast.ClassDef) -> bool:
    if ABSTRACT & {last(base) for base in node.bases}:
        return True
    if any(keyword.arg == "metaclass" and last(keyword.value) == "ABCMeta" for keyword in node.keywords):
        return True
    return any(
        last(decorator) in ("abstractmethod", "abstractproperty")
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in item.decorator_list
    )


def is_error(node: ast.ClassDef) -> bool:
    """By its base, which is called an error whether it is Python's or ours."""
    return any(last(base).endswith(ERROR) for base in node.bases)


def is_final(node: ast.ClassDef) -> bool:
    if {"final", "dataclass"} & {last(decorator) for decorator in node.decorator_list}:
        return True
    return bool(CLOSED & {last(base) for base in node.bases})


def broken_rules(files: tuple[Source, ...]) -> list[str]:
    classes = [(s, node) for s in files for node in ast.walk(s.tree) if isinstance(node, ast.ClassDef)]
    open_to_bases = {node.name for _, node in classes if is_abstract(node) or is_error(node)}
    concrete = {node.name for _, node in classes} - open_to_bases
    broken = []
    for source, node in classes:
        if not (is_abstract(node) or is_error(node) or is_final(node)):
            broken.append(f"{source.at(node)}: {node.name} is neither abstract, a dataclass nor @final")
        for base in node.bases:
            if last(base) in concrete:
                broken.append(f"{source.at(node)}: {node.name} overrides the concrete class {last(base)}")
    return broken


def test_classes_are_abstract_or_final() -> None:
    assert broken_rules(sources(LIBRARY)) == []


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("class A: pass", 1),
        ("class A(ABC): pass", 0),
        ("class A(Protocol[T]): pass", 0),
        ("class A:\n    @abstractmethod\n    def f(self): ...", 0),
        ("class A(RuntimeError): pass\nclass AError(A): pass", 1),
        ("class AError(RuntimeError): pass\nclass BError(AError): pass", 0),
        ("@dataclass(frozen=True)\nclass A: pass", 0),
        ("@dataclass\nclass A: pass\n@final\nclass B(A): pass", 1),
        ("@typing.final\nclass A(ABC_of_others): pass", 0),
        ("class A(enum.Enum): pass", 0),
        ("class A(ABC): pass\nclass B(A): pass", 1),
        ("class A(ABC): pass\n@final\nclass B(A): pass", 0),
    ],
)
def test_rule_is_seen(code: str, broken: int) -> None:
    source = Source("example.py", 1, ast.parse(code))
    assert len(broken_rules((source,))) == broken
