"""How many cases the slow tests try: all with `make test-thorough`, a part with `make test`."""

import os

THOROUGH = os.environ.get("AVESA_THOROUGH") == "1"


def statements(most):
    """The numbers, from 1, of the statements at which to inject a fault: all, or every fifth."""
    return range(1, most, 1 if THOROUGH else 5)
