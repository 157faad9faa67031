"""The commands: each asks, perhaps waits, prints one result and names its exit code. A file holds those of one noun."""
