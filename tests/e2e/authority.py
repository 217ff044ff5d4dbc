# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl(1)."""
import subprocess

from polygate import TIMEOUT

EC_KEY = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, stdin=subprocess.DEVNULL,
                   capture_output=True, timeout=TIMEOUT)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        openssl(folder, "req", "-x509", "-newkey", *EC_KEY, "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.pem", "-days", "30",
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        (folder / f"{name}.index").write_text("")
        (folder / f"{name}.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={name}.index\ndefault_md=sha256\n"
            "default_crl_days=30\npolicy=p\nnew_certs_dir=.\nrand_serial=yes\nunique_subject=no\n"
            "copy_extensions=copy\n[p]\ncommonName=supplied\n")
        self.crl()

    def issue(self, name, cn=None, san="DNS:localhost", end=None, key=EC_KEY):
        openssl(self.folder, "req", "-new", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-out",
                f"{name}.csr", "-subj", f"/CN={cn or name}", "-addext", f"subjectAltName={san}")
        life = ["-startdate", "20200101000000Z", "-enddate", end] if end else ["-days", "30"]
        self._ca("-in", f"{name}.csr", "-out", f"{name}.pem", "-notext", "-batch", *life)

    def issue_below(self, name, between="between"):
        """A certificate of an authority that this one has made, which stands behind it in the file."""
        for who, by, extension in ((between, self.name, "basicConstraints=critical,CA:TRUE"),
                                   (name, between, "subjectAltName=DNS:localhost")):
            (self.folder / "extension").write_text(extension)
            openssl(self.folder, "req", "-new", "-newkey", *EC_KEY, "-nodes",
                    "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}")
            openssl(self.folder, "x509", "-req", "-in", f"{who}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key",
                    "-CAcreateserial", "-extfile", "extension", "-days", "30", "-out", f"{who}.pem")
        with open(self.folder / f"{name}.pem", "a") as chain:
            chain.write((self.folder / f"{between}.pem").read_text())

    def revoke(self, name):
        self._ca("-revoke", f"{name}.pem")
        self.crl()

    def crl(self):
        self._ca("-gencrl", "-out", f"{self.name}.crl")

    def _ca(self, *words):
        openssl(self.folder, "ca", "-config", f"{self.name}.cnf", "-cert", f"{self.name}.pem",
                "-keyfile", f"{self.name}.key", *words)
