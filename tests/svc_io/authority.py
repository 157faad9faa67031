"""A certificate authority of openssl's making, for servers and clients of the tests."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from hms_svc.address import TlsFiles


class Certificate(NamedTuple):
    """Where a certificate and its key lie."""

    cert: Path
    key: Path


class Authority:
    """Signs for `localhost` and 127.0.0.1 unless told otherwise."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self.cert, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        self._run("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.cert)

    def issue(self, name: str, *, hosts: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> Certificate:
        """Overwrites what was issued under the same name, as a rotation does."""
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}\n")
        self._run("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        signed: list[str | Path] = ["-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions]
        self._run("x509", "-req", "-in", request, *signed, "-days", str(days), "-out", made.cert)
        return made

    def files(self, client: Certificate | None = None) -> dict[str, str]:
        """The agent's settings."""
        own = {"HMS_TLS_CERT": str(client.cert), "HMS_TLS_KEY": str(client.key)} if client else {}
        return {"HMS_TLS_CA": str(self.cert), **own}

    def tls_files(self, client: Certificate) -> TlsFiles:
        return TlsFiles(str(self.cert), str(client.cert), str(client.key))

    def redis_options(self, server: Certificate, port: int) -> tuple[str, ...]:
        """Makes redis-server speak TLS on `port`, and ask for a client's certificate."""
        return (
            *("--tls-port", str(port), "--tls-auth-clients", "yes", "--tls-ca-cert-file", str(self.cert)),
            *("--tls-cert-file", str(server.cert), "--tls-key-file", str(server.key)),
        )

    @staticmethod
    def _run(*words: str | Path) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
