"""All SQL of the control plane. Every call runs inside a transaction that is scoped to one tenant."""
