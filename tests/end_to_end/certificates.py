"""Certificates for tests of the proxies: an authority, a server, clients that it vouches for."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

TRADINGVIEW = {
    NameOID.COUNTRY_NAME: "US",
    NameOID.STATE_OR_PROVINCE_NAME: "Ohio",
    NameOID.LOCALITY_NAME: "Westerville",
    NameOID.ORGANIZATION_NAME: "TradingView, Inc.",
    NameOID.COMMON_NAME: "webhook-server@tradingview.com",
}
"""What TradingView's page says of its certificate: support/solutions/43000680459."""

Subject = dict[ObjectIdentifier, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    def trusting(self, authority: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs for a test, in a folder of its own."""

    folder: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    file: Path

    @classmethod
    def made(cls, folder: Path, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name({NameOID.COMMON_NAME: name})
        builder = _builder(subject, subject, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        file = folder / f"{name}.pem"
        file.write_bytes(_pem(builder.sign(key, hashes.SHA256())))
        return cls(folder, subject, key, file)

    def server(self, host: str) -> Shown:
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        return self._signed({NameOID.COMMON_NAME: host}, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, subject: Subject) -> Shown:
        address = x509.RFC822Name("webhook-server@tradingview.com")
        names = x509.SubjectAlternativeName([address])
        return self._signed(subject, ExtendedKeyUsageOID.CLIENT_AUTH, names)

    def _signed(
        self, subject: Subject, purpose: ObjectIdentifier, names: x509.SubjectAlternativeName
    ) -> Shown:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(subject), self.name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        stem = self.folder / f"{certificate.serial_number:x}"
        shown = Shown(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        shown.certificate.write_bytes(_pem(certificate))
        shown.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return shown


def _name(subject: Subject) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in subject.items()])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)  # noqa: TID251  TLS compares with the real time
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
