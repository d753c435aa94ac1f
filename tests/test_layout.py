"""The shape of the tree: links, packages, imports, file sizes, forbidden calls, documentation."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.source import EVERYTHING, LIBRARY, ROOT, dotted, imports, paths, sources, uses_module

MAX_LINES = 300
MAY_COMMUNICATE = {"hook", "state", "group", "internals"}
HEAVY = ("click", "matplotlib", "tensorboard", "prometheus_client", "rich", "sklearn", "scipy")
UNSAFE_MODULES = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib")
UNSAFE_CALLS = {"eval", "exec", "builtins.eval", "builtins.exec", "os.system", "os.popen", "yaml.load"}
OBJECT_COLLECTIVES = re.compile(r"^\w+_object(_list)?$")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for f in EVERYTHING for p in (ROOT / f).rglob("*.md") if p == p.resolve())])


def run_python(code: str, cwd: Path, *, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("name", ["compressors", "launch"])
def test_links_lead_to_the_folders_at_the_top(name: str) -> None:
    link = ROOT / "kimad" / name
    assert link.is_symlink(), f"{link} is no link: clone with core.symlinks=true"
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == ROOT / name


def test_setuptools_lists_every_package() -> None:
    tomllib = pytest.importorskip("tomllib")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = set()
    for path in paths(LIBRARY):
        parts = path.relative_to(ROOT).parent.parts
        found.add(".".join(parts if parts[0] == "kimad" else ("kimad", *parts)))
    assert sorted(listed) == sorted(found)


def test_torch_is_declared_as_far_as_it_was_run() -> None:
    """The README names the versions that were run; the declared range ends with the oldest and with the newest."""
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Install\n")[1].split("\n## ")[0]
    run = sorted((int(major), int(minor)) for major, minor in re.findall(r"\b(\d+)\.(\d+)\.\d+\b", section))
    (major, minor), (_, newest) = run[0], run[-1]
    assert f"torch>={major}.{minor},<{major}.{newest + 1}" in declared
    assert f"torch {major}.{minor} to {major}.{newest}," in section


def test_every_package_has_an_init() -> None:
    folders = {path.parent for path in paths(LIBRARY)}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_import_is_light() -> None:
    code = "import sys, kimad; print(' '.join(sys.modules))"
    result = run_python(code, ROOT)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert sorted(loaded & set(HEAVY)) == []
    assert sorted(name for name in loaded if f"{name}.".startswith("kimad.launch.")) == []


def test_files_of_the_same_name_do_not_shadow_the_package(tmp_path: Path) -> None:
    for name in ("compressors", "launch"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n", encoding="utf-8")
    result = run_python("import kimad, kimad.compressors, kimad.launch", tmp_path, path=str(ROOT))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["compressors", "launch"])
def test_linked_folders_refuse_to_be_top_level(name: str) -> None:
    if not (ROOT / name / "__init__.py").exists():
        pytest.skip(f"{name}/ is not a package yet")
    code = f"try:\n    import {name}\nexcept ImportError as error:\n    print('refused:', error)"
    result = run_python(code, ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("refused:")
    assert f"kimad.{name}" in result.stdout


def test_files_are_short() -> None:
    long = [f"{source.path} has {source.lines} lines" for source in sources() if source.lines > MAX_LINES]
    assert long == []


def test_only_few_modules_communicate() -> None:
    allowed = {f"kimad/{name}.py" for name in MAY_COMMUNICATE}
    users = {s.path for s in sources(("kimad", "compressors")) if uses_module(s.tree, "torch.distributed")}
    assert sorted(users - allowed) == []


def test_compressors_know_only_torch_and_numpy() -> None:
    allowed = {*sys.stdlib_module_names, "torch", "numpy"}
    found = [
        f"{source.at(node)}: {name}"
        for source in sources(("compressors",))
        for node, name in imports(source.tree)
        if not f"{name}.".startswith((".", "kimad.compressors.")) and name.split(".")[0] not in allowed
    ]
    assert found == []


def test_nothing_unsafe_is_imported() -> None:
    found = [
        f"{source.at(node)}: {name}"
        for source in sources(LIBRARY)
        for node, name in imports(source.tree)
        if name.split(".")[0] in UNSAFE_MODULES or OBJECT_COLLECTIVES.match(name.split(".")[-1])
    ]
    assert found == []


def unsafe_call(call: ast.Call) -> str:
    """What is wrong with a call; empty for nothing."""
    name = dotted(call.func)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else name
    constants = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    if name in UNSAFE_CALLS:
        return f"call of {name}"
    if OBJECT_COLLECTIVES.match(last):
        return f"object collective {last}"
    if name == "torch.load" and constants.get("weights_only") is not True:
        return "torch.load without weights_only=True"
    for keyword in ("shell", "allow_pickle"):
        given = [k for k in call.keywords if k.arg == keyword]
        if given and constants.get(keyword, True) is not False:
            return f"{last}({keyword}=...)"
    return ""


def test_nothing_unsafe_is_called() -> None:
    found = []
    for source in sources(LIBRARY):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and (wrong := unsafe_call(node)):
                found.append(f"{source.at(node)}: {wrong}")
    assert found == []


@pytest.mark.parametrize(
    ("code", "safe"),
    [
        ("eval('1')", False),
        ("model.eval()", True),
        ("dist.all_gather_object(a, b)", False),
        ("dist.broadcast_object_list(a)", False),
        ("dist.broadcast(a, 0)", True),
        ("torch.load(path)", False),
        ("torch.load(path, weights_only=False)", False),
        ("torch.load(path, weights_only=True)", True),
        ("subprocess.run(a, shell=True)", False),
        ("subprocess.run(a, shell=False)", True),
        ("np.load(path, allow_pickle=flag)", False),
    ],
)
def test_unsafe_calls_are_seen(code: str, safe: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert (unsafe_call(call) == "") is safe


def test_density_has_one_name() -> None:
    """A ratio is k/n to some and n/k to others, so nothing here is called that."""
    fields = ("id", "arg", "attr", "name", "asname")
    found = [
        source.at(node)
        for source in sources()
        for node in ast.walk(source.tree)
        if any(getattr(node, field, None) == "ratio" for field in fields)
    ]
    assert found == []


def test_hook_has_real_annotations() -> None:
    """DDP compares the hook's annotations with types, and strings are not types."""
    hook = ROOT / "kimad" / "hook.py"
    if not hook.exists():
        pytest.skip("kimad/hook.py is not there yet")
    assert "__future__.annotations" not in {name for _, name in imports(ast.parse(hook.read_text(encoding="utf-8")))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_are_true(document: Path) -> None:
    """Their Python compiles, and what they link to exists."""
    text = document.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text[: match.start()].count("\n") + 1
        compile("\n" * line + match[1], str(document), "exec", dont_inherit=True)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"!?\[[^\]]*\]\(<?([^)\s>]+)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    local = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if target and not (document.parent / target).exists()] == []


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config) -> None:
    """pytest skips folders by name, "dist" among them unless it is told otherwise."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    names = {part for folder in folders for part in folder.relative_to(ROOT).parts}
    assert "dist" in names
    skipped = [n for n in names for pattern in pytestconfig.getini("norecursedirs") if fnmatch(n, pattern)]
    assert not skipped
