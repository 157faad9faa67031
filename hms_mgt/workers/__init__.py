"""Background work of the control plane: loops that claim, decide by a use case, and look again."""
