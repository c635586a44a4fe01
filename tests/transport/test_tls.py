"""TLS and mutual TLS, over both transports."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import trustme

from engine.transport.tls import Tls
from tests.transport.conftest import Serve
from tests.transport.methods import SERVICE
from tests.transport.raw import PREFACE, SETTINGS, Socket, frame

TIMEOUT_S = 30
OURS = [("grpc.ssl_target_name_override", "tact.test"), ("grpc.use_local_subchannel_pool", 1)]


class Files(NamedTuple):
    """What a bank's security department hands out."""

    tls: Tls
    mutual: Tls
    authority: bytes
    client_key: bytes
    client_cert: bytes


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server, client = authority.issue_cert("tact.test"), authority.issue_cert("client.test")
    cert, key, ca = directory / "cert.pem", directory / "key.pem", directory / "ca.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    key.write_bytes(server.private_key_pem.bytes())
    ca.write_bytes(authority.cert_pem.bytes())
    return Files(
        Tls(cert, key),
        Tls(cert, key, ca),
        authority.cert_pem.bytes(),
        client.private_key_pem.bytes(),
        client.cert_chain_pems[0].bytes(),
    )


def echo(address: str, credentials: grpc.ChannelCredentials) -> bytes:
    with grpc.secure_channel(address, credentials, OURS) as channel:
        answer: bytes = channel.unary_unary(SERVICE + "Echo")(b"x" * 100_000, timeout=TIMEOUT_S)
        return answer


def test_tls(serve: Serve, files: Files) -> None:
    server = serve(tls=files.tls)
    assert echo(server.address, grpc.ssl_channel_credentials(files.authority)) == b"x" * 100_000
    with pytest.raises(grpc.RpcError) as caught:
        echo(server.address, grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes()))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]


def test_mutual_tls(serve: Serve, files: Files) -> None:
    server = serve(tls=files.mutual)
    known = grpc.ssl_channel_credentials(files.authority, files.client_key, files.client_cert)
    assert echo(server.address, known) == b"x" * 100_000
    other = trustme.CA().issue_cert("client.test")
    stranger = (other.private_key_pem.bytes(), other.cert_chain_pems[0].bytes())
    for credentials in (
        grpc.ssl_channel_credentials(files.authority),
        grpc.ssl_channel_credentials(files.authority, *stranger),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            echo(server.address, credentials)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]


def test_calls_without_tls_are_not_served(serve: Serve, files: Files) -> None:
    server = serve(tls=files.tls)
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(SERVICE + "Echo")(b"", timeout=TIMEOUT_S)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]


def _connect(address: tuple[str, int], files: Files, alpn: list[str]) -> Socket:
    context = ssl.create_default_context(cadata=files.authority.decode())
    if alpn:
        context.set_alpn_protocols(alpn)
    client = Socket(address)
    client.secure(context, "tact.test")
    return client


@pytest.mark.parametrize("kind", ["http2-uvloop", "http2-asyncio"], indirect=True)
def test_alpn(serve: Serve, files: Files) -> None:
    server = serve(tls=files.tls)
    with _connect(server.host_port, files, ["h2", "http/1.1"]) as client:
        client.send(PREFACE + frame(SETTINGS))
        assert client.until(SETTINGS, 1).payload == b""
    with _connect(server.host_port, files, []) as client:
        assert client.receive().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "ca"}, "cannot use the certificate .*cert.pem with the key .*ca.pem: "),
        ({"cert": "key"}, "cannot use the certificate .*key.pem with the key .*key.pem: "),
        ({"client_ca": "key"}, "cannot use the client authority .*key.pem: "),
        ({"client_ca": "nothing"}, "cannot use the client authority .*nothing.pem: No such file"),
    ],
)
def test_files_that_cannot_be_used(serve: Serve, files: Files, change: dict[str, str], said: str) -> None:
    directory = files.tls.cert.parent
    given = {"cert": "cert", "key": "key", **change}
    tls = Tls(**{name: directory / f"{value}.pem" for name, value in given.items()})
    with pytest.raises(OSError, match=said):
        serve(tls=tls)
