"""The `hms` command for people and CI. It speaks HTTP to HMS-MGT and nothing else."""
