"""The processor time that TLS costs a function: the stubs speak plain HTTP."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def context_s() -> float:
    """Return the seconds for reading the system's certificates, which a function does once."""
    began = time.thread_time()
    ssl.create_default_context()
    return time.thread_time() - began


def handshake_s(count: int) -> float:
    """Return the seconds that a new connection costs the client. The certificate has a P-256 key and signs itself."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (port, client):
        spent = 0.0
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                began = time.thread_time()
                with client.wrap_socket(connection, server_hostname="127.0.0.1"):
                    spent += time.thread_time() - began
    return spent / count


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    pem = folder / "certificate.pem"
    pem.write_bytes(_certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, context), daemon=True)
        thread.start()
        yield listener.getsockname()[1], ssl.create_default_context(cafile=str(pem))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the listener was shut down
            return
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
