use super::*;
use crate::table::TABLE;

fn of(line: &str) -> Result<Document, Error> {
    let given = flags::parse(TABLE, RUN, line.split_ascii_whitespace().map(Into::into))?;
    document(&given)
}

/// Docker command lines, the member each decides, and its value.
#[test]
fn flags_become_members() {
    for (line, pointer, expected) in [
        ("busybox", "/wb/image", json!({"ref": "busybox", "pull": "missing"})),
        ("busybox echo -n --rm", "/process/args", json!(["echo", "-n", "--rm"])),
        (
            "--pull never --platform linux/arm64 x",
            "/wb/image",
            json!({"ref": "x", "pull": "never", "platform": "linux/arm64"}),
        ),
        ("x", "/process/terminal", json!(false)),
        ("-it x", "/process/terminal", json!(true)),
        ("-itd --rm x", "/wb/run", json!({"detach": true, "interactive": true, "tty": true, "remove": true})),
        ("x", "/wb/run", json!({})),
        ("-e A=1 -e B=a=b x", "/process/env", json!(["A=1", "B=a=b"])),
        ("-e A=1 -e A=2 x", "/process/env", json!(["A=2"])),
        ("-e WB_SURELY_NOT_SET x", "/process/env", json!(["WB_SURELY_NOT_SET"])),
        ("-w /srv x", "/process/cwd", json!("/srv")),
        ("--name web x", "/wb/name", json!("web")),
        ("--id abc x", "/wb/id", json!("abc")),
        ("--id abc x", "/hostname", json!("abc")),
        ("--hostname box x", "/hostname", json!("box")),
        ("--entrypoint /bin/sh x -c y", "/wb/entrypoint", json!(["/bin/sh"])),
        ("--entrypoint= x y", "/wb/entrypoint", json!([])),
        (
            "-u 1000:1000 x",
            "/process/user",
            json!({"uid": 1000, "gid": 1000, "username": "1000:1000", "umask": 18}),
        ),
        ("-u www-data x", "/process/user", json!({"uid": 0, "gid": 0, "username": "www-data", "umask": 18})),
        ("--group-add 5 --group-add video x", "/process/user/additionalGids", json!([5])),
        ("--group-add 5 --group-add video x", "/wb/groups", json!(["video"])),
        ("--read-only x", "/root", json!({"readonly": true})),
        ("--privileged x", "/linux/maskedPaths", json!([])),
        ("--privileged x", "/linux/resources/devices", json!([{"allow": true, "access": "rwm"}])),
        ("--privileged x", "/wb/seccomp", json!("unconfined")),
        ("--init x", "/wb/run/init", json!(true)),
        ("-l a=b -l c x", "/wb/labels", json!({"a": "b", "c": ""})),
        (
            "--stop-signal int --stop-timeout 3 x",
            "/wb/run",
            json!({"stopSignal": "SIGINT", "stopTimeout": 3}),
        ),
        ("--restart on-failure:3 x", "/wb/run/restart", json!({"name": "on-failure", "max": 3})),
        (
            "--log-opt max-size=1m --log-opt max-file=2 x",
            "/wb/run/log",
            json!({"maxSize": 1_048_576, "maxFile": 2}),
        ),
        ("--net none x", "/wb/network", json!({"name": "none"})),
        ("x", "/wb/network", json!({"name": "bridge"})),
        (
            "--network web --ip 10.1.2.3 --network-alias a --mac-address 02:42:AC:11:00:02 x",
            "/wb/network",
            json!({"name": "web", "ip": "10.1.2.3", "mac": "02:42:ac:11:00:02", "aliases": ["a"]}),
        ),
        ("--network a --network b x", "/wb/networks", json!([{"name": "b"}])),
        (
            "--network name=a,alias=b,ip=10.0.0.9 x",
            "/wb/network",
            json!({"name": "a", "aliases": ["b"], "ip": "10.0.0.9"}),
        ),
        (
            "-p 8080:80 -p 53:53/udp x",
            "/wb/network/ports",
            json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                {"hostPort": 53, "containerPort": 53, "protocol": "udp"}]),
        ),
        (
            "-P --expose 80 x",
            "/wb/network",
            json!({"name": "bridge", "exposed": ["80/tcp"], "publishAll": true}),
        ),
        (
            "--dns 1.1.1.1 --dns-search a.b --dns-opt ndots:2 x",
            "/wb/network/dns",
            json!({"nameservers": ["1.1.1.1"], "search": ["a.b"], "options": ["ndots:2"]}),
        ),
        (
            "--add-host db:10.0.0.1 --add-host six=[::1] x",
            "/wb/network/hosts",
            json!(["db:10.0.0.1", "six:::1"]),
        ),
        (
            "x",
            "/linux/namespaces",
            json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"}, {"type": "mount"},
                {"type": "network"}]),
        ),
        (
            "--net host --pid host --ipc host --uts host --cgroupns host x",
            "/linux/namespaces",
            json!([{"type": "mount"}]),
        ),
        ("--sysctl net.core.somaxconn=99 x", "/linux/sysctl/net.core.somaxconn", json!("99")),
        ("--oom-score-adj 500 x", "/process/oomScoreAdj", json!(500)),
        (
            "--ulimit nofile=64:128 x",
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}, {"type": "RLIMIT_NOFILE", "hard": 128, "soft": 64}]),
        ),
        ("--cgroup-parent /a/b --id i x", "/linux/cgroupsPath", json!("/a/b/i")),
        ("--annotation a=b x", "/annotations", json!({"a": "b"})),
        ("--security-opt no-new-privileges x", "/process/noNewPrivileges", json!(true)),
        ("--security-opt seccomp=unconfined x", "/wb/seccomp", json!("unconfined")),
        (
            "--health-cmd true --health-retries 5 --health-interval 1m x",
            "/wb/healthcheck",
            json!({"Test": ["CMD-SHELL", "true"], "Interval": 60_000_000_000_u64, "Retries": 5}),
        ),
        ("--no-healthcheck x", "/wb/healthcheck", json!({"Test": ["NONE"]})),
        (
            "--userns 0:100000:65536 x",
            "/wb/userns",
            json!({"mode": "map", "map": [{"containerID": 0, "hostID": 100_000, "size": 65536}]}),
        ),
        ("--rootfs / sh", "/root", json!({"path": "/", "readonly": false})),
        ("--rootfs / --entrypoint a b", "/process/args", json!(["a", "b"])),
        ("--rootfs / sh", "/process/cwd", json!("/")),
        (
            "--rootfs / --id i -t sh",
            "/process/env",
            json!([
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOSTNAME=i",
                "TERM=xterm"
            ]),
        ),
    ] {
        let document = of(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(document.at(pointer), Some(&expected), "{line}");
    }
}

/// Mounts: a command line, the destination, and the entry there.
#[test]
fn volumes_become_mounts() {
    let place = Place::from_env().unwrap();
    let data = place.volumes().join("data/_data").to_string_lossy().into_owned();
    for (line, destination, expected) in [
        (
            "-v /host:/in x",
            "/in",
            json!({"destination": "/in", "type": "bind", "source": "/host", "options": ["rbind", "rw", "rprivate"]}),
        ),
        (
            "-v /host:/in:ro,rshared x",
            "/in",
            json!({"destination": "/in", "type": "bind", "source": "/host", "options": ["rbind", "ro", "rshared"]}),
        ),
        (
            "-v data:/in/ x",
            "/in",
            json!({"destination": "/in", "type": "bind", "source": data, "options": ["rbind", "rw", "rprivate"]}),
        ),
        (
            "--mount type=bind,src=/host,dst=/in,readonly x",
            "/in",
            json!({"destination": "/in", "type": "bind", "source": "/host", "options": ["rbind", "ro", "rprivate"]}),
        ),
        (
            "--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700 x",
            "/t",
            json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs",
                "options": ["noexec", "nosuid", "nodev", "size=1048576", "mode=700"]}),
        ),
        (
            "--tmpfs /run:exec,size=64m x",
            "/run",
            json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "nodev", "exec", "size=67108864"]}),
        ),
        (
            "--shm-size 1m x",
            "/dev/shm",
            json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=1048576"]}),
        ),
        (
            "-v /host:/dev/shm x",
            "/dev/shm",
            json!({"destination": "/dev/shm", "type": "bind", "source": "/host", "options": ["rbind", "rw", "rprivate"]}),
        ),
        (
            "--ipc host x",
            "/dev/shm",
            json!({"destination": "/dev/shm", "type": "bind", "source": "/dev/shm",
                "options": ["rbind", "nosuid", "noexec", "nodev", "rprivate"]}),
        ),
    ] {
        let document = of(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mounts = document.read::<Vec<Value>>("/mounts").unwrap().unwrap();
        let found: Vec<&Value> = mounts.iter().filter(|mount| mount["destination"] == destination).collect();
        assert_eq!(found, [&expected], "{line}");
    }
}

#[test]
fn a_volume_says_what_has_to_be_made() {
    let document = of("-v data:/a:nocopy -v /host:/b -v /anon --mount type=bind,src=/x,dst=/c x").unwrap();
    let volumes = document.read::<Vec<Value>>("/wb/volumes").unwrap().unwrap();
    assert_eq!((&volumes[0]["name"], &volumes[0]["copy"]), (&json!("data"), &json!(false)));
    assert_eq!((&volumes[1]["type"], &volumes[1]["create"]), (&json!("bind"), &json!(true)));
    assert_eq!((&volumes[2]["anonymous"], &volumes[2]["copy"]), (&json!(true), &json!(true)));
    assert_eq!(volumes[2]["name"].as_str().unwrap().len(), 64);
    assert_eq!((&volumes[3]["type"], &volumes[3]["create"]), (&json!("bind"), &json!(false)));
}

#[test]
fn parents_are_mounted_before_children() {
    let document = of("-v /x:/a/b/c -v /y:/a -v /z:/a/b x").unwrap();
    let mounts = document.read::<Vec<Value>>("/mounts").unwrap().unwrap();
    let last: Vec<&str> = mounts[7..].iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
    assert_eq!(last, ["/a", "/a/b", "/a/b/c"]);
}

#[test]
fn ids_are_random_and_long() {
    let (first, second) = (of("x").unwrap(), of("x").unwrap());
    assert_eq!(first.id().unwrap().len(), 64);
    assert_ne!(first.id().unwrap(), second.id().unwrap());
    assert_eq!(first.str_at("/hostname"), first.id().unwrap().get(..12));
}

#[test]
fn refuses_with_one_line() {
    for (line, message) in [
        ("", "an image is missing"),
        ("--rootfs /", "no command specified"),
        ("-a stdout -d x", "conflicting options: --attach and --detach"),
        ("--rm --restart always x", "conflicting options: --restart and --rm"),
        ("--name ../x y", "container name \"../x\": only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed"),
        ("-w tmp x", "invalid argument \"tmp\" for --workdir: an absolute path is needed"),
        ("-v /a:/b -v /c:/b x", "duplicate mount point: /b"),
        ("-v /a:b x", "invalid argument \"b\" for --volume: an absolute path inside the container is needed"),
        ("--ulimit foo=1 x", "invalid ulimit type: foo"),
        (
            "--pid private:x y",
            "invalid argument \"private:x\" for --pid: host, private or container:NAME is needed",
        ),
        ("--network host --network a x", "host, none and container: cannot be combined with another network"),
        ("--uts host --hostname a x", "conflicting options: --hostname and --uts host"),
        ("--sysctl kernel.panic=1 x", "sysctl \"kernel.panic\" is not in a namespace of the container's own"),
        ("-u 4294967295 x", "invalid argument \"4294967295\" for --user: an id below 2147483648 is needed"),
        ("--stop-signal FOO x", "invalid signal: FOO"),
        ("--net none -p 80 x", "conflicting options: --publish and --network none"),
    ] {
        assert_eq!(of(line).unwrap_err().to_string(), message, "{line}");
    }
    for line in [
        "--security-opt foo x",
        "--mount type=bind,dst=/a x",
        "--mount type=x,dst=/a x",
        "--mount dst=/a,foo=1 x",
        "--tmpfs relative x",
        "--tmpfs /a:foo x",
        "-v : x",
        "-v /a:/../b x",
        "-v /a:/ x",
        "--dns x y",
        "-p x y",
        "--add-host x y",
        "--ip x y",
        "--mac-address x y",
        "--userns keep-id x",
        "--env-file /nonexistent x",
        "--restart sometimes x",
        "--detach-keys ctrl-% x",
        "--log-driver syslog x",
        "--pull maybe x",
        "--device /nonexistent x",
        "--hostname -a x",
        "--umask 9 x",
        "--annotation x y",
        "--oom-score-adj 2000 x",
        "--volumes-from nope x",
        "--pid container:nope x",
        "--health-interval 1 x",
        "--cap-add NOPE x",
    ] {
        assert!(of(line).is_err(), "{line}");
    }
}
