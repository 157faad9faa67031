"""Tests, in packages that mirror the code's."""

from hypothesis import HealthCheck, settings

# Properties judge results: how long an example takes, or takes to be made up, says more about the machine. Many
# properties with some examples each, on every run, find more than few with many.
settings.register_profile("hms", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hms")
