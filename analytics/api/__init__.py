"""The JSON API: the specification's routes and version 1, for sessions and bearer tokens."""

from analytics.api import changes, query, specification, v1
from analytics.api.base import api

# v1 comes first: {table}/{tenant_id}/… of the specification would match v1/… too.
api.add_router("/v1/tenants", v1.router)
api.add_router("/v1/tenants", query.router)
api.add_router("/v1/tenants", changes.router)
api.add_router("", specification.router)

__all__ = ["api"]
