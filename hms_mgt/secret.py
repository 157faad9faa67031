"""Service tokens: how they are made, and how one is known again without being kept."""

import hashlib
import secrets


def new_token() -> str:
    """Make a token with 256 bits of randomness and a prefix that secret scanners recognise."""
    return f"hms_{secrets.token_urlsafe(32)}"


def digest(token: str) -> str:
    """Return what is stored of a token. It has full entropy, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()
