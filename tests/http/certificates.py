"""Certificates of all kinds, made for the tests."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)
PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Certificate:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)


SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def make(
    name: str,
    issuer: Certificate | None = None,
    *,
    is_issuer: bool = False,
    from_days: int = -1,
    to_days: int = 1,
    is_strict: bool = True,
) -> Certificate:
    """Return a certificate for a name or an address; without an issuer it signs itself. It is valid for some days,
    counted from now. If not `is_strict`, it lacks what RFC 5280 wants and browsers do without."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + from_days * DAY)
        .not_valid_after(now + to_days * DAY)
        .add_extension(x509.BasicConstraints(ca=is_issuer, path_length=None), critical=is_strict)
    )
    if is_strict:
        # From Python 3.13 on, the default context wants these: https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.1
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        ).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else key).public_key()),
            critical=False,
        )
    if is_issuer:
        builder = builder.add_extension(SIGNS_CERTIFICATES, critical=True)
    if not is_issuer:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
    return Certificate(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def server_context(path: Path, certificate: Certificate, *chain: Certificate) -> ssl.SSLContext:
    """Return the context of a server with this certificate, which sends `chain` too. `path` is a file to write."""
    key = certificate.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key + b"".join(each.pem for each in (certificate, *chain)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


def client_context(*trusted: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cadata="".join(each.pem.decode() for each in trusted))
