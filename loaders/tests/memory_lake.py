"""A lake in memory: the engine reads the rows from the statement itself. It replaces only S3."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from analytics.warehouse.sql import literal
from loaders.jobs import load
from loaders.lake.s3 import LakeObject
from loaders.staging import file_selection, readers
from loaders.staging.file_schema import TEXT_TYPE, FileSchema, SourceFile
from loaders.staging.readers import Relation, raw_columns
from loaders.staging.scratch_tables import instant


@dataclass
class MemoryLake:
    """Files by key: (rows as dicts of text or None, last modified)."""

    bucket: str = "memory"
    files: dict[str, tuple[list[dict[str, str | None]], datetime]] = field(default_factory=dict)

    def objects(self, prefix):
        for key in sorted(self.files):
            if key.startswith(prefix):
                rows, modified = self.files[key]
                yield LakeObject(self.bucket, key, f"{hash(repr(rows)):x}", 1, modified)

    def schema(self, lake, found, table):
        rows, _ = self.files[found.key]
        names = sorted({name for row in rows for name in row})
        schema = FileSchema("parquet", tuple((name, TEXT_TYPE) for name in names))
        return SourceFile(found, schema, len(rows))

    @contextmanager
    def relation(self, table, files):
        schema = files[0].schema
        names = [name for name, _ in schema.read_types]
        selects = []
        for file in files:
            rows, modified = self.files[file.object.key]
            for number, row in enumerate(rows):
                values = [_text(row.get(name)) for name in names]
                time = literal(instant(modified))
                position = (
                    f"{literal(file.object.path)}, toUInt64({number}), "
                    f"toNullable(toDateTime64({time}, 3, 'UTC'))"
                )
                selects.append(f"({', '.join(values)}, {position})")
        types = "".join(f"{name} {TEXT_TYPE}, " for name in names)
        structure = f"{types}_path String, _row_number UInt64, _time Nullable(DateTime64(3, 'UTC'))"
        rows = f"SELECT * FROM values({literal(structure)}, {', '.join(selects)})"
        yield Relation(raw_columns(table, schema, f"({rows})"), schema)


def _text(value):
    return "NULL" if value is None else literal(value)


def use(lake, monkeypatch):
    """Make every load of this test discover, read and stage files of `lake`."""
    monkeypatch.setattr(load, "Lake", lambda: lake)
    monkeypatch.setattr(file_selection, "read_schema", lake.schema)
    monkeypatch.setattr(readers, "EngineSource", lambda _: lake)
