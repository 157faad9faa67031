"""Tests of the sidecar's pure half, which the control plane shares."""

from hypothesis import settings

# Properties judge results: how long an example takes says more about the machine, and many properties with some
# examples each, on every run, find more than few with many.
settings.register_profile("hms", deadline=None, max_examples=60)
settings.load_profile("hms")
