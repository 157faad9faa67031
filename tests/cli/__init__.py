"""Tests of the hms command."""
