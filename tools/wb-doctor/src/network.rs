//! What a container's networks need: programs, links and rules of the kernel.

use crate::finding::Findings;
use crate::machine::{Machine, Presence};
use wb_doc::{Document, Error};
use wb_store::network::{self, Attachment};
use wb_store::record;

/// Modules, and the options of the kernel's configuration.
const OF_BRIDGE: [(&str, &str); 3] = [("veth", "VETH"), ("bridge", "BRIDGE"), ("nf_tables", "NF_TABLES")];
const OF_RULES: [(&str, &str); 4] = [
    ("nft_nat", "NFT_NAT"),
    ("nft_masq", "NFT_MASQ"),
    ("nft_ct", "NFT_CT"),
    ("nft_fib_inet", "NFT_FIB_INET"),
];

/// Where aardvark-dns is, since no distribution puts it into PATH.
const AARDVARK: [&str; 3] = [
    "/usr/lib/podman/aardvark-dns",
    "/usr/libexec/podman/aardvark-dns",
    "/usr/local/libexec/podman/aardvark-dns",
];

/// Everything about networks but the ports.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    if document.at("/wb/network").is_none() {
        return Ok(());
    }
    for attachment in network::attachments(document)? {
        let name = attachment.name.as_str();
        if let Some(other) = name.strip_prefix("container:") {
            neighbour(machine, other, found);
        } else if attachment.has_addresses() {
            one(machine, &attachment, found)?;
        }
    }
    Ok(())
}

/// The network of a container that is to be shared.
fn neighbour(machine: &Machine, other: &str, found: &mut Findings) {
    let boot = wb_sys::proc::boot_id().unwrap_or_default();
    let owner = record::resolve(&machine.place, other).and_then(|id| record::read(&machine.place, &id));
    let runs = owner.is_ok_and(|owner| record::is_alive(&owner, "/wb/state", &boot));
    if !runs {
        let what = format!("the running container {other}");
        found.lacks(
            &what,
            "wb.network.name",
            "its network is to be shared, and it does not run",
            format!("wb start {other}"),
        );
    }
}

fn one(machine: &Machine, attachment: &Attachment, found: &mut Findings) -> Result<(), Error> {
    let name = attachment.name.as_str();
    let member = format!("wb.network.name {name}");
    if machine.uid != 0 {
        without_root(machine, &member, found);
        return Ok(());
    }
    let known = network::find(&machine.place, name)?;
    // The default network is made on first use.
    if known.is_none() && name != network::DEFAULT {
        let what = format!("the network {name}");
        found.lacks(&what, &member, "there is none of that name", format!("wb network create {name}"));
        return Ok(());
    }
    let plugin = known.and_then(|known| known.plugin().ok()).unwrap_or_default();
    if plugin.driver.as_deref() == Some("macvlan") {
        kernel(machine, &[("macvlan", "MACVLAN")], &member, found);
        if let Some(master) =
            plugin.master.filter(|master| !machine.exists(&format!("/sys/class/net/{master}")))
        {
            let cause = "the macvlan is to hang on it, and it does not exist";
            found.lacks(&format!("the interface {master}"), &member, cause, "ip link shows what there is");
        }
        return Ok(());
    }
    kernel(machine, &OF_BRIDGE, &member, found);
    if !plugin.internal {
        kernel(machine, &OF_RULES, &member, found);
    }
    program(machine, "nft", "nftables", &member, found);
    forwarding(machine, &member, found);
    if name != network::DEFAULT && !AARDVARK.iter().any(|path| machine.exists(path)) {
        let cause = "it is not installed: containers do not find each other by name";
        found.note("aardvark-dns", &member, cause, "apt-get install aardvark-dns");
    }
    Ok(())
}

/// Without root a program of the user's own carries the packets.
fn without_root(machine: &Machine, member: &str, found: &mut Findings) {
    if machine.program("pasta").is_none() && machine.program("slirp4netns").is_none() {
        let cause = "without root packets need a program that carries them, and neither pasta nor slirp4netns is here";
        found.lacks("pasta", member, cause, "as root: apt-get install passt");
    }
    if !machine.exists("/dev/net/tun") {
        found.lacks("/dev/net/tun", member, "the kernel has no tun device", "as root: modprobe tun");
    }
}

fn kernel(machine: &Machine, features: &[(&str, &str)], member: &str, found: &mut Findings) {
    for (module, config) in features {
        if let Presence::Absent { cause, mend } = machine.feature(module, config) {
            found.lacks(module, member, cause, mend);
        }
    }
}

fn program(machine: &Machine, name: &str, package: &str, member: &str, found: &mut Findings) {
    if machine.program(name).is_some() {
        return;
    }
    if let Some(directory) =
        ["/usr/sbin", "/sbin"].iter().find(|dir| machine.exists(&format!("{dir}/{name}")))
    {
        let cause = format!("{directory}/{name} is there, and {directory} is not in PATH");
        found.lacks(name, member, cause, format!("PATH=$PATH:{directory}"));
    } else {
        found.lacks(name, member, "the program is not in PATH", format!("apt-get install {package}"));
    }
}

/// wb-netns switches forwarding on itself, where it may.
fn forwarding(machine: &Machine, member: &str, found: &mut Findings) {
    let off = machine.number("/proc/sys/net/ipv4/ip_forward") == Some(0);
    let mut mounts =
        machine.mounts.iter().filter(|mount| matches!(mount.mount_point.as_str(), "/proc" | "/proc/sys"));
    let read_only =
        mounts.next_back().is_some_and(|mount| mount.options.split(',').any(|option| option == "ro"));
    if off && read_only {
        let cause = "it is 0, and /proc/sys is mounted read-only here";
        found.lacks("net.ipv4.ip_forward", member, cause, "outside: sysctl -w net.ipv4.ip_forward=1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(machine: &Machine, network: &str) -> Findings {
        let mut found = Findings::default();
        let document = format!(r#"{{"wb":{{"network":{network}}}}}"#);
        examine(machine, &Document::parse(document.as_bytes()).unwrap(), &mut found).unwrap();
        found
    }

    #[test]
    fn a_bridge_needs_programs_and_modules() {
        let machine = Machine::of_files(
            "bridge",
            &[
                ("proc/sys/kernel/osrelease", "6.1\n"),
                ("boot/config-6.1", "CONFIG_VETH=y\nCONFIG_NFT_CT=y\nCONFIG_BRIDGE=m\n"),
            ],
        );
        let found = examined(&machine, r#"{"name":"bridge"}"#);
        assert_eq!(found.names(), ["bridge", "nf_tables", "nft_nat", "nft_masq", "nft_fib_inet", "nft"]);
        assert!(examined(&machine, r#"{"name":"none"}"#).0.is_empty());
        assert!(examined(&machine, r#"{"name":"host"}"#).0.is_empty());
    }

    #[test]
    fn networks_and_neighbours_must_exist() {
        let machine = Machine::of_files("nonet", &[]);
        assert_eq!(examined(&machine, r#"{"name":"lab"}"#).names(), ["the network lab"]);
        assert_eq!(examined(&machine, r#"{"name":"container:x"}"#).names(), ["the running container x"]);
    }

    #[test]
    fn without_root_a_program_carries_the_packets() {
        let mut machine = Machine::of_files("pasta", &[]);
        machine.uid = 1000;
        assert_eq!(examined(&machine, r#"{"name":"bridge"}"#).names(), ["pasta", "/dev/net/tun"]);
    }
}
