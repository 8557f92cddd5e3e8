#!/usr/bin/env python3
"""strace_compare.py PREFIX TRACE: does the tools' own trace agree with what strace saw of them?

PREFIX is that of `strace -ff -y --decode-pids=pidns -s 65535 -o PREFIX`, TRACE the file named by WB_TRACE in that run. strace sees the
tools write each line of their trace too: so of every process the order of its calls and of its lines is known.
Printed is each difference:
  unseen   a call of strace's that the trace should show and does not
  unmade   a line of the trace for which the process made no such call
  differs  a line that says of its call something else than strace
and each line of the file that no process was seen to write. Without differences it prints how many calls agree.
"""
import glob
import re
import sys

# What must be shown: these by name, a write where it goes to a cgroup's file, a send where it is netlink's.
SHOWN = {
    "unshare", "setns", "clone3", "clone", "fork", "vfork", "mount", "umount2", "fsopen", "fsconfig", "fsmount",
    "fspick", "move_mount", "mount_setattr", "open_tree", "pivot_root", "chroot", "capset", "prctl", "seccomp",
    "kill", "tkill", "tgkill", "pidfd_send_signal", "execve", "execveat", "sethostname", "setdomainname",
    "setresuid", "setresgid", "setgroups", "bpf",
}
# A control file, as -y shows the descriptor; one of a proc that is not mounted anywhere has only the end of its path.
CONTROL = re.compile(r"write\(\d+<(/(?:sys/fs/cgroup|proc)/[^>]*|/\d+/(?:uid_map|gid_map|setgroups))>, ")
# A process's own directory, by whichever name.
OWN = re.compile(r'"/proc/(?:self|\d+)/|"/\d+/(?=uid_map|gid_map|setgroups)')
# The control files that must be shown.
CONTROLLED = re.compile(r"/sys/fs/cgroup/|(?:/proc)?/\d+/(?:uid_map|gid_map|setgroups)$")
# libc's names in the trace for what strace shows as the system call.
ALIASES = {"fork": "clone", "execvp": "execve", "execvpe": "execve"}
# Calls of which only the name and the result are compared: the trace says what they ask in words of its own.
IN_WORDS = {"sendto", "sendmsg", "bind", "socket", "seccomp", "bpf", "getrandom", "pwrite64", "capset", "clone",
            "connect", "ppoll", "ioctl", "signalfd4"}


class Call:
    """One system call: its name, its arguments without what -y adds, its result."""

    def __init__(self, name, arguments, result):
        self.raw = f"{name}({arguments})"
        control = CONTROL.match(self.raw)
        self.control = control and control.group(1)
        self.name, self.result = name, re.match(r"[^ <]*", result).group(0)
        self.text = re.sub(r"\b(\d+|AT_FDCWD)<(?!<)[^>]*>", r"\1", self.raw)
        elsewhere = re.search(r"/\* (\d+) in strace's PID NS \*/", result)
        self.child = elsewhere.group(1) if elsewhere else self.result

    def must_show(self):
        if self.name in ("sendto", "sendmsg"):
            return "nlmsg_len=" in self.raw
        return self.name in SHOWN or bool(self.control and CONTROLLED.match(self.control))

    def words(self):
        """What can be compared: strings and names of constants."""
        if self.control:
            return words(f'"{self.control}"') + words(self.text)
        found = words(self.text)
        if self.name == "statx":
            # What it fills in is none of what is asked.
            return [word for word in found if word.startswith(('"', "AT_")) and word != "AT_STATX_SYNC_AS_STAT"]
        if self.name in ("execve", "execveat"):
            # Not the file that was found in PATH, and no environment.
            return [word for word in found[1:] if word.startswith('"')]
        return found


def calls_of(path):
    """The system calls of one process, in order."""
    calls = []
    for line in open(path, encoding="utf-8", errors="surrogateescape"):
        match = re.match(r"(\w+)\((.*)\)\s+= (\S+.*)$", line)
        if match:
            calls.append(Call(*match.groups()))
    return calls


def unescape(text):
    """A C string as strace prints it: bytes, which are UTF-8 here."""
    simple = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "f": "\f", "v": "\v"}
    plain = re.sub(r"\\([0-7]{1,3}|.)", lambda match: simple.get(match[1]) or chr(int(match[1], 8)), text)
    return plain.encode("latin-1").decode("utf-8", "surrogateescape")


LINE = re.compile(r"(?:\x1b\[\d+m)?(wb-\w+)\[(\d+)\](?:\x1b\[\d+m)? (\w+)\((.*)\)(?: = (.*?) <[\d.]+>)?  (?:\x1b\[2m)?# (.*)$", re.S)


def words(text):
    text = OWN.sub('"/proc/PID/', re.sub(r"/\*.*?\*/", "", text))
    return re.findall(r'"(?:[^"\\]|\\.)*"|\b[A-Z][A-Z0-9_]{3,}\b', text)


TOOL = re.compile(r'execve\("(?:[^"]*/)?(wb-\w+)"|execve(?:\("/proc/self/fd/\d+"|at\(\d+, ""), \["(?:[^"]*/)?(wb-\w+)"')


class Process:
    """What one process did and told, followed from call to call."""

    spawned = {}

    def __init__(self, pid, tool):
        self.pid, self.tool = pid, tool
        self.pending, self.announced, self.differences, self.lines, self.agreed = [], [], [], [], 0

    def differ(self, kind, text):
        self.differences.append(f"{kind:8} {self.tool}[{self.pid}] {text[:400]}")

    def unseen(self, calls):
        for call in calls:
            # The child of a posix_spawn that was told: it becomes the program that was named.
            by_parent = call.name == "execve" and call.words() == self.spawned.get(self.pid)
            if call.must_show() and not by_parent:
                self.differ("unseen", f"{call.raw[:300]} = {call.result}")

    def follow(self, call):
        line = self.line_in(call) if self.tool else None
        if line:
            self.hear(line)
        elif self.tool:
            self.make(call)
        if call.name in ("execve", "execveat") and call.result == "0":
            self.unseen(self.pending)
            self.pending, self.announced = [], []
            match = TOOL.match(call.text)
            self.tool = match and (match.group(1) or match.group(2))

    def line_in(self, call):
        match = call.name == "write" and re.match(r'write\(\d+<[^>]*>, "(.*)", \d+\)$', call.raw)
        return match and LINE.match(unescape(match.group(1)).rstrip("\n"))

    def hear(self, line):
        """A line of the trace: of the call before it, or announcing one that does not return."""
        self.lines.append(line.group(0))
        _, _, name, arguments, result, _ = line.groups()
        if name == "posix_spawn":
            name = "clone3" if any(made.name == "clone3" for made in self.pending) else "clone"
            self.spawned[result] = words(arguments)[1:]
        name = ALIASES.get(name, name)
        # A text that is told over several lines is not escaped: then the number of its bytes says enough.
        told = None if "\n" in arguments or "posix_spawn" in line.group(0) else words(arguments)
        if result is None:
            self.announced.append((name, told, line.group(0)))
            return
        same = [made for made in self.pending if made.name == name]
        exact = [made for made in same if self.agrees(made, told, result)]
        if not same:
            self.differ("unmade", line.group(0))
            return
        made = (exact or same)[0]
        at = self.pending.index(made)
        self.unseen(self.pending[:at])
        del self.pending[:at + 1]
        self.check(made, told, result, line.group(0))

    def make(self, call):
        found = [item for item in self.announced if item[0] == call.name]
        if not found:
            self.pending.append(call)
            return
        self.check(call, found[0][1], None, found[0][2])
        # A search along PATH is several calls of one announced.
        if call.result == "0" or call.name not in ("execve", "execveat"):
            self.announced.remove(found[0])

    def agrees(self, made, told, result):
        if made.name == "socket" and result is not None:
            return result.split()[0] == made.result
        if made.name in IN_WORDS:
            return True
        if told is None:
            return result == made.result
        if made.name in ("execve", "execveat"):
            told = [word for word in told[1:] if word.startswith('"')]
        return sorted(made.words()) == sorted(told) and (result is None or result.split()[0] == made.result)

    def check(self, made, told, result, line):
        if self.agrees(made, told, result):
            self.agreed += made.must_show()
        else:
            self.differ("differs", f"{line}\n         strace: {made.raw[:400]} = {made.result}")

    def finish(self):
        if self.tool:
            self.unseen(self.pending)
            for _, _, line in self.announced:
                self.differ("unmade", line)


def main():
    prefix, trace = sys.argv[1:3]
    calls = {path.rsplit(".", 1)[1]: calls_of(path) for path in glob.glob(glob.escape(prefix) + ".*")}
    parents = {}
    for pid, made in calls.items():
        for index, call in enumerate(made):
            if call.name in ("clone", "clone3", "fork", "vfork"):
                parents[call.child] = (pid, index)

    def program_at(pid, index):
        """Which of our tools a process is before its call number `index`; None where it is none."""
        for call in reversed(calls[pid][:index]):
            if call.name in ("execve", "execveat") and call.result == "0":
                match = TOOL.match(call.text)
                return match and (match.group(1) or match.group(2))
        return program_at(*parents[pid]) if pid in parents else None

    def generation(pid):
        return 1 + generation(parents[pid][0]) if pid in parents else 0

    processes = []
    for pid, made in sorted(calls.items(), key=lambda item: generation(item[0])):
        process = Process(pid, program_at(pid, 0))
        for call in made:
            process.follow(call)
        process.finish()
        processes.append(process)
    differences = [text for process in processes for text in process.differences]
    told = [line for process in processes for line in process.lines]
    text = open(trace, encoding="utf-8", errors="surrogateescape").read()
    written = re.split(r"\n(?=wb-)", text.rstrip("\n"))
    if sorted(written) != sorted(told):
        differences.append(f"written: {len(told)} lines, in the file: {len(written)}; for example")
        differences += [line for line in set(told) ^ set(written)][:3]
    if differences:
        print("\n".join(differences))
        sys.exit(1)
    print(f"{sum(process.agreed for process in processes)} calls agree")


main()
