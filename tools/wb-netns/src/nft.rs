//! nftables by raw nfnetlink, for the few questions and changes of the hot path: an `nft` process costs 200 times as
//! much. Encoding only; `linux/netfilter/nf_tables.h` has the numbers.

use crate::shown;
use wb_sys::Errno;
use wb_sys::netlink::{NFNL_SUBSYS_NFTABLES, NLM_F_CREATE, NLM_F_DUMP, Netlink, Request};

/// The address families of tables.
pub const INET: u8 = 1;
pub const IPV4: u8 = 2;
pub const IPV6: u8 = 10;

const GETCHAIN: u8 = 4;
const GETRULE: u8 = 7;
const DELRULE: u8 = 8;
const NEWSETELEM: u8 = 12;
const GETSETELEM: u8 = 13;
const DELSETELEM: u8 = 14;

const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// The attributes that name a table and what is in it are the same in messages on chains, rules and elements.
const TABLE: u16 = 1;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const SET_ELEMENTS: u16 = 3;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const ELEM_USERDATA: u16 = 6;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUM: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
/// `NF_INET_FORWARD`.
pub const HOOK_FORWARD: u32 = 2;
const NF_DROP: u32 = 0;

/// One element of a set or map: key, value (empty in a set), comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
    pub comment: String,
}

/// A chain with a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    pub family: u8,
    pub table: String,
    pub name: String,
    pub hook: u32,
    pub drops: bool,
}

/// A rule as far as its owner and its end matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub handle: u64,
    pub comment: String,
    /// Whether it drops or rejects whatever reaches it.
    pub drops_all: bool,
}

/// Appends one attribute.
pub fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn put_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    put(out, kind, &value);
}

/// An attribute with attributes in it.
pub fn nest(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, kind | NLA_F_NESTED, value);
    out
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, kind, value);
    out
}

/// The attributes in `bytes`: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, value))
    })
}

/// The value of the first attribute of a kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// nft keeps comments as a record of type 0 in an object's user data.
fn comment(user_data: &[u8]) -> String {
    match user_data {
        [0, length, rest @ ..] => text(rest.get(..usize::from(*length)).unwrap_or_default()),
        _ => String::new(),
    }
}

fn message(kind: u8, flags: u16, family: u8, attributes: &[u8], shown: String) -> Request {
    let mut payload = vec![family, 0, 0, 0];
    payload.extend_from_slice(attributes);
    Request::new(u16::from(NFNL_SUBSYS_NFTABLES) << 8 | u16::from(kind), flags, payload, shown)
}

fn elements(table: &str, set: &str, list: &[Element]) -> Vec<u8> {
    let mut inner = Vec::new();
    for element in list {
        let mut one = nest(ELEM_KEY, &attribute(DATA_VALUE, &element.key));
        if !element.data.is_empty() {
            one.extend(nest(ELEM_DATA, &attribute(DATA_VALUE, &element.data)));
        }
        if !element.comment.is_empty() {
            let length = u8::try_from(element.comment.len() + 1).unwrap_or(u8::MAX);
            let mut user_data = vec![0, length];
            user_data.extend_from_slice(element.comment.as_bytes());
            user_data.push(0);
            put(&mut one, ELEM_USERDATA, &user_data);
        }
        put(&mut inner, LIST_ELEM | NLA_F_NESTED, &one);
    }
    let mut out = Vec::new();
    put_text(&mut out, TABLE, table);
    put_text(&mut out, 2, set);
    put(&mut out, SET_ELEMENTS | NLA_F_NESTED, &inner);
    out
}

/// Adds elements to a set or map of an inet table.
pub fn add_elements(table: &str, set: &str, list: &[Element]) -> Request {
    let shown = format!("NFT_MSG_NEWSETELEM inet {table} {set} {}", shown::elements(list));
    message(NEWSETELEM, NLM_F_CREATE, INET, &elements(table, set, list), shown)
}

/// Removes elements.
pub fn delete_elements(table: &str, set: &str, list: &[Element]) -> Request {
    let shown = format!("NFT_MSG_DELSETELEM inet {table} {set} {}", shown::elements(list));
    message(DELSETELEM, 0, INET, &elements(table, set, list), shown)
}

/// Whether a set of an inet table has an element; no table, no set: no element.
pub fn has_element(netlink: &Netlink, table: &str, set: &str, key: &[u8]) -> Result<bool, Errno> {
    let element = Element { key: key.to_vec(), data: Vec::new(), comment: String::new() };
    let shown = format!("NFT_MSG_GETSETELEM inet {table} {set}");
    let request = message(GETSETELEM, 0, INET, &elements(table, set, &[element]), shown);
    let mut found = false;
    match netlink.ask(&request, "is the rule set still there", |_, _| found = true) {
        Ok(()) => Ok(found),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// All elements of a set or map of an inet table; none where it does not exist.
pub fn list_elements(netlink: &Netlink, table: &str, set: &str) -> Result<Vec<Element>, Errno> {
    let mut names = Vec::new();
    put_text(&mut names, TABLE, table);
    put_text(&mut names, 2, set);
    let shown = format!("NFT_MSG_GETSETELEM inet {table} {set}");
    let request = message(GETSETELEM, NLM_F_DUMP, INET, &names, shown);
    let mut found = Vec::new();
    let asked = netlink.ask(&request, "what is in it", |_, payload| {
        let list = find(payload.get(4..).unwrap_or_default(), SET_ELEMENTS).unwrap_or_default();
        found.extend(attributes(list).map(|(_, element)| parse_element(element)));
    });
    match asked {
        Ok(()) => Ok(found),
        Err(Errno::ENOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

fn parse_element(bytes: &[u8]) -> Element {
    let value = |kind| find(bytes, kind).and_then(|data| find(data, DATA_VALUE)).unwrap_or_default().to_vec();
    Element {
        key: value(ELEM_KEY),
        data: value(ELEM_DATA),
        comment: find(bytes, ELEM_USERDATA).map(comment).unwrap_or_default(),
    }
}

/// Every chain with a hook in the tables of all families.
pub fn base_chains(netlink: &Netlink) -> Result<Vec<BaseChain>, Errno> {
    let request = message(GETCHAIN, NLM_F_DUMP, 0, &[], "NFT_MSG_GETCHAIN".into());
    let mut found = Vec::new();
    netlink.ask(&request, "does another firewall stand in the way", |_, payload| {
        found.extend(parse_base_chain(payload));
    })?;
    Ok(found)
}

fn parse_base_chain(payload: &[u8]) -> Option<BaseChain> {
    let (family, rest) = (*payload.first()?, payload.get(4..)?);
    let hook = find(find(rest, CHAIN_HOOK)?, HOOK_NUM).and_then(number)?;
    Some(BaseChain {
        family,
        table: text(find(rest, TABLE)?),
        name: text(find(rest, CHAIN_NAME)?),
        hook,
        drops: find(rest, CHAIN_POLICY).and_then(number) == Some(NF_DROP),
    })
}

/// The rules of a chain, in order.
pub fn rules(netlink: &Netlink, chain: &BaseChain) -> Result<Vec<Rule>, Errno> {
    let mut names = Vec::new();
    put_text(&mut names, TABLE, &chain.table);
    put_text(&mut names, RULE_CHAIN, &chain.name);
    let shown = format!("NFT_MSG_GETRULE {} {}", chain.table, chain.name);
    let request = message(GETRULE, NLM_F_DUMP, chain.family, &names, shown);
    let mut found = Vec::new();
    let asked = netlink.ask(&request, "have we been let through there", |_, payload| {
        // Older kernels do not filter the dump by chain.
        let rest = payload.get(4..).unwrap_or_default();
        let is = |kind, name: &str| find(rest, kind).is_some_and(|value| text(value) == name);
        if is(TABLE, &chain.table) && is(RULE_CHAIN, &chain.name) {
            found.extend(parse_rule(rest));
        }
    });
    match asked {
        Ok(()) => Ok(found),
        Err(Errno::ENOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

fn parse_rule(rest: &[u8]) -> Option<Rule> {
    let handle = u64::from_be_bytes(find(rest, RULE_HANDLE)?.get(..8)?.try_into().ok()?);
    let expressions = find(rest, RULE_EXPRESSIONS).unwrap_or_default();
    Some(Rule {
        handle,
        comment: find(rest, RULE_USERDATA).map(comment).unwrap_or_default(),
        drops_all: drops_all(expressions),
    })
}

/// Whether a rule has no condition and ends in drop or reject. (iptables-nft writes REJECT as a `target`.)
fn drops_all(expressions: &[u8]) -> bool {
    let mut drops = false;
    for (_, expression) in attributes(expressions) {
        let data = find(expression, EXPR_DATA).unwrap_or_default();
        match find(expression, EXPR_NAME).map(text).as_deref() {
            Some("counter" | "log") => {}
            Some("reject") => drops = true,
            Some("target") => drops = data.windows(6).any(|window| window == b"REJECT"),
            Some("immediate") => {
                let verdict = find(data, IMMEDIATE_DATA).and_then(|data| find(data, DATA_VERDICT));
                drops =
                    verdict.and_then(|verdict| find(verdict, VERDICT_CODE)).and_then(number) == Some(NF_DROP);
            }
            _ => return false,
        }
    }
    drops
}

/// Removes one rule.
pub fn delete_rule(chain: &BaseChain, handle: u64) -> Request {
    let mut names = Vec::new();
    put_text(&mut names, TABLE, &chain.table);
    put_text(&mut names, RULE_CHAIN, &chain.name);
    put(&mut names, RULE_HANDLE, &handle.to_be_bytes());
    let shown = format!("NFT_MSG_DELRULE {} {} handle {handle}", chain.table, chain.name);
    message(DELRULE, 0, chain.family, &names, shown)
}

/// An interface name as a set's key.
pub fn ifname(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(16, 0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_an_element_as_nft_does() {
        // What `nft add element inet wbt any4 '{ udp . 53 comment "hello" : 1.2.3.4 . 5353 }'` sends (strace), but
        // for the set's id, which only matters inside one transaction.
        let element = Element {
            key: vec![0x11, 0, 0, 0, 0, 0x35, 0, 0],
            data: vec![1, 2, 3, 4, 0x14, 0xe9, 0, 0],
            comment: "hello".into(),
        };
        let expected = b"\x08\0\x01\0wbt\0\x09\0\x02\0any4\0\0\0\0\x34\0\x03\x80\
            \x30\0\x01\x80\x10\0\x01\x80\x0c\0\x01\0\x11\0\0\0\0\x35\0\0\
            \x10\0\x02\x80\x0c\0\x01\0\x01\x02\x03\x04\x14\xe9\0\0\x0c\0\x06\0\0\x06hello\0";
        assert_eq!(elements("wbt", "any4", std::slice::from_ref(&element)), expected);
        let list = find(expected, SET_ELEMENTS).unwrap();
        assert_eq!(parse_element(attributes(list).next().unwrap().1), element);
    }

    #[test]
    fn broken_attributes_end_the_reading() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[40, 0, 1, 0, 1]).count(), 0);
        assert_eq!(comment(&[0, 200, b'x']), "");
    }
}
