"""A TLS front for a server on this machine, with a certificate that only we have signed.

    python tls_server.py DIR PORT TARGET_PORT [mutual]

Writes DIR/ca.pem before it listens, and passes every byte on as it is. With `mutual` it wants a
certificate of its clients, too: DIR/own.pem with DIR/key.pem is one, DIR/server.pem is both in one.
"""

import datetime
import ipaddress
import os
import socket
import ssl
import sys
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

directory, port, target = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
now = datetime.datetime.now(datetime.timezone.utc)


def certificate(subject, key, issuer, issuer_key, is_ca):
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def write(name, *pems):
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(b"".join(pems))
    return path


pem = serialization.Encoding.PEM
ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ca = certificate("windlass test CA", ca_key, "windlass test CA", ca_key, True)
own = certificate("localhost", key, "windlass test CA", ca_key, False)
key_pem = key.private_bytes(
    pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
chain = write("server.pem", key_pem, own.public_bytes(pem))
write("key.pem", key_pem)
write("own.pem", own.public_bytes(pem))
authority = write("ca.pem", ca.public_bytes(pem))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain)
if "mutual" in sys.argv[4:]:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(plain):
    try:
        inside = context.wrap_socket(plain, server_side=True)
        outside = socket.create_connection(("127.0.0.1", target))
    except OSError:
        plain.close()
        return
    threading.Thread(target=pump, args=(outside, inside), daemon=True).start()
    pump(inside, outside)


listener = socket.create_server(("127.0.0.1", port))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
