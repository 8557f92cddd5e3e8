//! The default `linux.seccomp`: docker 29's list, as OCI JSON for a given set of capabilities.
//!
//! docker's own form of it has conditions (capabilities, architectures, kernel versions); they are decided here, so
//! that the result is plain OCI and `crun` and `runc` apply it too. A call on no list fails with `EPERM`, one that is
//! newer than all lists with `ENOSYS`, and a foreign architecture is killed.

use serde_json::{Value, json};

/// `CLONE_NEW*` of clone(2), but for the time namespace, which it cannot make.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// The ioctl(2) that types into a terminal.
const TIOCSTI: u32 = 0x5412;
/// The half of an argument that the kernel looks at where it takes an int.
const INT: u32 = u32::MAX;

/// What every container may call.
const ALWAYS: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark \
    fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock \
    fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex \
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu \
    getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 \
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat \
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
    io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule \
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr \
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier \
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect \
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
    mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep \
    newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv \
    process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat \
    readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat \
    renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile \
    sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid \
    setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid \
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr \
    setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall \
    socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo tee \
    tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill \
    truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes vfork \
    vmsplice wait4 waitid waitpid write writev";

/// What belongs to the machine's architecture.
#[cfg(not(target_arch = "aarch64"))]
const OF_THE_MACHINE: &str = "arch_prctl modify_ldt uretprobe";
#[cfg(target_arch = "aarch64")]
const OF_THE_MACHINE: &str =
    "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";

#[cfg(not(target_arch = "aarch64"))]
const ARCHITECTURES: &[&str] = &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[&str] = &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

/// What a capability allows on top.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns statmount syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Those of the capabilities that make the default profile another one.
pub fn opened_by<S: AsRef<str>>(capabilities: &[S]) -> Vec<&'static str> {
    let has = |name: &str| capabilities.iter().any(|capability| capability.as_ref() == name);
    BY_CAPABILITY.iter().map(|(capability, _)| *capability).filter(|name| has(name)).collect()
}

/// `linux.seccomp` for a container whose bounding set holds these capabilities (`CAP_*` names).
pub fn default_profile<S: AsRef<str>>(capabilities: &[S]) -> Value {
    let has = |name: &str| capabilities.iter().any(|capability| capability.as_ref() == name);
    let mut names: Vec<&str> = ALWAYS.split_ascii_whitespace().chain(OF_THE_MACHINE.split(' ')).collect();
    for (_, more) in BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        let new: Vec<_> = more.split_ascii_whitespace().filter(|name| !names.contains(name)).collect();
        names.extend(new);
    }
    let mut rules = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        // Nothing may type into the terminal it runs on; a kernel without legacy_tiocsti says EIO too. libseccomp, so crun and runc, passes over this rule, since
        // ioctl is allowed above without conditions; wb-confine has the exception first.
        json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
            "args": [masked(1, INT, TIOCSTI)]}),
    ];
    for persona in [0_u32, 8, 0x2_0000, 0x2_0008, u32::MAX] {
        rules.push(json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": persona, "op": "SCMP_CMP_EQ"}]}));
    }
    // Every family but AF_ALG (38, CVE-2026-31431) and AF_VSOCK (40), which no namespace holds. By bits of the int
    // that the kernel looks at: a comparison of all 64 bits is passed by setting one of the upper half.
    for (mask, value) in [(!31, 0), (!3, 32), (!1, 36), (INT, 39), (INT, 41), (!1, 42), (!3, 44)] {
        rules
            .push(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [masked(0, mask, value)]}));
    }
    if !has("CAP_SYS_ADMIN") {
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [masked(0, CLONE_NAMESPACES, 0)]}));
        // Its flags lie in memory, where no filter sees them: the C library falls back to clone.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ARCHITECTURES,
        "syscalls": rules,
    })
}

fn masked(index: u32, mask: u32, value: u32) -> Value {
    json!({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: &Value) -> Vec<&str> {
        profile["syscalls"][0]["names"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect()
    }

    #[test]
    fn no_name_is_there_twice() {
        let every: Vec<_> = BY_CAPABILITY.iter().map(|(capability, _)| *capability).collect();
        for capabilities in [Vec::new(), every] {
            let profile = default_profile(&capabilities);
            let mut names = allowed(&profile);
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn capabilities_open_what_needs_them() {
        let none = default_profile::<&str>(&[]);
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "keyctl",
            "userfaultfd",
            "io_uring_setup",
            "clone3",
            "reboot",
        ] {
            assert!(!allowed(&none).contains(&name), "{name}");
        }
        let admin = default_profile(&["CAP_SYS_ADMIN"]);
        assert!(allowed(&admin).contains(&"mount"));
        assert!(allowed(&admin).contains(&"clone3"));
        assert!(admin["syscalls"].as_array().unwrap().iter().all(|rule| rule["errnoRet"] != 38));
        assert!(!allowed(&admin).contains(&"keyctl"));
    }

    #[test]
    fn every_socket_family_but_two() {
        let profile = default_profile::<&str>(&[]);
        let rules = profile["syscalls"].as_array().unwrap();
        let passes = |family: u64| {
            rules.iter().filter(|rule| rule["names"][0] == "socket").any(|rule| {
                let argument = &rule["args"][0];
                family & argument["value"].as_u64().unwrap() == argument["valueTwo"].as_u64().unwrap()
            })
        };
        let closed: Vec<_> = (0..46).filter(|family| !passes(*family)).collect();
        assert_eq!(closed, [38, 40]);
        assert!(!passes(0x1_0000_0026));
    }
}
