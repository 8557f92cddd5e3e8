#!/usr/bin/env python3
"""dependencies.py MANIFEST...: the licences, bans and sources of .deny.toml, checked with what cargo itself knows.

cargo-deny checks the same and more; tests/run lint runs it as well, where it can be fetched.
"""
import json
import re
import subprocess
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def satisfied(expression, allowed):
    """Whether an SPDX expression can be met with these licences."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def alternatives():
        nonlocal at
        met = conjunction()
        while at < len(words) and words[at] == "OR":
            at += 1
            met = conjunction() or met
        return met

    def conjunction():
        nonlocal at
        met = term()
        while at < len(words) and words[at] == "AND":
            at += 1
            met = term() and met
        return met

    def term():
        nonlocal at
        word = words[at]
        at += 1
        if word == "(":
            met = alternatives()
            at += 1
            return met
        if at + 1 < len(words) and words[at] == "WITH":
            word = f"{word} WITH {words[at + 1]}"
            at += 2
        return word in allowed

    return bool(words) and alternatives() and at == len(words)


def complaints(packages, rules):
    allowed = set(rules["licenses"]["allow"])
    banned = {one if isinstance(one, str) else one.get("crate", one.get("name")) for one in rules["bans"]["deny"]}
    for package in packages:
        name, version, source = package["name"], package["version"], package["source"]
        if not satisfied(package.get("license") or "", allowed):
            yield f"{name} {version}: licence {package.get('license')!r}"
        if name in banned:
            yield f"{name} {version}: banned"
        if source not in (None, CRATES_IO):
            yield f"{name} {version}: from {source}"
        if source is None:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and not dependency.get("path"):
                    yield f"{name}: any version of {dependency['name']}"


def packages_of(manifest):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", manifest]
    # What other systems would need is not built here.
    command += ["--filter-platform", "x86_64-unknown-linux-gnu"]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    used = {node["id"] for node in told["resolve"]["nodes"]}
    return [package for package in told["packages"] if package["id"] in used]


def control(rules):
    """The check finds what it is there to find."""
    bad = {"name": "tokio", "version": "1.0.0", "source": "git+https://example.com", "license": "GPL-3.0 AND MIT",
           "dependencies": []}
    assert len(list(complaints([bad], rules))) == 3
    assert satisfied("(MIT OR GPL-3.0) AND Apache-2.0 WITH LLVM-exception", {"MIT", "Apache-2.0 WITH LLVM-exception"})
    assert not satisfied("MIT AND GPL-3.0", {"MIT"}) and not satisfied("", {"MIT"})


def main():
    with open(".deny.toml", "rb") as file:
        rules = tomllib.load(file)
    control(rules)
    found, count = [], 0
    for manifest in sys.argv[1:]:
        packages = packages_of(manifest)
        count += len(packages)
        found += [f"{manifest}: {complaint}" for complaint in complaints(packages, rules)]
    print("\n".join(found) if found else f"{count} packages as they should be")
    return 1 if found or not count else 0


sys.exit(main())
