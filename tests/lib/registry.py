#!/usr/bin/env python3
"""A registry that misbehaves, for tests/pull.bats and tests/trust.bats.

    registry.py [--address ADDRESS] [--tls CERT KEY] [--client-ca CA] [--login] DIRECTORY

Listens on two free ports of ADDRESS, 127.0.0.1 (the registry, and somebody else's host for redirects and token
services), writes them to DIRECTORY/ports and every request to DIRECTORY/log (`PORT METHOD PATH AUTHORIZATION RANGE
CLIENT`, CLIENT being the name in the client's certificate). With --client-ca the registry wants a certificate of that
authority, and the other host takes one; with --login it asks for alice's password at its door, and not only for some
images. The first part of a repository's name says how it misbehaves: PORT/429/x:latest. Any other name behaves.
"""

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import tarfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arguments = argparse.ArgumentParser()
arguments.add_argument("--address", default="127.0.0.1")
arguments.add_argument("--tls", nargs=2)
arguments.add_argument("--client-ca")
arguments.add_argument("--login", action="store_true")
arguments.add_argument("directory")
arguments = arguments.parse_args()
DIRECTORY, ADDRESS, TLS = arguments.directory, arguments.address, arguments.tls
USER, PASSWORD = "alice", "secret"
OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution.manifest."
LOCK = threading.Lock()
LAZY_LOCK = threading.Lock()
COUNTS = {}
BLOBS = {}


def count(*key):
    """How often this has been called with this key, from 1."""
    with LOCK:
        COUNTS[key] = COUNTS.get(key, 0) + 1
        return COUNTS[key]


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def blob(content, media_type, **more):
    BLOBS[digest(content)] = content
    return {"mediaType": media_type, "digest": digest(content), "size": len(content), **more}


def document(value, media_type, **more):
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return blob(content, media_type, **more)


def layer_tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def noise(seed, size):
    return random.Random(seed).randbytes(size)


# Large enough that a socket's buffers do not swallow a cut.
TARS = [layer_tar({"etc/first": b"first\n", "a/noise": noise(1, 3 << 20)}),
        layer_tar({"etc/second": b"second\n", "b/noise": noise(2, 1 << 20)})]


def zstd(content):
    return subprocess.run(["zstd", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


def zstd_raw(content, window_log):
    """A zstd frame of blocks that are not compressed, which wants a window of so many bits (RFC 8878, section 3.1.1)."""
    blocks = [content[at:at + 100000] for at in range(0, len(content), 100000)]
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
    for number, block in enumerate(blocks):
        frame += (len(block) << 3 | (number == len(blocks) - 1)).to_bytes(3, "little") + block
    return frame


def image(layers=None, diff_ids=None, config=None, architecture="amd64", variant=None, **more):
    """An image manifest's descriptor; everything it leads to is put into BLOBS."""
    if layers is None:
        layers = [blob(gzip.compress(tar, 1, mtime=0), OCI + "layer.v1.tar+gzip") for tar in TARS]
    if diff_ids is None:
        diff_ids = [digest(tar) for tar in TARS]
    config = document({
        "architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["/bin/true"], "Env": ["A=1"], "WorkingDir": "/srv", "User": "7:8"} if config is None else config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        **({"variant": variant} if variant else {}),
    }, OCI + "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": layers, **more}
    return document(manifest, OCI + "manifest.v1+json")


def index(*entries):
    return document({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(entries)},
                    OCI + "index.v1+json")


def platform(descriptor, architecture, **more):
    return {**descriptor, "platform": {"os": "linux", "architecture": architecture, **more}}


GOOD = image()
GZIP = json.loads(BLOBS[GOOD["digest"]])["layers"]
ROOTS = {
    "index": index(platform(image(config={"Cmd": ["arm"]}, architecture="arm64"), "arm64"), platform(GOOD, "amd64")),
    "nested": index(platform(image(config={"Cmd": ["x"]}), "s390x"), index(platform(GOOD, "amd64"))),
    "variants": index(*(platform(image(config={"Cmd": [variant]}, architecture="arm", variant=variant), "arm",
                                 variant=variant) for variant in ("v5", "v6", "v7")),
                      platform(image(config={"Cmd": ["windows"]}), "amd64", os="windows"), platform(GOOD, "amd64")),
    "swap": index(platform(GOOD, "amd64")),
    "no-platform": index(platform(GOOD, "s390x")),
    "zstd": image([blob(zstd(tar), OCI + "layer.v1.tar+zstd") for tar in TARS]),
    "plain": image([blob(tar, OCI + "layer.v1.tar") for tar in TARS]),
    "lying-type": image([blob(tar, OCI + "layer.v1.tar+gzip") for tar in TARS]),
    "multi-member": image([blob(gzip.compress(TARS[0][:5000], 1) + gzip.compress(TARS[0][5000:], 1),
                                OCI + "layer.v1.tar+gzip")], [digest(TARS[0])]),
    "same-layer-twice": image([GZIP[0], GZIP[0]], [digest(TARS[0])] * 2),
    "wrong-diff-id": image(diff_ids=[digest(TARS[0]), digest(b"")]),
    "wrong-size": image([{**GZIP[0], "size": GZIP[0]["size"] - 7}, GZIP[1]]),
    "too-few-ids": image(diff_ids=[digest(TARS[0])]),
    "foreign": image([{**GZIP[0], "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                       "urls": ["http://127.0.0.1/x"]}, GZIP[1]]),
    "unknown-type": image([{**GZIP[0], "mediaType": "application/x-walnut"}, GZIP[1]]),
    "many-layers": image([GZIP[0]] * 501, [digest(TARS[0])] * 501),
    "both": image(manifests=[]),
    "path-digest": image([{**GZIP[0], "digest": "sha256:../../../../etc/passwd"}, GZIP[1]]),
    "md5": image([{**GZIP[0], "digest": "md5:" + "0" * 32}, GZIP[1]]),
    "deep": document(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", OCI + "manifest.v1+json"),
    "garbage": document(b"\x00\xff<html>", OCI + "manifest.v1+json"),
    "truncated-gzip": image([blob(BLOBS[GZIP[0]["digest"]][:-100000], OCI + "layer.v1.tar+gzip")],
                            [digest(TARS[0])]),
    "trailing": image([blob(BLOBS[GZIP[0]["digest"]] + b"x" * 100, OCI + "layer.v1.tar+gzip")], [digest(TARS[0])]),
    "gzip-crc": image([blob(BLOBS[GZIP[0]["digest"]][:-8] + bytes(4) + BLOBS[GZIP[0]["digest"]][-4:],
                            OCI + "layer.v1.tar+gzip"), GZIP[1]]),
    "gzip-length": image([blob(BLOBS[GZIP[0]["digest"]][:-4] + bytes(4), OCI + "layer.v1.tar+gzip"), GZIP[1]]),
    "zstd-crc": image([blob(zstd(TARS[0])[:-4] + bytes(4), OCI + "layer.v1.tar+zstd"), GZIP[1]]),
    "zstd-window": image([blob(zstd_raw(TARS[0], 31), OCI + "layer.v1.tar+zstd"), GZIP[1]]),
    "zstd-window-usual": image([blob(zstd_raw(TARS[0], 23), OCI + "layer.v1.tar+zstd"), GZIP[1]]),
    "schema1": document({"schemaVersion": 1, "fsLayers": []}, DOCKER + "v1+prettyjws"),
}


def sized(size, content):
    """A layer whose one file has a size, made when it is first asked for: few tests want it."""
    tar = layer_tar({"content": content(size)})
    return image([blob(gzip.compress(tar, 1, mtime=0), OCI + "layer.v1.tar+gzip")], [digest(tar)])


LAZY = {"large": lambda: sized(64 << 20, lambda size: noise(3, size)), "bomb": lambda: sized(256 << 20, bytes)}
TOKEN = "t0k3n"
IDENTITY = "1dent1ty"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        self.port = self.server.server_address[1]
        with LOCK, open(os.path.join(DIRECTORY, "log"), "a") as log:
            print(self.port, self.command, self.path, self.headers.get("Authorization", "-").replace(" ", "_"),
                  self.headers.get("Range", "-"), self.client(), file=log)
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def client(self):
        """The name in the client's certificate."""
        certificate = self.connection.getpeercert() if TLS else None
        names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
        return names[0] if names else "-"

    def reply(self, status, content=b"", headers=None, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def error(self, status, code, headers=None):
        body = json.dumps({"errors": [{"code": code.upper(), "message": code.replace("_", " ")}]}).encode()
        self.reply(status, body, headers)

    def reset(self):
        """Ends the connection with a RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        (self.connection.unwrap() if TLS else self.connection).close()

    def answer(self):
        path, _, query = self.path.partition("?")
        if path == "/v2/":
            return self.reply(200, b"{}") if not arguments.login or self.authorized("basic") else None
        if path.startswith("/token"):
            return self.token(path, query)
        if path.startswith("/elsewhere/"):
            return self.blob(path.split("/", 2)[2], "")
        parts = path.split("/")
        if len(parts) < 5 or parts[1] != "v2":
            return self.error(404, "not_found")
        kind, what, name = parts[2], parts[-2], parts[-1]
        if kind.startswith("auth") or kind == "basic":
            if not self.authorized(kind):
                return None
            kind = kind.removeprefix("auth-") if kind.startswith("auth-redirect") else kind
        if what == "manifests":
            return self.manifest(name, kind)
        if what == "blobs":
            return self.blob(name, kind)
        return self.error(404, "not_found")

    # --- authentication ---------------------------------------------------------------------------------------

    def authorized(self, kind):
        got = self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if kind == "basic":
            if got == basic:
                return True
            self.error(401, "unauthorized", {"WWW-Authenticate": 'Basic realm="test"'})
            return False
        if kind == "auth-expire" and got.startswith("Bearer ") and count("expire", got) <= 2:
            return True
        if kind not in ("auth-expire", "auth-loop") and got == "Bearer " + TOKEN:
            return True
        here, other = (server.server_address[1] for server in SERVERS)
        scheme = "https" if TLS else "http"
        realm = {"auth-realm": f"http://{ADDRESS}:{other}/token", "auth-realm-metadata": "http://169.254.169.254/token",
                 "auth-realm-file": "file:///etc/passwd"}.get(kind, f"{scheme}://{ADDRESS}:{here}/token-{kind}")
        self.error(401, "unauthorized", {"WWW-Authenticate": f'Bearer realm="{realm}",service="test"'})
        return False

    def token(self, path, _query):
        kind = path.partition("-")[2]
        if kind == "auth-token-huge":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"token":"')
            for _ in range(1024):
                self.wfile.write(b"a" * 65536)
            self.close_connection = True
            return None
        tokens = {"auth-token-crlf": "a\r\nX-Evil: 1", "auth-expire": f"{TOKEN}-{count('token')}"}
        if kind == "auth-token-garbage":
            return self.reply(200, b"<html>")
        if kind == "auth-password":
            want = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if self.headers.get("Authorization") != want:
                return self.error(401, "wrong_password")
        if kind == "auth-identity":
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [IDENTITY]:
                return self.error(401, "wrong_identity")
        if kind == "auth-busy" and count("busy") < 3:
            return self.error(503, "busy")
        return self.reply(200, json.dumps({"token": tokens.get(kind, TOKEN)}).encode())

    # --- content ----------------------------------------------------------------------------------------------

    def busy(self, kind, path):
        """The kinds that are the same for manifests and blobs; true if the answer has been given."""
        if kind == "429" and count(kind, path) < 3:
            self.error(429, "toomanyrequests", {"Retry-After": "0"})
        elif kind == "429-wait" and count(kind, path) < 2:
            self.error(429, "toomanyrequests", {"Retry-After": "2"})
        elif kind == "429-forever":
            self.error(429, "toomanyrequests", {"Retry-After": "0"})
        elif kind == "429-tomorrow":
            self.error(429, "toomanyrequests", {"Retry-After": "86400"})
        elif kind == "500" and count(kind, path) < 3:
            self.error(500, "unknown")
        elif kind == "503-forever":
            self.error(503, "unavailable", {"Retry-After": "0"})
        elif kind == "denied":
            self.error(403, "denied")
        elif kind == "control":
            self.error(404, "\x1b[2Jgone")
        elif kind == "hang-up" and count(kind, path) < 2:
            self.reset()
        elif kind == "header-bomb":
            self.send_response(200)
            for number in range(4096):
                self.send_header(f"X-{number}", "y" * 1024)
            self.end_headers()
            self.close_connection = True
        else:
            return False
        return True

    def manifest(self, name, kind):
        if self.busy(kind, self.path):
            return None
        if kind == "missing":
            return self.error(404, "manifest_unknown")
        with LAZY_LOCK:
            if kind in LAZY and kind not in ROOTS:
                ROOTS[kind] = LAZY[kind]()
        root = ROOTS.get(kind, GOOD)
        if name.startswith("sha256:") and kind == "swap":
            # Another image than the one that was asked for, and whole.
            content, own = BLOBS[ROOTS["zstd"]["digest"]], ROOTS["zstd"]["mediaType"]
        elif name.startswith("sha256:"):
            if name not in BLOBS:
                return self.error(404, "manifest_unknown")
            content = BLOBS[name]
            own = json.loads(content).get("mediaType", OCI + "manifest.v1+json")
        else:
            content, own = BLOBS[root["digest"]], root["mediaType"]
        headers = {"Content-Type": own, "Docker-Content-Digest": digest(content)}
        if kind == "swap":
            del headers["Docker-Content-Digest"]
        if kind == "digest-header":
            headers["Docker-Content-Digest"] = digest(b"other")
        if kind == "no-type":
            headers["Content-Type"] = "text/plain"
        if kind == "type-lies":
            headers["Content-Type"] = OCI + "index.v1+json"
        if kind == "flip-manifest":
            content = content.replace(b"linux", b"lunix").replace(b"schemaVersion", b"schemaversion")
        if kind == "endless-manifest":
            return self.endless(headers, b" ")
        return self.reply(200, content, headers)

    def endless(self, headers, byte):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(4096):
            self.wfile.write(b"10000\r\n" + byte * 65536 + b"\r\n")
        self.close_connection = True

    def blob(self, name, kind):
        if name not in BLOBS or self.busy(kind, self.path):
            return None if name in BLOBS else self.error(404, "blob_unknown")
        content = BLOBS[name]
        # Configurations are small and always come; only layers misbehave.
        if len(content) < 65536:
            return self.reply(200, content)
        if kind.startswith("redirect"):
            return self.redirect(name, kind)
        start = 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        return self.layer(content, start, kind, count("layer", kind, name))

    def redirect(self, name, kind):
        here, other = (server.server_address[1] for server in SERVERS)
        scheme = "https" if TLS else "http"
        hops = int(self.path.partition("?hop=")[2] or 0)
        location = {
            "redirect-other": f"{scheme}://{ADDRESS}:{other}/elsewhere/{name}",
            "redirect-localhost": f"{scheme}://localhost:{other}/elsewhere/{name}",
            "redirect-relative": f"/elsewhere/{name}",
            "redirect-file": "file:///etc/passwd",
            "redirect-metadata": "http://169.254.169.254/latest/meta-data/",
            "redirect-loopback": "http://127.0.0.1/elsewhere/x",
            "redirect-http": f"http://{ADDRESS}:{here}/elsewhere/{name}",
            "redirect-loop": self.path,
            "redirect-many": f"/v2/redirect-many/x/blobs/{name}?hop={hops + 1}",
            "redirect-user": f"{scheme}://u:p@{ADDRESS}:{other}/elsewhere/{name}",
        }.get(kind)
        return self.reply(307, headers={"Location": location} if location else {})

    def layer(self, content, start, kind, number):
        half = len(content) // 2
        part = content[start:]
        headers = {"Content-Type": "application/octet-stream"}
        if start and kind not in ("range-ignored", "range-416"):
            first = start - 5 if kind == "range-early" else start
            if kind == "range-early":
                part = content[first:]
            if kind == "range-wrong":
                first, part = 0, content
                headers["Content-Range"] = f"bytes {start + 9}-{len(content) - 1}/{len(content)}"
            else:
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            if kind == "range-other":
                part = bytes(len(part))
            status = 206
        elif start and kind == "range-416":
            return self.error(416, "range_invalid")
        else:
            status, part = 200, content
        first_try = number == 1
        if kind == "flip":
            part = part[:-9] + bytes([part[-9] ^ 1]) + part[-8:]
        elif kind == "encoding-gzip":
            headers["Content-Encoding"] = "gzip"
            part = gzip.compress(part)
        elif kind == "short-length":
            return self.reply(status, part[:half], headers)
        elif kind == "long-length":
            return self.reply(status, part + b"x", headers)
        elif kind == "endless-blob":
            return self.endless(headers, b"x")
        elif kind == "chunked":
            return self.chunked(status, headers, part, True)
        elif kind == "chunked-cut" and first_try:
            return self.chunked(status, headers, part[:half], False)
        elif (kind in ("truncate", "reset") or kind.startswith("range-")) and first_try:
            self.reply(status, part[:half], headers, len(part))
            if kind == "reset":
                return self.reset()
            self.close_connection = True
            return None
        elif kind == "always-cut":
            # A little progress each time, never the end.
            self.reply(status, part[:1000], headers, len(part))
            self.close_connection = True
            return None
        elif kind == "stall" and first_try or kind == "stall-forever":
            self.reply(status, part[:half] if first_try else b"", headers, len(part))
            self.wfile.flush()
            time.sleep(20)
            self.close_connection = True
            return None
        elif kind == "slow":
            self.reply(status, b"", headers, len(part))
            for at in range(0, len(part)):
                self.wfile.write(part[at:at + 1])
                self.wfile.flush()
                time.sleep(0.02)
            return None
        elif kind == "wait":
            time.sleep(0.3)
        elif kind == "trickle":
            self.reply(status, b"", headers, len(part))
            for at in range(0, len(part), 1 << 17):
                self.wfile.write(part[at:at + (1 << 17)])
                self.wfile.flush()
                time.sleep(0.1)
            return None
        return self.reply(status, part, headers)

    def chunked(self, status, headers, content, whole):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(content), 50000):
            piece = content[at:at + 50000]
            self.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


SERVERS = [Server((ADDRESS, 0), Handler) for _ in range(2)]
if TLS:
    for server, wanted in zip(SERVERS, (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*TLS)
        if arguments.client_ca:
            context.load_verify_locations(arguments.client_ca)
            context.verify_mode = wanted
        # Not in the one thread that accepts: a client that says nothing would stop all others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
for server in SERVERS:
    threading.Thread(target=server.serve_forever, daemon=True).start()
with open(os.path.join(DIRECTORY, "ports.new"), "w") as ports:
    print(*(server.server_address[1] for server in SERVERS), file=ports)
os.rename(os.path.join(DIRECTORY, "ports.new"), os.path.join(DIRECTORY, "ports"))
threading.Event().wait()
