"""`probe.py URL LIMIT`: ends with 0 when the app answers with that limit; says what it found else."""

import sys
import urllib.error
import urllib.request

url, expected = sys.argv[1:]
try:
    found = urllib.request.urlopen(url, timeout=2).read().decode()
except OSError as error:
    sys.exit(f"the app does not answer: {error}")
sys.exit(0 if f"limit={expected} " in found else f"the app says {found.strip()!r}, expected limit={expected}")
