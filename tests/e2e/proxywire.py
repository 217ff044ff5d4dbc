# SPDX-License-Identifier: Apache-2.0
"""Headers of the PROXY protocol (haproxy.org, proxy-protocol.txt), made for tests, and a proxy that
sends them: independent of the gateway's parser."""
import socket
import struct
import threading

from polygate import TIMEOUT

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source="192.0.2.7", port=40000):
    family = "TCP6" if ":" in source else "TCP4"
    target = "::1" if ":" in source else "10.0.0.1"
    return f"PROXY {family} {source} {target} {port} 1883\r\n".encode()


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def tls(cn=None, verify=0, bits=3):
    """What a proxy says that has ended TLS: 1 it was TLS, 2 the client has shown a certificate."""
    return tlv(0x20, struct.pack(">BI", bits, verify) + tlv(0x21, b"TLSv1.3") +
               (tlv(0x22, cn.encode() if isinstance(cn, str) else cn) if cn is not None else b""))


def v2(source="192.0.2.7", port=40000, tlvs=b"", local=False):
    if local:
        return SIGNATURE + struct.pack(">BBH", 0x20, 0, len(tlvs)) + tlvs
    v6 = ":" in source
    family = socket.AF_INET6 if v6 else socket.AF_INET
    target = "::1" if v6 else "10.0.0.1"
    body = (socket.inet_pton(family, source) + socket.inet_pton(family, target) +
            struct.pack(">HH", port, 1883) + tlvs)
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x21 if v6 else 0x11, len(body)) + body


class Proxy:
    """Hands connections on to `port`, each with `header` in front."""

    def __init__(self, port, header):
        self.target, self.header = port, header
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.sockets = [self.listening]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target), TIMEOUT)
            self.sockets += [client, server]
            threading.Thread(target=self._copy, args=(client, server, self.header), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, b""), daemon=True).start()

    @staticmethod
    def _copy(source, target, head):
        try:
            # Header and first bytes leave in one packet, as they do from a busy proxy.
            while data := source.recv(65536):
                target.sendall(head + data)
                head = b""
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.sockets:
            s.close()
