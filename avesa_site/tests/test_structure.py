"""Imports are at the top of modules, where import-linter checks them."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("avesa_site", "tenants", "analytics", "loaders", "common")
# Exceptions: Django or Celery must be set up first. None of them hides a circular import.
LATE = {
    "avesa_site/apps.py": "system checks need the applications",
    "avesa_site/celery.py": "runs in workers, after Django is set up",
    "avesa_site/demo/__main__.py": "the demo sets the environment that the settings read",
    "analytics/reports/apps.py": "receivers need the applications",
    "analytics/reports/bounces.py": "it loads the chart library, which not every process needs",
}


def test_no_function_imports_one_of_our_modules():
    assert {path for path in files() if late_imports(ROOT / path)} == set(LATE)


def files():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if not {"tests", "migrations"} & set(path.parts):
                yield path.relative_to(ROOT).as_posix()


def late_imports(path):
    tree = ast.parse(path.read_text())
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node for function in functions for node in ast.walk(function) if is_ours(node)]


def is_ours(node):
    if isinstance(node, ast.Import):
        return any(each.name.split(".")[0] in PACKAGES for each in node.names)
    if isinstance(node, ast.ImportFrom):
        return bool(node.level) or (node.module or "").split(".")[0] in PACKAGES
    return False
