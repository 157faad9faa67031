"""HMS-MGT: the control plane that turns approved patches into live service configuration."""
