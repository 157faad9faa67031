"""The whole system, really running: the promises of the design, proved from outside."""
