"""The one path to ClickHouse.

`catalog` declares the tables, `schema` creates them, `client` runs the statements of loads and
checks, and `tenant_reader` is the only module that reads for a tenant. Nothing outside this
package imports clickhouse_driver.
"""
