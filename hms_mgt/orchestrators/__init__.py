"""Whoever starts, stops and sizes the instances of a service."""
