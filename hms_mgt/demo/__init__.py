"""The IACB fleet of the walk-through, and the walk-through itself."""
