"""The embedded default: everything the control plane needs, on one machine, in one command."""
