"""How much the costly tests try: `make test-thorough` everything, `make test` a part of it."""

import os

THOROUGH = os.environ.get("AVESA_THOROUGH") == "1"


def statements(most):
    """The statements, counted from 1, at which something dies: all of them, or every fifth."""
    return range(1, most, 1 if THOROUGH else 5)
