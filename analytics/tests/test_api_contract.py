"""The API against its own OpenAPI document, with generated requests."""

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from analytics.tests.versions import company, log_load, ticket
from loaders.tests.thoroughness import THOROUGH
from tenants.models import ApiToken

# Each request closes its connection, so the data of the test must be committed.
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def operations(acme, put_rows, warehouse):
    """Every operation of the document."""
    put_rows(acme, "companies", [company("1", is_active=True, name="A"), company("a/b", name="")])
    put_rows(acme, "tickets", [ticket("1", created_date="2026-06-01", priority="High")])
    for table in ("companies", "tickets"):
        log_load(warehouse, acme, table)
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application())
    return [found.ok() for found in schema.get_all_operations()]


def test_every_response_matches_the_document(operations, acme):
    """Requests use acme's token and mostly acme's URLs.

    Valid parameters may be refused, since a schema cannot express that a period must not end
    before it begins.
    """
    token = {"Authorization": f"Bearer {ApiToken.issue(acme, 'contract')[1]}"}
    assert len(operations) == 13
    for operation in operations:

        @settings(
            max_examples=200 if THOROUGH else 25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def holds(case):
            if len(case.path_parameters.get("tenant_id", "")) % 4:
                case.path_parameters["tenant_id"] = acme.id
            case.call_and_validate(headers=token, excluded_checks=[positive_data_acceptance])

        holds()
