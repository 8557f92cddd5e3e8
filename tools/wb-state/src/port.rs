//! `wb-state port`: where a container's ports are published.

use crate::row::{Port, Row};
use std::io::Write;
use wb_doc::{Context, Error, ExitCode};
use wb_store::{Place, record};

/// The verb: `80/tcp -> 0.0.0.0:8080` a line, or only the addresses of one port.
pub fn port(place: &Place, container: &str, wanted: Option<&str>) -> Result<ExitCode, Error> {
    let id = record::resolve(place, container)?;
    let row = Row::parse(&record::bytes(place, &id)?).context(|| format!("record of {container}"))?;
    let published: Vec<&Port> =
        std::iter::once(&row.wb.network).chain(&row.wb.networks).flat_map(|network| &network.ports).collect();
    let mut lines = Vec::new();
    match wanted {
        None => lines.extend(published.iter().map(|port| {
            format!(
                "{} -> {}
",
                inside(port),
                outside(port)
            )
        })),
        Some(wanted) => {
            let wanted = if wanted.contains('/') { wanted.to_owned() } else { format!("{wanted}/tcp") };
            let of_it = published.iter().filter(|port| inside(port) == wanted);
            lines.extend(of_it.map(|port| outside(port) + "\n"));
            if lines.is_empty() {
                let wanted = wb_doc::escape(&wanted);
                return Err(Error::new(format!("no public port {wanted} published for {container}")));
            }
        }
    }
    // A closed pipe ends the list quietly.
    std::io::stdout().lock().write_all(lines.concat().as_bytes()).ok();
    Ok(ExitCode::SUCCESS)
}

fn inside(port: &Port) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// The host's address and port, an IPv6 address in brackets.
pub fn outside(port: &Port) -> String {
    let ip = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
    if ip.contains(':') { format!("[{ip}]:{}", port.host_port) } else { format!("{ip}:{}", port.host_port) }
}
