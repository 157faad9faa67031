"""What ships beside the code: images, the compose file, the broker's settings, the served nginx.

No engine is needed: files are read as data, and what can run on its own (Redis, nginx, the shell scripts
inside the compose file) really runs.
"""
