"""Production installs only what it needs, and installs exactly the versions that were tested."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION, DEMO, DEV = NAMES = ("requirements", "requirements-demo", "requirements-dev")
NOT_IN_PRODUCTION = {
    "chdb", "chdb-core", "moto", "flask", "werkzeug", "docker", "honcho", "pandas", "numpy",
    "pytest", "hypothesis", "selenium", "mypy", "ruff",
}  # fmt: skip
OURS = ("avesa_site", "tenants", "analytics", "loaders", "common")
# The one module that imports chdb, and the pytest plugin.
NOT_OF_PRODUCTION = ("analytics/warehouse/embedded/engine.py", "avesa_site/testing.py")


def required(name):
    """The requirements in a .txt file, and in the files that it includes."""
    found = []
    for line in (ROOT / f"{name}.txt").read_text().splitlines():
        if included := re.fullmatch(r"-r (.+)\.txt", line):
            found += required(included[1])
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


def entries(name):
    """The entries of a lock file, one requirement with its hashes each."""
    lines = (ROOT / f"{name}.lock").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return text.replace("\\\n", " ").splitlines()


def locked(name):
    """{package: version} of a lock file."""
    found = [Requirement(entry.split("--hash")[0]) for entry in entries(name)]
    pairs = [(each.name, str(each.specifier).removeprefix("==")) for each in found]
    assert len(pairs) == len(dict(pairs)), "a package is listed twice"
    return dict(pairs)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_of_a_lock_is_one_version_with_hashes(name):
    entry = re.compile(r"[a-z0-9.-]+==[^\s=*]+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+")
    assert [each for each in entries(name) if not entry.fullmatch(each)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_names_no_index_and_no_folder(name):
    assert not re.search(r"://|index|find-links|\s/|@", (ROOT / f"{name}.lock").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_satisfies_its_requirements(name):
    versions = locked(name)
    wrong = [
        str(each)
        for each in required(name)
        if not each.specifier.contains(versions.get(canonicalize_name(each.name), "0"))
    ]
    assert wrong == [], "run: make lock"


def test_demo_and_test_requirements_change_no_version_of_production():
    assert locked(PRODUCTION).items() <= locked(DEMO).items() <= locked(DEV).items()


def test_production_has_neither_the_demo_nor_the_test_tools():
    assert NOT_IN_PRODUCTION & locked(PRODUCTION).keys() == set()
    assert locked(DEV).keys() >= NOT_IN_PRODUCTION


def test_production_code_imports_only_what_production_has():
    """An import of chDB, moto or test tools would fail only in production."""
    installed = importlib.metadata.packages_distributions()
    known = {*sys.stdlib_module_names, *OURS}
    production = locked(PRODUCTION).keys()
    wrong = {
        f"{path}: {module}"
        for path in _production_files()
        for module in _imports(ROOT / path) - known
        if not {canonicalize_name(name) for name in installed.get(module, [])} & production
    }
    assert wrong == set()


def _production_files():
    paths = (path.relative_to(ROOT) for ours in OURS for path in (ROOT / ours).rglob("*.py"))
    return [
        path
        for path in paths
        if "tests" not in path.parts and path.as_posix() not in NOT_OF_PRODUCTION
    ]


def _imports(path):
    """The top-level modules that a file imports, except for type checkers only."""
    found = set()
    waiting = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("manage.py", "clickhouse", "--port", "0"), ("-m", "avesa_site.demo")],
    ids=["clickhouse", "demo"],
)
def test_without_chdb_one_line_names_what_to_install(command, tmp_path):
    # Python runs this module at startup; it hides chdb.
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT_CHDB)
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "AVESA_VAR_DIR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 1
    assert len(lines) == 1, ended.stderr
    assert "chdb" in lines[0]
    assert "pip install --require-hashes -r requirements-demo.lock" in lines[0]


_WITHOUT_CHDB = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name == "chdb" else super().find_spec(name, *rest)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""
