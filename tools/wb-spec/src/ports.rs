//! Ports: `-p` and `--expose`.

use crate::flags::invalid;
use serde_json::{Value, json};
use std::net::IpAddr;
use wb_doc::Error;

/// `[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL]` as CNI port mappings, one a port. A host port of 0 is
/// one for wb-netns to choose; of a range for one port of the container it takes the first that is free.
pub fn publish(text: &str) -> Result<Vec<Value>, Error> {
    let wrong = || invalid("publish", text, "[[IP:]PORT:]PORT[/PROTOCOL]");
    let (rest, protocol) = protocol("publish", text)?;
    let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (address, host) = match rest.rsplit_once(':') {
        // What is left may be an IPv6 address without a port (`[::1]::80` has one, empty).
        Some((address, host)) if !host.ends_with(']') => (address, host),
        Some(_) => return Err(wrong()),
        None if rest.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) => (rest, ""),
        None => ("", rest),
    };
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(wrong());
    }
    let (first, last) = range(container).ok_or_else(wrong)?;
    let hosts = if host.is_empty() { None } else { Some(range(host).ok_or_else(wrong)?) };
    if let Some((host_first, host_last)) = hosts {
        if first == last && host_first < host_last {
            // One port of the container, and several of the host's to choose from.
            let mut mapping = json!({"hostPort": 0, "hostPortRange": [host_first, host_last],
                "containerPort": first, "protocol": protocol});
            if !address.is_empty() {
                mapping["hostIP"] = address.into();
            }
            return Ok(vec![mapping]);
        }
        if host_last - host_first != last - first {
            return Err(Error::usage(format!("--publish {text}: ranges of different length")));
        }
    }
    Ok((0..=last - first)
        .map(|offset| {
            let host_port = hosts.map_or(0, |(host_first, _)| host_first + offset);
            let mut mapping =
                json!({"hostPort": host_port, "containerPort": first + offset, "protocol": protocol});
            if !address.is_empty() {
                mapping["hostIP"] = address.into();
            }
            mapping
        })
        .collect())
}

/// `PORT[-PORT][/PROTOCOL]` as `PORT/PROTOCOL`, one a port.
pub fn expose(text: &str) -> Result<Vec<Value>, Error> {
    let (ports, protocol) = protocol("expose", text)?;
    let (first, last) = range(ports).ok_or_else(|| invalid("expose", text, "PORT[/PROTOCOL]"))?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}").into()).collect())
}

fn protocol<'a>(flag: &str, text: &'a str) -> Result<(&'a str, String), Error> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if ["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        Ok((ports, protocol))
    } else {
        Err(invalid(flag, text, "the protocol tcp, udp or sctp"))
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_forms() {
        for (text, expected) in [
            ("80", json!([{"hostPort": 0, "containerPort": 80, "protocol": "tcp"}])),
            ("8080:80", json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])),
            ("53:53/udp", json!([{"hostPort": 53, "containerPort": 53, "protocol": "udp"}])),
            (
                "127.0.0.1:8080:80",
                json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}]),
            ),
            (
                "127.0.0.1::80",
                json!([{"hostPort": 0, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}]),
            ),
            (
                "[::1]:81:80",
                json!([{"hostPort": 81, "containerPort": 80, "protocol": "tcp", "hostIP": "::1"}]),
            ),
            (
                "8000-8001:80-81",
                json!([{"hostPort": 8000, "containerPort": 80, "protocol": "tcp"},
                       {"hostPort": 8001, "containerPort": 81, "protocol": "tcp"}]),
            ),
            (
                "127.0.0.1:8000-8009:80/udp",
                json!([{"hostPort": 0, "hostPortRange": [8000, 8009], "containerPort": 80, "protocol": "udp",
                        "hostIP": "127.0.0.1"}]),
            ),
        ] {
            assert_eq!(Value::from(publish(text).unwrap()), expected, "{text}");
        }
        for text in [
            "",
            ":",
            "x",
            "0",
            "70000",
            "80:x",
            "1.2.3:80:80",
            "80/xyz",
            "9-8",
            "1-3:1-2",
            "a:1:2",
            "[::1]:80",
        ] {
            assert!(publish(text).is_err(), "{text}");
        }
        assert_eq!(expose("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
    }
}
