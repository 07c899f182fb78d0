"""Documentation matches the code."""

import re
from pathlib import Path

from analytics.warehouse.catalog import LOG_TABLES, SYSTEM_COLUMNS, TABLES

ROOT = Path(__file__).resolve().parents[2]


def _text(*path):
    return ROOT.joinpath(*path).read_text()


def test_every_variable_is_in_the_example():
    read = set(re.findall(r'env\.\w+\(\s*"(\w+)"', _text("avesa_site", "settings.py")))
    documented = set(re.findall(r"^(\w+)=", _text(".env.example"), re.MULTILINE))
    assert read == documented


def test_the_data_dictionary_is_what_the_catalog_declares():
    from analytics.warehouse.data_dictionary import data_dictionary

    assert _text("docs", "data-dictionary.md") == data_dictionary(), (
        "run: manage.py data_dictionary > docs/data-dictionary.md"
    )


def test_the_catalog_of_metrics_is_what_the_registry_declares():
    from analytics.metrics.documentation import catalog

    assert _text("docs", "metrics.md") == catalog(), (
        "run: manage.py metric_catalog > docs/metrics.md"
    )


def test_the_data_dictionary_names_every_table_and_column():
    text = _text("docs", "data-dictionary.md")
    for table in TABLES.values():
        assert f"## {table.name}" in text
        for column in table.columns:
            assert f"| {column.name} |" in text
    for name in (*(c.name for c in SYSTEM_COLUMNS), *(log.name for log in LOG_TABLES)):
        assert name in text


def test_every_process_is_described():
    processes = re.findall(r"^(\w+):", _text("Procfile"), re.MULTILINE)
    architecture = _text("docs", "architecture.md")
    assert [name for name in processes if name not in architecture] == []


def test_links_between_documents_work():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_target_that_make_lists_exists():
    text = _text("Makefile")
    listed = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert {name for name in listed if re.search(rf"^{name}:", text, re.MULTILINE)} == listed
    assert set(re.findall(r'echo "make ([\w-]+)', text)) <= listed
