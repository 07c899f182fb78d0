"""The one path to ClickHouse.

`catalog` declares the tables, `schema` creates them, `writer` loads them, and `reader` is the only
module that reads for a tenant. Nothing outside this package imports clickhouse_driver.
"""
