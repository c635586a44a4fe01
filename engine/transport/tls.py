"""TLS for whatever transport: who we are, and whom we ask who they are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # those that HTTP/2 allows with TLS 1.2 (RFC 9113, appendix A)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. With `client_ca`, only clients with a certificate that it signed are served."""

    cert: Path
    key: Path
    client_ca: Path | None = None


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """A server's context, for h2 only. Raises OSError that names what cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise OSError(f"cannot use the certificate {tls.cert} with the key {tls.key}: {_why(error)}") from error
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except OSError as error:
            raise OSError(f"cannot use the client authority {tls.client_ca}: {_why(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _why(error: OSError) -> str:
    return str(error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or error)
