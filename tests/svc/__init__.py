"""Tests of the sidecar's pure half, which the control plane shares."""
