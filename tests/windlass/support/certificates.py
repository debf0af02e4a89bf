"""Certificates for a server and its clients: python certificates.py DIR

self        signs itself, as PostgreSQL's own guide makes one: an authority, a common name, no other
expired     the same, of the day before yesterday
ca          an authority; leaf is signed by it for localhost and 127.0.0.1, client for anybody
other       another authority
"""

import datetime
import ipaddress
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
keys = {}


def make(name, common_name, issuer=None, is_ca=True, ends=NOW + DAY, alternatives=()):
    keys[name] = key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1] if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 3 * DAY)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(keys[issuer[0]] if issuer else key, hashes.SHA256())
    plain = serialization.NoEncryption()
    with open(os.path.join(sys.argv[1], name + ".pem"), "wb") as file:
        file.write(certificate.public_bytes(PEM))
    with open(os.path.join(sys.argv[1], name + ".key"), "wb") as file:
        file.write(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
    return name, subject


make("self", "localhost")
make("expired", "localhost", ends=NOW - 2 * DAY)
make("other", "another authority")
ca = make("ca", "an authority")
local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
make("leaf", "something else", issuer=ca, is_ca=False, alternatives=local)
make("client", "windlass", issuer=ca, is_ca=False)
