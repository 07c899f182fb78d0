"""ClickHouse's native protocol over an embedded engine (chDB), for one machine.

Self-contained: it knows nothing of Django or of this product. See docs/embedded-endpoint.md.
"""

from analytics.warehouse.embedded.process import EmbeddedClickHouse

__all__ = ["EmbeddedClickHouse"]
