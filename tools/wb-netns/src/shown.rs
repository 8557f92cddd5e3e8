//! Elements of sets and maps as nft(8) prints them, for the trace.

use crate::nft::Element;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How many elements are shown of one message.
const SHOWN: usize = 8;

/// `{ 127.0.0.1 . tcp . 8080 : 10.77.0.2 . 80, … }`
pub fn elements(list: &[Element]) -> String {
    if !wb_sys::trace::is_on() {
        return format!("{} elements", list.len());
    }
    let mut shown: Vec<String> = list.iter().take(SHOWN).map(element).collect();
    if list.len() > SHOWN {
        shown.push(format!("… {} more", list.len() - SHOWN));
    }
    format!("{{ {} }}", shown.join(", "))
}

fn element(element: &Element) -> String {
    let key = published(&element.key).or_else(|| name(&element.key)).unwrap_or_else(|| hex(&element.key));
    match led_to(&element.data) {
        _ if element.data.is_empty() => key,
        Some(data) => format!("{key} : {data}"),
        None => format!("{key} : {}", hex(&element.data)),
    }
}

/// `[address . ] protocol . port`, each in a register of four bytes or a multiple of them.
fn published(key: &[u8]) -> Option<String> {
    let (before, rest) = key.split_at(key.len().checked_sub(8)?);
    let protocol = match rest[0] {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => return None,
    };
    let port = u16::from_be_bytes([rest[4], rest[5]]);
    if before.is_empty() {
        Some(format!("{protocol} . {port}"))
    } else {
        Some(format!("{} . {protocol} . {port}", address(before)?))
    }
}

/// `address . port`
fn led_to(data: &[u8]) -> Option<String> {
    let (before, port) = data.split_at(data.len().checked_sub(4)?);
    Some(format!("{} . {}", address(before)?, u16::from_be_bytes([port[0], port[1]])))
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).to_string())).ok()
}

/// The names of interfaces, NULs behind each.
fn name(key: &[u8]) -> Option<String> {
    let words: Vec<&str> = key
        .chunks(16)
        .map(|name| std::str::from_utf8(name).unwrap_or_default().trim_end_matches('\0'))
        .collect();
    let plain = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    words
        .iter()
        .all(plain)
        .then(|| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" . "))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_shown_as_nft_shows_them() {
        let of =
            |key: &[u8], data: &[u8]| Element { key: key.into(), data: data.into(), comment: String::new() };
        let port = [6, 0, 0, 0, 0x1f, 0x90, 0, 0];
        let led = [10, 77, 0, 2, 0, 80, 0, 0];
        assert_eq!(element(&of(&port, &led)), "tcp . 8080 : 10.77.0.2 . 80");
        let with_address = [&[127, 0, 0, 1][..], &port].concat();
        assert_eq!(element(&of(&with_address, &led)), "127.0.0.1 . tcp . 8080 : 10.77.0.2 . 80");
        let mut bridge = *b"wb0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(element(&of(&bridge, &[])), "\"wb0\"");
        bridge[0] = 0xff;
        assert!(element(&of(&bridge, &[])).starts_with("0xff62"));
    }
}
