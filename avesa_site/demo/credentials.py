"""The demo's secrets: created once per checkout, in a file that only its owner can read."""

import json
import os
import secrets
from pathlib import Path


def secrets_of(folder: Path) -> dict[str, str]:
    """`secret_key` and the two passwords, from `folder`/demo.json."""
    path = folder / "demo.json"
    if path.exists():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    made = {
        "secret_key": secrets.token_urlsafe(50),
        "tenant_admin_password": secrets.token_urlsafe(9),
        "staff_password": secrets.token_urlsafe(9),
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(made, file, indent=2)
    return made
