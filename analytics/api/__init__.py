"""The JSON API, for sessions and for tenants' bearer tokens: the specification's routes and v1."""

from analytics.api import specification, v1
from analytics.api.base import api

# The first route that fits answers, and {table}/{tenant_id}/… of the specification fits v1/… too.
api.add_router("/v1/tenants", v1.router)
api.add_router("", specification.router)

__all__ = ["api"]
