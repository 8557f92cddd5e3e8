#!/usr/bin/env python3
"""Hostile layers against `wb-rootfs unpack`, each made of raw bytes.

usage: hostile_layers.py WORK     run every case in WORK (an empty directory of its own), say which failed
       hostile_layers.py --write DIR   write the archives there, as seeds for the fuzzer

A case ends in exactly the tree it names, or in one clear line on standard error, status 1 and nothing left.
Either way a canary beside the tree stays as it was, nobody hangs and nobody needs much memory.
"""
import os
import resource
import stat
import struct
import subprocess
import sys

BLOCK = 512
CASES = {}


def octal(value, size):
    return b"%0*o\0" % (size - 1, value)


def header(name, kind=b"0", size=0, mode=0o644, uid=0, gid=0, mtime=1, link=b"", magic=b"ustar\x0000", prefix=b"",
           major=0, minor=0, size_field=None, uid_field=None, mtime_field=None, checksum=None):
    name, link = name.encode() if isinstance(name, str) else name, link.encode() if isinstance(link, str) else link
    block = struct.pack(
        "100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x", name, octal(mode, 8),
        uid_field or octal(uid, 8), octal(gid, 8), size_field or octal(size, 12), mtime_field or octal(mtime, 12),
        b" " * 8, kind, link, magic, b"", b"", octal(major, 8), octal(minor, 8), prefix)
    total = sum(block) if checksum is None else checksum
    return block[:148] + b"%06o\0 " % total + block[156:]


def pad(data):
    return data + b"\0" * (-len(data) % BLOCK)


def file(name, data=b"x", **fields):
    return header(name, size=len(data), **fields) + pad(data)


def directory(name, mode=0o755, **fields):
    return header(name, b"5", mode=mode, **fields)


def symlink(name, target, **fields):
    return header(name, b"2", mode=0o777, link=target, **fields)


def hardlink(name, target, **fields):
    return header(name, b"1", link=target, **fields)


def record(key, value):
    key, value = key.encode() if isinstance(key, str) else key, value.encode() if isinstance(value, str) else value
    rest = len(key) + len(value) + 3
    length = rest + 1
    while rest + len(str(length)) != length:
        length = rest + len(str(length))
    return str(length).encode() + b" " + key + b"=" + value + b"\n"


def pax(*records, kind=b"x", raw=None):
    data = raw if raw is not None else b"".join(record(*pair) for pair in records)
    return header("PaxHeaders/x", kind, size=len(data)) + pad(data)


def gnu(kind, name):
    name = name.encode() if isinstance(name, str) else name
    return header("././@LongLink", kind, size=len(name) + 1, magic=b"ustar  \0") + pad(name + b"\0")


END = b"\0" * 2 * BLOCK


def refused(name, message, *parts, end=END, flags=()):
    CASES[name] = (b"".join(parts) + end, message, None, flags)


def makes(name, tree, *parts, end=END, flags=()):
    CASES[name] = (b"".join(parts) + end, None, tree, flags)


# --- names -------------------------------------------------------------------------------------------------
refused("name-dotdot", "name with ..", file("../escape"))
refused("name-dotdot-inside", "name with ..", file("a/../../escape"))
refused("name-dotdot-middle", "name with ..", directory("a"), file("a/../b"))
refused("name-dotdot-pax", "name with ..", pax(("path", "../escape")), file("harmless"))
refused("name-dotdot-gnu", "name with ..", gnu(b"L", "../escape"), file("harmless"))
refused("name-dotdot-prefix", "name with ..", file("escape", prefix=b".."))
refused("name-empty", "empty name", file(""))
refused("name-nul-in-pax", "malformed PAX record", pax(("path", b"a\0../b")), file("a"))
refused("name-too-long", "name longer than 4095 bytes", pax(("path", "a/" * 3000 + "f")), file("a"))
refused("name-component-too-long", "ENAMETOOLONG", pax(("path", "a" * 300)), file("a"))
refused("name-over-limit", "name longer than 10 bytes", file("a-name-of-more"), flags=["--max-path", "10"])
refused("name-control-bytes", r"a\u{1b}[2J\n/../x: name with ..", pax(("path", "a\x1b[2J\n/../x")), file("a"))
makes("name-absolute", {"etc/": "d755", "etc/x": "-644 x"}, file("/etc/x"))
makes("name-absolute-slashes", {"etc/": "d755", "etc/x": "-644 x"}, file("//etc/.//x"))
makes("name-control-kept", {"a\x1b[2Jb": "-644 x"}, file("a\x1b[2Jb"))
makes("name-not-utf8", {b"\xff\xfe".decode("utf8", "surrogateescape"): "-644 x"}, file(b"\xff\xfe"))
makes("name-ustar-prefix", {"p/": "d755", "p/x": "-644 x"}, file("x", prefix=b"p"))
makes("name-gnu-long", {"l" * 200: "-644 x"}, gnu(b"L", "l" * 200), file("short"))
makes("name-pax-beats-gnu", {"pax": "-644 x"}, gnu(b"L", "gnu"), pax(("path", "pax")), file("header"))
makes("name-pax-of-one-file-only", {"one": "-644 x", "two": "-644 x"}, pax(("path", "one")), file("h"), file("two"))
makes("name-2000-deep", lambda root: depth(root) == 2000, file("x"), pax(("path", "d/" * 2000)), directory("h"))

# --- the root ----------------------------------------------------------------------------------------------
refused("root-is-file", "only a directory can be the root", file("./"), flags=())
refused("root-is-link", "only a directory can be the root", symlink("./", "/etc"))
makes("root-mode", {"": "d1777", "x": "-644 x"}, directory("./", 0o1777), file("./x"))
makes("root-default", {"": "d755", "x": "-644 x"}, file("./x"))

# --- links -------------------------------------------------------------------------------------------------
makes("symlink-absolute-then-write", {"link": "l/etc", "etc/": "d755", "etc/passwd": "-644 x"},
      directory("etc"), symlink("link", "/etc"), file("link/passwd"))
makes("symlink-up-then-write", {"up": "l../../../..", "canary": "-644 x"},
      symlink("up", "../../../.."), file("up/canary"))
makes("symlink-chain", {"a": "l/b", "b": "l/c", "c/": "d755", "c/x": "-644 x"},
      directory("c"), symlink("b", "/c"), symlink("a", "/b"), file("a/x"))
refused("symlink-loop", "ELOOP", symlink("a", "b"), symlink("b", "a"), file("a/x"))
refused("symlink-dangling-parent", "ENOENT", symlink("a", "/nowhere"), file("a/x"))
refused("symlink-to-nothing", "symlink to nothing", symlink("a", ""))
refused("symlink-too-long", "symlink longer than 4095", pax(("linkpath", "t" * 5000)), symlink("a", "t"))
refused("symlink-to-proc-root", "ENOENT", symlink("a", "/proc/self/root"), file("a/x"))
makes("symlink-kept-as-it-is", {"a": "l../../etc/shadow"}, symlink("a", "../../etc/shadow"))
makes("symlink-replaced-by-file", {"a": "-644 x"}, symlink("a", "/canary"), file("a"))
makes("symlink-replaced-by-directory", {"a/": "d700", "a/x": "-644 x", "b/": "d755"},
      directory("b"), symlink("a", "b"), directory("a/", 0o700), file("a/x"))
makes("directory-replaced-by-symlink-before-its-times", {"a": "lb", "b/": "d755"},
      directory("b"), directory("a", 0o777, mtime=99), symlink("a", "b"))
makes("symlink-in-cached-parent", {"a/": "d755", "a/b": "l/c", "c/": "d755", "c/two": "-644 x"},
      directory("c"), directory("a"), directory("a/b"), file("a/b/one"), symlink("a/b", "/c"), file("a/b/two"))
makes("whiteout-through-symlink", {"l": "l/d", "d/": "d755", "d/x": "whiteout"},
      directory("d"), symlink("l", "/d"), file("l/.wh.x", b""))
makes("opaque-through-symlink", {"l": "l/d", "d/": "d755 opaque"},
      directory("d"), symlink("l", "/d"), file("l/.wh..wh..opq", b""))
makes("node-through-symlink", {"l": "l/d", "d/": "d755", "d/p": "p644"},
      directory("d"), symlink("l", "/d"), header("l/p", b"6"))

refused("hardlink-outside", "name with ..", hardlink("a", "../canary"))
refused("hardlink-absolute-outside", "ENOENT", hardlink("a", "/canary"))
refused("hardlink-via-symlink-outside", "hard link to up/canary: No such file", symlink("up", "../.."),
        hardlink("a", "up/canary"))
refused("hardlink-forward", "ENOENT", hardlink("a", "b"), file("b"))
refused("hardlink-self", "hard link to itself", file("a"), hardlink("a", "a"))
refused("hardlink-self-spelt-otherwise", "hard link to itself", directory("d"), file("d/a"), hardlink("d/a", "./d//a"))
refused("hardlink-directory", "EPERM", directory("d"), hardlink("a", "d"))
refused("hardlink-root", "EPERM", hardlink("a", "/"))
refused("hardlink-whiteout", "EPERM", file(".wh.w", b""), hardlink("a", "w"))
refused("hardlink-with-content", "content where the type has none", file("a"), header("b", b"1", size=5, link="a"))
makes("hardlink-absolute", {"a": "-644 x", "b": "-644 x"}, file("a"), hardlink("b", "/a"))
makes("hardlink-to-symlink", {"s": "l/canary", "h": "l/canary"}, symlink("s", "/canary"), hardlink("h", "s"))
makes("hardlink-then-file-does-not-write-through", {"a": "-644 x", "b": "-644 new"},
      file("a"), hardlink("b", "a"), file("b", b"new"))
makes("hardlink-twice", {"a": "-644 x", "b": "-644 x"}, file("a"), hardlink("b", "a"), hardlink("b", "a"))
makes("hardlink-replaces", {"a": "-644 x", "d": "-644 x"}, file("a"), directory("d"), file("d/in"), hardlink("d", "a"))

# --- one thing where another was ----------------------------------------------------------------------------
makes("duplicate-last-wins", {"a": "-600 two"}, file("a", b"one", mode=0o644), file("a", b"two", mode=0o600))
makes("file-over-directory", {"a": "-644 x"}, directory("a"), file("a/b/c/d"), file("a"))
makes("directory-over-file", {"a/": "d755", "a/b": "-644 x"}, file("a"), directory("a"), file("a/b"))
makes("fifo-replaced-by-file", {"p": "-644 x"}, header("p", b"6"), file("p"))
makes("device-replaced-by-file", {"null": "-644 x"}, header("null", b"3", major=1, minor=3), file("null"))
makes("directory-again-keeps-content", {"a/": "d700", "a/b": "-644 x"},
      directory("a", 0o755), file("a/b"), directory("a", 0o700))
refused("file-as-parent", "ENOTDIR", file("a"), file("a/b"))
refused("fifo-as-parent", "ENOTDIR", header("p", b"6"), file("p/b"))

# --- whiteouts ----------------------------------------------------------------------------------------------
makes("whiteout", {"a": "whiteout"}, file(".wh.a", b""))
makes("whiteout-as-directory", {"a": "whiteout"}, directory(".wh.a/"))
makes("whiteout-then-file", {"a": "-644 x"}, file(".wh.a", b""), file("a"))
makes("file-then-whiteout", {"a": "-644 x"}, file("a"), file(".wh.a", b""))
makes("whiteout-then-directory", {"a/": "d755 opaque", "a/b": "-644 x"}, file(".wh.a", b""), directory("a"), file("a/b"))
makes("whiteout-then-implied-directory", {"a/": "d755 opaque", "a/b": "-644 x"}, file(".wh.a", b""), file("a/b"))
makes("directory-then-whiteout", {"a/": "d755 opaque", "a/b": "-644 x"}, directory("a"), file("a/b"), file(".wh.a", b""))
makes("opaque", {"a/": "d755 opaque"}, directory("a"), file("a/.wh..wh..opq", b""))
makes("opaque-root", {"": "d755 opaque", "x": "-644 x"}, file(".wh..wh..opq", b""), file("x"))
makes("aufs-names-vanish", {"x": "-644 x"}, directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"),
      file("x"))
refused("whiteout-of-nothing", "whiteout of nothing", file(".wh.", b""))
refused("whiteout-of-dot", "whiteout of nothing", file(".wh..", b""))
refused("whiteout-of-dotdot", "whiteout of nothing", file(".wh...", b""))
refused("whiteout-as-parent", "below a whiteout", directory(".wh.a"), file(".wh.a/b"))
makes("whiteouts-2000", lambda root: len(os.listdir(root)) == 2000, *[file(".wh.%d" % n, b"") for n in range(2000)])

# --- overlayfs's own words ----------------------------------------------------------------------------------
refused("device-0-0", "overlayfs's own whiteout", header("a", b"3"))
refused("device-wraps-to-0-0", "out of range", header("a", b"3", major=4096))
makes("xattr-overlay-dropped", {"a/": "d755", "f": "-644 x"},
      pax(("SCHILY.xattr.trusted.overlay.opaque", "y"), ("SCHILY.xattr.user.overlay.opaque", "y"),
          ("SCHILY.xattr.trusted.overlay.redirect", "/etc")), directory("a"),
      pax(("SCHILY.xattr.trusted.overlay.metacopy", ""), ("SCHILY.xattr.security.selinux", "x"),
          ("SCHILY.xattr.trusted.x", "x"), ("SCHILY.xattr.system.posix_acl_access", "x")), file("f"))
makes("xattr-kept", {"f": "-644 x user.a=b security.capability"},
      pax(("SCHILY.xattr.user.a", "b"),
          ("SCHILY.xattr.security.capability", b"\x01\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
      file("f"))
makes("xattr-capability-survives-chown", {"f": "-644 1:0 x security.capability"},
      pax(("SCHILY.xattr.security.capability", b"\x01\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
      file("f", uid=1))
refused("xattr-capability-malformed", "security.capability", pax(("SCHILY.xattr.security.capability", "x")), file("f"))

# --- owners, modes, times, devices ---------------------------------------------------------------------------
makes("setuid", {"su": "-4755 1000:1000 x"}, file("su", mode=0o4755, uid=1000, gid=1000))
makes("setgid-directory-does-not-spread", {"d/": "d2755 0:50", "d/f": "-644 x", "d/e/": "d755"},
      directory("d", 0o2755, gid=50), file("d/f"), directory("d/e"))
makes("directory-without-rights", {"d/": "d0", "d/f": "-644 x"}, directory("d", 0), file("d/f"))
makes("device", {"null": "c1:3 666"}, header("null", b"3", mode=0o666, major=1, minor=3))
makes("owner-large", {"f": "-644 4294967294:0 x"}, pax(("uid", "4294967294")), file("f"))
makes("owner-base256", {"f": "-644 16777216:0 x"}, file("f", uid_field=b"\x80\0\0\0\1\0\0\0"))
refused("owner-minus-one", "negative uid", file("f", uid_field=b"\xff" * 8))
refused("owner-2-32-minus-1", "uid 4294967295 out of range", pax(("uid", "4294967295")), file("f"))
refused("owner-2-32", "uid 4294967296 out of range", pax(("uid", "4294967296")), file("f"))
refused("owner-negative-pax", "malformed PAX record: uid", pax(("uid", "-1")), file("f"))
makes("time-before-1970", lambda root: os.stat(root + b"/f").st_mtime == -1.5, pax(("mtime", "-1.5")), file("f"))
makes("time-base256-negative", lambda root: os.stat(root + b"/f").st_mtime == -1, file("f", mtime_field=b"\xff" * 12))
refused("time-nonsense", "malformed PAX record: mtime", pax(("mtime", "never")), file("f"))

# --- sizes -----------------------------------------------------------------------------------------------------
refused("size-negative", "negative size", file("f", size_field=b"\xff" * 12))
refused("size-2-63", "malformed tar header: size", file("f", size_field=b"\x80\0\0\0\x80" + b"\0" * 7))
refused("size-huge-base256", "bytes unpacked", file("f", size_field=b"\x80\0\0\0\x70" + b"\0" * 7))
refused("size-2-64-pax", "malformed PAX record: size", pax(("size", "18446744073709551616")), file("f"))
refused("size-not-octal", "malformed tar header: size", file("f", size_field=b"9999\0".ljust(12, b"\0")))
makes("size-pax-wins", {"f": "-644 " + "y" * 600, "g": "-644 x"},
      pax(("size", "600")), header("f", size=0), pad(b"y" * 600), file("g"))
refused("size-pax-smuggles", "checksum", pax(("size", "0")), header("f", size=512) + b"junk".ljust(512, b"j"))
makes("size-pax-not-for-long-name", {"n" * 120: "-644 abc"},
      pax(("size", "3")), gnu(b"L", "n" * 120), header("f", size=0) + pad(b"abc"))
refused("directory-with-content", "content where the type has none", header("d", b"5", size=512) + b"x" * 512)
refused("over-bytes", "more than 1048576 bytes", file("f", b"z" * (2 << 20)), flags=["--max-bytes", "1m"])
refused("over-entries", "more than 10 entries", *[file("f%d" % n) for n in range(11)], flags=["--max-entries", "10"])

# --- the archive itself ------------------------------------------------------------------------------------------
refused("not-tar", "checksum", b"\x7fELF".ljust(512, b"y"))
refused("checksum", "wrong checksum", file("f", checksum=1))
refused("checksum-garbage", "malformed tar header: checksum", file("f")[:148] + b"abcdefgh" + file("f")[156:])
refused("truncated-header", "in the middle of a header", file("a") + b"b" * 100, end=b"")
refused("truncated-content", "in the middle of a file", header("a", size=1000) + b"x" * 600, end=b"")
refused("truncated-after-pax", "ends after an extended header", pax(("path", "x")), end=b"")
refused("truncated-after-pax-with-end", "ends after an extended header", pax(("path", "x")))
refused("entry-after-empty-block", "entries after an empty block", file("a"), b"\0" * 512, file("b"))
refused("pax-upon-pax", "PAX header upon PAX header", pax(("path", "a")), pax(("path", "b")), file("c"))
refused("long-name-upon-long-name", "long name upon long name", gnu(b"L", "a"), gnu(b"L", "b"), file("c"))
refused("pax-length-zero", "malformed PAX record", pax(raw=b"0 a=b\n"), file("a"))
refused("pax-length-short", "malformed PAX record", pax(raw=b"5 path=a\n"), file("a"))
refused("pax-length-long", "malformed PAX record", pax(raw=b"99 path=a\n"), file("a"))
refused("pax-length-overflow", "malformed PAX record", pax(raw=b"99999999999999999999999 path=a\n"), file("a"))
refused("pax-no-newline", "malformed PAX record", pax(raw=b"10 path=abc"), file("a"))
refused("pax-no-equals", "malformed PAX record", pax(raw=b"7 path\n"), file("a"))
refused("pax-64-mebibytes", "more than 1 MiB", header("x", b"x", size=64 << 20) + b"\0" * 512, end=b"")
refused("pax-global-path", "for the whole archive", pax(("path", "all"), kind=b"g"), file("a"))
refused("gnu-name-huge", "more than 1 MiB", header("L", b"L", size=2 << 20) + b"a" * 512, end=b"")
refused("sparse-gnu", "sparse files are not allowed", header("f", b"S", size=0))
refused("sparse-pax", "sparse files are not allowed", pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "1099511627776")), file("f"))
refused("type-unknown", "unknown type", header("f", b"Z"))
refused("type-multivolume", "unknown type", header("f", b"M"))
makes("pax-global-comment", {"a": "-644 x"}, pax(("comment", "git"), kind=b"g"), file("a"))
makes("no-end-marker", {"a": "-644 x"}, file("a"), end=b"")
makes("one-empty-block", {"a": "-644 x"}, file("a"), end=b"\0" * 512)
makes("trailing-data-is-hashed-not-read", {"a": "-644 x"}, file("a"), END, file("hidden"), b"garbage")
makes("nothing", {}, end=b"")
makes("v7-directory", {"d/": "d755", "d/f": "-644 x"}, header("d/", b"\0", mode=0o755, magic=b""), file("d/f", magic=b""))
makes("signed-checksum", {"\udcff" * 3: "-644 x"},
      (lambda block: block + pad(b"x"))(header(b"\xff" * 3, size=1, checksum=sum(header(b"\xff" * 3, size=1)[:148]
       ) - 3 * 256 + 8 * 32 + sum(header(b"\xff" * 3, size=1)[156:]))))


def depth(root):
    """How many directories `d` lie in each other."""
    fd, levels = os.open(root, os.O_RDONLY), 0
    while True:
        try:
            child = os.open("d", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        except FileNotFoundError:
            os.close(fd)
            return levels
        os.close(fd)
        fd, levels = child, levels + 1


def describe(path):
    """What a path is, in a line."""
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    owner = "" if (status.st_uid, status.st_gid) == (0, 0) else " %d:%d" % (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return "l" + os.fsdecode(os.readlink(path)) + owner
    if stat.S_ISCHR(status.st_mode):
        numbers = (os.major(status.st_rdev), os.minor(status.st_rdev))
        return "whiteout" if numbers == (0, 0) else "c%d:%d %o" % (*numbers, mode) + owner
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = ""
    for name in names:
        value = os.getxattr(path, name)
        if name == "trusted.overlay.opaque" and value == b"y":
            xattrs += " opaque"
        elif name == "security.capability":
            xattrs += " " + name
        else:
            xattrs += " %s=%s" % (name, value.decode())
    if stat.S_ISDIR(status.st_mode):
        return "d%o" % mode + owner + xattrs
    if stat.S_ISFIFO(status.st_mode):
        return "p%o" % mode + owner
    with open(path, "rb") as content:
        xattrs = " ".join(sorted(xattrs.split(), reverse=True))
        return "-%o%s %s" % (mode, owner, content.read().decode()) + (" " + xattrs if xattrs else "")


def walk(root):
    found = {}
    for parent, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(parent, name)
            shown = os.fsdecode(os.path.relpath(path, root))
            is_directory = os.path.isdir(path) and not os.path.islink(path)
            found[shown + ("/" if is_directory else "")] = describe(path)
    return found


def unpack(case, target, flags):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    return subprocess.run(["wb-rootfs", "unpack", "--to", target, *flags], input=case, capture_output=True, timeout=60,
                          preexec_fn=limit)


def check(name, work):
    data, message, tree, flags = CASES[name]
    # The canary lies where `..` from the tree leads to.
    base = os.path.join(os.fsencode(work), name.encode())
    os.mkdir(base)
    canary = os.path.join(base, b"canary")
    with open(canary, "wb") as out:
        out.write(b"alive")
    os.utime(canary, (7, 7))
    before = os.lstat(canary)
    target = os.path.join(base, b"root")
    done = unpack(data, target, flags)
    errors = done.stderr.decode("utf8", "replace")
    after = os.lstat(canary)
    problems = []
    same = ("st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_mtime_ns", "st_ino")
    if any(getattr(before, field) != getattr(after, field) for field in same) or open(canary, "rb").read() != b"alive":
        problems.append("the canary was touched")
    if sorted(os.listdir(base)) not in ([b"canary"], [b"canary", b"root"]):
        problems.append("something lies beside the tree: %s" % os.listdir(base))
    if message is not None:
        lines = [line for line in errors.splitlines() if not line.startswith("hint: ")]
        if done.returncode != 1 or len(lines) != 1 or message not in lines[0]:
            problems.append("status %d instead of a refusal with %r: %r" % (done.returncode, message, errors))
        if os.path.lexists(target):
            problems.append("a part was left")
    elif done.returncode != 0:
        problems.append("status %d: %r" % (done.returncode, errors))
    elif callable(tree):
        if not tree(target):
            problems.append("another tree than expected")
    else:
        found = walk(target)
        if "" in tree:
            found[""] = describe(target)
        if found != tree:
            problems.append("expected %r, found %r" % (tree, found))
    return problems


def main():
    if sys.argv[1] == "--write":
        for name, (data, _, _, _) in CASES.items():
            with open(os.path.join(sys.argv[2], name + ".tar"), "wb") as out:
                out.write(data)
        return 0
    failed = 0
    for name in CASES:
        for problem in check(name, sys.argv[1]):
            print("%s: %s" % (name, problem))
            failed += 1
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print("%d hostile layers, %d problems, peak %d KiB" % (len(CASES), failed, peak))
    return 1 if failed or peak > 64 << 10 else 0


if __name__ == "__main__":
    sys.exit(main())
