#!/usr/bin/env python3
"""Do the flags and verbs in a page agree with what --help says?

page_flags.py tool TOOL PAGE        every verb and flag of TOOL's --help, of each verb too, is in PAGE, and none else
page_flags.py command NAME PAGES    every flag of `wb help NAME` is in the command's page or in that of the tool which
                                    reads it, the command's page has no flag of its own making, and its synopsis is
                                    the one of wb help
"""
import re
import subprocess
import sys

MACROS = {"Ar", "Ns", "Op", "Oo", "Oc", "Cm", "Pq", "No", "Xr", "Va", "Ev", "Pa", "Sy", "Em", "Ql", "Dl", "Li", "Ta"}
# In every help, and said once in wb(1) and wb-document(7).
EVERYWHERE = {"-h", "--help", "-V", "--version", "-n", "--null-input", "--doc"}


def flags_of_page(path):
    """Every flag in an mdoc page."""
    found = set()
    for line in open(path, encoding="utf-8"):
        if not line.startswith("."):
            continue
        inside = False
        for word in line[1:].split():
            if word == "Fl":
                inside = True
            elif word in MACROS or word == "It":
                inside = False
            elif inside and re.fullmatch(r"-?[\w][\w-]*", word.replace("\\-", "-")):
                word = word.replace("\\-", "-")
                # Letters without values stand together.
                found |= {"-" + word} if word.startswith("-") else {"-" + letter for letter in word}
            elif word not in {",", "|", ".", ")", "("}:
                inside = inside and word == "="
    return found


def flags_of_help(text):
    """The flags at the beginning of help's lines."""
    found = set()
    for line in text.splitlines():
        match = re.match(r"\s+((?:-\w|--[\w-]+)(?:, (?:-\w|--[\w-]+))*)", line)
        if match and "--version" not in match.group(1):
            found |= set(match.group(1).split(", "))
    return found


def helped(*words):
    result = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
    return result.stdout


def verbs_of_help(text):
    """clap's list of commands; in other helps, the words after the program's name in its usage."""
    match = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.M)
    if match:
        return [verb for verb in re.findall(r"^  (\S+)", match.group(1), re.M) if verb != "help"]
    usage = text.split("Usage:")[-1]
    return sorted(set(re.findall(r"^\s*wb-\w+ (?:-n )?([a-z]+)\b", usage, re.M)))


def tool(name, page):
    text = helped(name)
    flags, wrong = flags_of_help(text), []
    source = open(page, encoding="utf-8").read()
    verbs = [[verb] for verb in verbs_of_help(text)]
    for verb in verbs:
        inner = helped(name, *verb)
        flags |= flags_of_help(inner)
        if "Commands:" in inner:
            verbs += [verb + [below] for below in verbs_of_help(inner)]
        if not re.search(rf"\b{verb[-1]}\b", source):
            wrong.append(f"{name} {' '.join(verb)}: not in the page")
    shown = flags_of_page(page)
    wrong += [f"{name} {flag}: not in the page" for flag in sorted(flags - shown - EVERYWHERE)]
    # What the page says of other programs stands in literal blocks, not in .Fl.
    known = flags | EVERYWHERE
    wrong += [f"{flag}: the page has it, {name} has not" for flag in sorted(listed(page) - known)]
    return wrong


def listed(page):
    """The flags that a page has in its synopsis and lists: those that it says are the program's own."""
    lines, inside = [], False
    for line in open(page, encoding="utf-8"):
        if line.startswith(".Sh "):
            inside = "SYNOPSIS" in line
        if inside or line.startswith(".It Fl"):
            lines.append(line)
    import tempfile
    with tempfile.NamedTemporaryFile("w", suffix=".mdoc") as part:
        part.writelines(lines)
        part.flush()
        return flags_of_page(part.name)


def command(name, pages):
    text = subprocess.run(["wb", "help", name], capture_output=True, text=True, check=True).stdout
    page = f"{pages}/wb-{name}.1"
    flags = flags_of_help(text)
    flow = open(subprocess.run(["sh", "-c", "command -v wb"], capture_output=True, text=True,
                               check=True).stdout.strip().rsplit("/", 1)[0] + f"/cmd/{name}.sh", encoding="utf-8").read()
    handed = re.search(r"^# Options of: (wb-\w+)", flow, re.M)
    shown = flags_of_page(page)
    if handed:
        shown |= flags_of_page(f"{pages}/{handed.group(1)}.8")
    wrong = [f"wb {name} {flag}: in no page" for flag in sorted(flags - shown - EVERYWHERE)]
    known = flags | EVERYWHERE | set(re.findall(r"(?<![\w-])--?\w[\w-]*", text + flow))
    if handed:
        known |= flags_of_page(f"{pages}/{handed.group(1)}.8")
    wrong += [f"{flag}: wb-{name}(1) has it, wb {name} has not" for flag in sorted(listed(page) - known)]
    rendered = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=500", page], capture_output=True, text=True,
                              check=True).stdout
    rendered = " ".join(re.sub(".\b", "", rendered).split())
    for line in re.findall(rf"^(?:usage: )?(wb {name}.*)$", text, re.M):
        # Words and their order; how optional ones are bracketed is the page's.
        if not all(word in rendered for word in re.findall(r"[A-Za-z][\w-]+", line.replace("OPTIONS", ""))):
            wrong.append(f"wb-{name}(1) lacks a word of: {line}")
    return wrong


found = {"tool": tool, "command": command}[sys.argv[1]](*sys.argv[2:])
if found:
    print("\n".join(found))
    sys.exit(1)
