"""Tests, in packages that mirror the code's."""
