"""What the control plane does, a verb a file. Each runs in its caller's transaction or opens one itself."""
