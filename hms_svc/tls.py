"""TLS towards Redis and MGT: always verified, and said in plain words when it fails.

The files are read at each dial, so that certificates which were rotated on disk are simply used. There is no
setting that switches verification off. ssl costs 5 MiB and is loaded only by those who use it.
"""

import socket

from hms_svc.address import TlsFiles

# OpenSSL's numbers and names for what goes wrong in practice.
_CERTIFICATE = {
    9: "its certificate is not valid yet (or our clock is behind)",
    10: "its certificate has expired (or our clock is ahead)",
    18: "its certificate is signed by itself, and HMS_TLS_CA does not name it",
    19: "its certificate was signed by an unknown CA; HMS_TLS_CA names the right one",
    20: "its certificate was signed by an unknown CA; HMS_TLS_CA names the right one",
    21: "its certificate was signed by an unknown CA; HMS_TLS_CA names the right one",
    62: "its certificate is for another host",
    64: "its certificate is for another address",
}
# One text for all of these: a server that misses our certificate says so, or is gone before that is heard.
BROKE_OFF = "the server broke off, or asks for a client certificate: HMS_TLS_CERT and HMS_TLS_KEY"
_REASONS = {
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "the other side does not speak TLS on this port",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": BROKE_OFF,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server wants another handshake, perhaps a client certificate (HMS_TLS_CERT)",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not know the CA of our certificate (HMS_TLS_CERT)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate (HMS_TLS_CERT) has expired",
    "SSLEOFError": BROKE_OFF,
    "ConnectionError": BROKE_OFF,
    "ConnectionResetError": BROKE_OFF,
    "BrokenPipeError": BROKE_OFF,
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refuses our certificate (HMS_TLS_CERT)",
}


class TlsFileError(OSError):
    """One of the files cannot be used; the text names its variable."""


def wrap(plain: socket.socket, host: str, files: TlsFiles) -> socket.socket:
    """Verified TLS over a connected socket, which is closed when that fails; OSError."""
    import ssl  # noqa: PLC0415 - 5 MiB

    try:
        # The system's CAs are many, and believed only where nobody named others.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if files.ca else ssl.create_default_context()
        _load(context, files)
        return context.wrap_socket(plain, server_hostname=host)
    except TimeoutError:
        plain.close()
        raise TimeoutError("no TLS handshake in time; does this port speak TLS?") from None
    except BaseException:
        plain.close()
        raise


def _load(context: "ssl.SSLContext", files: TlsFiles) -> None:  # type: ignore[name-defined]  # noqa: F821
    name, path = "HMS_TLS_CA", files.ca
    try:
        if files.ca:
            context.load_verify_locations(files.ca)
        if files.cert:
            name, path = "HMS_TLS_CERT or HMS_TLS_KEY", files.cert
            # Without a password given, OpenSSL would ask the terminal for the one of an encrypted key.
            context.load_cert_chain(files.cert, files.key or None, password=b"")
    except OSError as error:
        raise TlsFileError(f"{name}={path}: {words(error)}") from None


def words(error: OSError) -> str:
    """What went wrong, in plain words (ssl's errors are known by their fields: importing it costs too much)."""
    reason = getattr(error, "reason", None) or type(error).__name__
    known = _CERTIFICATE.get(getattr(error, "verify_code", 0)) or _REASONS.get(reason)
    return known or str(getattr(error, "verify_message", None) or error.strerror or error)
