"""Who calls, by the word of an issuer: its configuration, its keys, and the check of its tokens (RFC 8725)."""
