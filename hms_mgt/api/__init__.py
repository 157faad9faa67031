"""The REST API: one router a noun, errors as problem+json at the edge."""
