"""An app that is configured by its environment alone, as twelve-factor apps are."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

LIMIT = int(os.environ["RATE_LIMIT_RPS"])


class Handler(BaseHTTPRequestHandler):
    """Says what is in force."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"limit={LIMIT} pool={os.environ['DATABASE_POOL']}\n".encode())

    def log_message(self, *_):
        """Say nothing."""


HTTPServer(("127.0.0.1", 8086), Handler).serve_forever()
