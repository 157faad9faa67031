"""HMS-GOV: the reference governance service. Rego policy in, signed decision out."""
