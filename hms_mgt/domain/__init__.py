"""The rules of the control plane, pure: no I/O, no clock. Instants come in as parameters."""
