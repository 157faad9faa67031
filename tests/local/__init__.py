"""`up`, its data directory and the local orchestrator, killed where it hurts: real processes, SIGKILL, no fakes."""
