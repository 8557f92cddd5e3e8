#!/usr/bin/env python3
"""A registry that takes pushes, and misbehaves, for tests/push.bats.

    push_registry.py DIRECTORY

Listens on two free ports of 127.0.0.1 (the registry, and somebody else's host for uploads), writes them to
DIRECTORY/ports, every request to DIRECTORY/log (`PORT METHOD PATH AUTHORIZATION LENGTH`), and what was pushed to
DIRECTORY/REPOSITORY/{blobs,manifests}. The first part of a repository's name says how it misbehaves: PORT/429/x.
"""

import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECTORY = sys.argv[1]
LOCK = threading.Lock()
COUNTS = {}
UPLOADS = {}
TOKEN = "t0k3n"


def count(*key):
    """How often this has been called with this key, from 1."""
    with LOCK:
        COUNTS[key] = COUNTS.get(key, 0) + 1
        return COUNTS[key]


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def path_of(repository, kind, name):
    return os.path.join(DIRECTORY, "store", repository, kind, name)


def keep(repository, kind, name, content):
    path = path_of(repository, kind, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(content)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        self.port = self.server.server_address[1]
        self.length = int(self.headers.get("Content-Length", 0))
        self.taken = False
        with LOCK, open(os.path.join(DIRECTORY, "log"), "a") as log:
            print(self.port, self.command, self.path, self.headers.get("Authorization", "-").replace(" ", "_"),
                  self.length, file=log)
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = handle_any

    def body(self, most=None):
        """What was sent, or the beginning of it."""
        self.taken = most is None
        return self.rfile.read(self.length if most is None else most)

    def reply(self, status, content=b"", **headers):
        if not self.taken:
            self.body()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def error(self, status, code, **headers):
        text = json.dumps({"errors": [{"code": code.upper(), "message": code.replace("_", " ")}]})
        self.reply(status, text.encode(), **headers)

    def reset(self):
        """Ends the connection with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def answer(self):
        path, _, query = self.path.partition("?")
        query = dict(pair.partition("=")[::2] for pair in query.split("&")) if query else {}
        if path == "/v2/":
            return self.reply(200, b"{}")
        if path.startswith("/token"):
            return self.reply(200, json.dumps({"token": f"{TOKEN}-{count('token')}"}).encode())
        found = re.fullmatch(r"/v2/(.+)/(blobs|manifests)/(uploads/)?([^/]*)", path)
        if not found:
            return self.error(404, "not_found")
        repository, what, upload, name = found.groups()
        kind = repository.split("/")[0]
        if kind.startswith("auth") and not self.authorized(kind):
            return None
        if kind in ("429", "500") and count(kind, self.command, path) < 2:
            return self.error(int(kind), "busy", Retry_After="0")
        if kind == "503-forever" and self.command != "HEAD":
            return self.error(503, "busy", Retry_After="0")
        if kind == "denied" and self.command != "HEAD":
            return self.error(403, "denied")
        if what == "manifests":
            return self.manifest(repository, kind, name)
        if upload:
            return self.upload(repository, kind, name, query)
        there = os.path.exists(path_of(repository, "blobs", name))
        return self.reply(200) if there else self.error(404, "blob_unknown")

    def authorized(self, kind):
        got = self.headers.get("Authorization", "")
        # A token of auth-expire is good for six requests.
        if got.startswith("Bearer " + TOKEN) and (kind != "auth-expire" or count(kind, got) <= 6):
            return True
        self.error(401, "unauthorized", WWW_Authenticate=f'Bearer realm="http://127.0.0.1:{self.port}/token",service="t"')
        return False

    def upload(self, repository, kind, name, query):
        if self.command == "POST":
            source = query.get("from")
            if source and kind != "no-mount" and os.path.exists(path_of(source, "blobs", query["mount"])):
                with open(path_of(source, "blobs", query["mount"]), "rb") as there:
                    keep(repository, "blobs", query["mount"], there.read())
                return self.reply(201, Location=f"/v2/{repository}/blobs/{query['mount']}")
            name = str(count("upload"))
            UPLOADS[name] = b""
            return self.went(repository, kind, name)
        if name not in UPLOADS:
            return self.error(404, "blob_upload_unknown")
        if self.command == "GET":
            if kind == "forget":
                del UPLOADS[name]
                return self.error(404, "blob_upload_unknown")
            return self.went(repository, kind, name, 204)
        if self.command == "PATCH":
            return self.piece(repository, kind, name)
        content = UPLOADS[name] + self.body()
        if digest(content) != query["digest"] or kind == "wrong-digest":
            return self.error(400, "digest_invalid")
        keep(repository, "blobs", query["digest"], content)
        del UPLOADS[name]
        if kind == "lost-answer" and count(kind, query["digest"]) == 1:
            return self.reset()
        return self.reply(201, Location=f"/v2/{repository}/blobs/{query['digest']}")

    def piece(self, repository, kind, name):
        start = int(self.headers["Content-Range"].partition("-")[0])
        if start != len(UPLOADS[name]):
            return self.error(416, "range_invalid")
        first = count("piece", kind, repository) == 1
        if kind in ("cut", "forget", "cut-always") and (first or kind == "cut-always"):
            UPLOADS[name] += self.body(self.length // 2 if first else 0)
            return self.reset()
        content = self.body()
        UPLOADS[name] += content[:len(content) // 2 + 1] if kind == "less" and len(content) > 9 else content
        if kind == "more":
            return self.reply(202, Location=self.path, Range=f"0-{len(UPLOADS[name]) + 9}")
        return self.went(repository, kind, name)

    def went(self, repository, kind, name, status=202):
        path = f"/v2/{repository}/blobs/uploads/{name}"
        other = SERVERS[1].server_address[1]
        location = {"other-host": f"http://127.0.0.1:{other}{path}?state=a", "metadata": "http://169.254.169.254/x",
                    "file": "file:///etc/passwd", "absolute": f"http://127.0.0.1:{self.port}{path}?state=a"}.get(kind, path)
        if kind == "nowhere":
            return self.reply(status)
        return self.reply(status, Location=location, Range=f"0-{max(0, len(UPLOADS[name]) - 1)}")

    def manifest(self, repository, kind, name):
        if self.command != "PUT":
            there = path_of(repository, "manifests", name)
            if not os.path.exists(there):
                return self.error(404, "manifest_unknown")
            with open(there, "rb") as file:
                return self.reply(200, file.read())
        content = self.body()
        value = json.loads(content)
        needs = [("blobs", blob) for blob in value.get("layers", []) + [value[key] for key in ("config",) if key in value]]
        needs += [("manifests", inner) for inner in value.get("manifests", [])]
        if not all(os.path.exists(path_of(repository, what, need["digest"])) for what, need in needs):
            return self.error(400, "manifest_blob_unknown")
        if value.get("mediaType", self.headers["Content-Type"]) != self.headers["Content-Type"]:
            return self.error(400, "manifest_invalid")
        for known in (name, digest(content)):
            keep(repository, "manifests", known, content)
        said = digest(b"other") if kind == "lies" else digest(content)
        return self.reply(201, Docker_Content_Digest=said)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


SERVERS = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
for server in SERVERS:
    threading.Thread(target=server.serve_forever, daemon=True).start()
with open(os.path.join(DIRECTORY, "ports.new"), "w") as ports:
    print(*(server.server_address[1] for server in SERVERS), file=ports)
os.rename(os.path.join(DIRECTORY, "ports.new"), os.path.join(DIRECTORY, "ports"))
threading.Event().wait()
