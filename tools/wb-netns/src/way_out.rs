//! The way out of the network namespace kept for an ordinary user: a tap device, and behind it pasta(1) or
//! slirp4netns(1), which make every connection anew by sockets of the user's own on the host.
//!
//! One process a user, started with the first network that needs it. It ends with the file that names the namespace.

use crate::world;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::kept::{self, Process};
use wb_store::lock::Lock;
use wb_sys::{child, pipe, program};

/// The tap device in the kept namespace.
const INTERFACE: &str = "outside";
/// Its own address and the other end's: link-local, so that they are in nobody's network. It has not the host's
/// address, as pasta would give it, so that the host can be reached at that.
const ADDRESS: &str = "169.254.77.2";
const GATEWAY: &str = "169.254.77.1";
const PREFIX: &str = "30";

/// Makes sure that there is one. A host that has no way out itself needs none, until it has one.
pub fn ensure(place: &Place) -> Result<(), Error> {
    let Some(network) = kept::network() else { return Ok(()) };
    let directory = kept::directory(place);
    let file = directory.join(kept::WAY_OUT);
    let runs = || Ok::<_, Error>(Process::read(&file)?.map(|process| process.hold()).transpose()?.flatten());
    if runs()?.is_some() {
        return Ok(());
    }
    let _lock = Lock::directory(&directory)?;
    if runs()?.is_some() {
        return Ok(());
    }
    // Once inside, it is too late to start one; the next container's turn.
    if world::is_inside() || !host_has_one() {
        return Ok(());
    }
    let pid = if program::find("pasta".as_ref()).is_ok() {
        pasta(&network, &directory)?
    } else if program::find("slirp4netns".as_ref()).is_ok() {
        slirp4netns(&network)?
    } else {
        let message = "no way out of an ordinary user's network: neither pasta nor slirp4netns is installed";
        return Err(Error::new(message).hint("apt install passt; or --net none, or --net host"));
    };
    Process::of(pid)?.write(&file)
}

/// Whether a route leads anywhere from here, in the words of proc(5).
fn host_has_one() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    leads_out(&read("/proc/self/net/route"), &read("/proc/self/net/ipv6_route"))
}

fn leads_out(v4: &str, v6: &str) -> bool {
    let field = |line: &str, number: usize| line.split_ascii_whitespace().nth(number).map(str::to_owned);
    let zero = |text: Option<String>| text.is_some_and(|text| text.bytes().all(|digit| digit == b'0'));
    // Destination and mask; destination, length of its prefix, device, where lo is for what is unreachable.
    v4.lines().any(|line| zero(field(line, 1)) && zero(field(line, 7)))
        || v6.lines().any(|line| {
            zero(field(line, 0)) && zero(field(line, 1)) && field(line, 9).is_some_and(|dev| dev != "lo")
        })
}

/// pasta returns when the device is there, and goes on in a process of its own. Nothing leads in, neither to the
/// host's loopback interface nor from there: what is published, [`crate::relay`] leads.
fn pasta(network: &Path, directory: &Path) -> Result<i32, Error> {
    let pid_file = directory.join("pasta.pid");
    let mut command = Command::new("pasta");
    command.args([
        "--config-net",
        "--quiet",
        "--no-map-gw",
        "-t",
        "none",
        "-u",
        "none",
        "-T",
        "none",
        "-U",
        "none",
    ]);
    command.args(["-I", INTERFACE, "-a", ADDRESS, "-n", PREFIX, "-g", GATEWAY]);
    command.arg("--pid").arg(&pid_file).arg("--netns").arg(network);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = child::spawn(&mut command, "the way out, by sockets of this user's own")
        .and_then(std::process::Child::wait_with_output)
        .context(|| "pasta")?;
    if !output.status.success() {
        return Err(explain(&String::from_utf8_lossy(&output.stderr)));
    }
    let shown = || pid_file.display().to_string();
    let text = fs::read_to_string(&pid_file).context(shown)?;
    fs::remove_file(&pid_file).context(shown)?;
    text.trim().parse().map_err(|_| Error::new(format!("{}: {text:?} is no pid", shown())))
}

/// The last thing it said about itself, not about the system's log.
fn explain(said: &str) -> Error {
    let line = said.lines().rfind(|line| !line.starts_with("Failed to send") && !line.trim().is_empty());
    let error = Error::new(format!("pasta: {}", line.unwrap_or("failed without a word")));
    if said.contains("tun") {
        error.hint("/dev/net/tun is for everybody where udev made it: chmod 0666 /dev/net/tun")
    } else {
        error
    }
}

/// slirp4netns stays in front, and says on a descriptor when the device is there.
fn slirp4netns(network: &Path) -> Result<i32, Error> {
    use std::os::unix::process::CommandExt;
    let (mut reader, writer) =
        pipe::pipe().map(|(reader, writer)| (fs::File::from(reader), writer)).context(|| "pipe")?;
    let mut command = Command::new("slirp4netns");
    command.args([
        "--configure",
        "--mtu=65520",
        "--disable-host-loopback",
        "--ready-fd=0",
        "--netns-type=path",
    ]);
    command.arg(network).arg(INTERFACE);
    // Of a group of its own, which a terminal's signals do not reach.
    command.current_dir("/").stdin(writer).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let child =
        child::spawn(&mut command, "the way out, by sockets of this user's own").context(|| "slirp4netns")?;
    // The end it was given is its own alone from here on.
    drop(command);
    let mut word = [0];
    let length = reader.read(&mut word).context(|| "slirp4netns")?;
    if length == 0 {
        return Err(Error::new("slirp4netns: ended before there was a way out")
            .hint(format!("slirp4netns --configure --netns-type=path {} {INTERFACE}", network.display())));
    }
    i32::try_from(child.id()).map_err(Error::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_of_either_family_leads_out() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let local = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let none6 =
            format!("{0} 00 {0} 00 {0} ffffffff 00000001 00000000 00200200       lo\n", "0".repeat(32));
        let v6 = none6.replace("      lo", "    eth0");
        assert!(leads_out(v4, "") && leads_out(local, &v6));
        assert!(!leads_out(local, &none6) && !leads_out("", ""));
    }

    #[test]
    fn what_pasta_says_is_told_without_the_noise() {
        let error = explain("Failed to open tun socket in namespace\nFailed to send 45 bytes to syslog\n");
        assert_eq!(error.to_string(), "pasta: Failed to open tun socket in namespace");
        assert!(error.advice().is_some_and(|hint| hint.contains("/dev/net/tun")));
    }
}
