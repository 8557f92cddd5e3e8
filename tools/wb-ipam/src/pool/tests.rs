use super::*;
use std::collections::HashSet;
use wb_store::network::Range;

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wb-ipam-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn open<'a>(scratch: &Scratch, subnet: &'a Subnet) -> Result<Pool<'a>, Error> {
    Pool::open(&scratch.0, subnet, &|| Ok(Vec::new()))
}

fn subnet(text: &str, end: Option<&str>) -> Subnet {
    let range = Range {
        subnet: text.parse().unwrap(),
        range_start: None,
        range_end: end.map(|end| end.parse().unwrap()),
        gateway: None,
        exclude: vec![],
    };
    Subnet::of_set(&[range]).unwrap().remove(0)
}

#[test]
fn fills_a_slash_21_and_then_says_so() {
    let scratch = Scratch::new("fill");
    let subnet = subnet("10.0.0.0/21", None);
    let pool = open(&scratch, &subnet).unwrap();
    let mut seen = HashSet::new();
    for n in 0..2045 {
        assert!(seen.insert(pool.take_next(&format!("c{n}")).unwrap().unwrap()), "{n}");
    }
    assert_eq!(pool.take_next("late").unwrap(), None);
    for n in (0..2045).step_by(3) {
        assert!(pool.release(&format!("c{n}")).unwrap().is_some());
        assert!(pool.release(&format!("c{n}")).unwrap().is_none());
    }
    for n in 0..2045 {
        assert_eq!(pool.find(&format!("c{n}")).unwrap().is_some(), n % 3 != 0, "{n}");
    }
    assert_eq!(pool.leases().unwrap().len(), 2045 - 682);
}

#[test]
fn gives_the_next_after_the_last_and_wraps() {
    let scratch = Scratch::new("next");
    let subnet = subnet("10.0.0.0/29", None);
    let pool = open(&scratch, &subnet).unwrap();
    let take = |owner: &str| {
        let address = pool.take_next(owner).unwrap().unwrap().to_string();
        pool.release(owner).unwrap();
        address
    };
    let given: Vec<_> = (0..6).map(|_| take("a")).collect();
    assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]);
}

#[test]
fn books_left_half_changed_are_made_anew() {
    let scratch = Scratch::new("mend");
    let subnet = subnet("10.0.0.0/24", None);
    let pool = open(&scratch, &subnet).unwrap();
    pool.take_next("a").unwrap();
    pool.set_busy(true).unwrap();
    pool.write(pool.slot_at(9), &slot_of("b").unwrap(), "as if killed right after this").unwrap();
    drop(pool);
    let pool = open(&scratch, &subnet).unwrap();
    assert_eq!(pool.find("b").unwrap().unwrap().to_string(), "10.0.0.9");
    assert_eq!(pool.find("a").unwrap().unwrap().to_string(), "10.0.0.2");
    let given: Vec<_> =
        (0..8).map(|n| pool.take_next(&format!("c{n}")).unwrap().unwrap().to_string()).collect();
    assert!(
        !given.contains(&"10.0.0.9".to_string()) && given.contains(&"10.0.0.10".to_string()),
        "{given:?}"
    );
}

#[test]
fn a_changed_range_keeps_the_leases() {
    let scratch = Scratch::new("change");
    let wide = subnet("10.0.0.0/24", None);
    let pool = open(&scratch, &wide).unwrap();
    pool.take_this("a", 200).unwrap();
    drop(pool);
    let narrow = subnet("10.0.0.0/24", Some("10.0.0.3"));
    let pool = open(&scratch, &narrow).unwrap();
    assert_eq!(pool.find("a").unwrap().unwrap().to_string(), "10.0.0.200");
    assert!(pool.take_next("b").unwrap().is_some() && pool.take_next("c").unwrap().is_some());
    assert_eq!(pool.take_next("d").unwrap(), None);
    pool.release("a").unwrap();
    assert_eq!(pool.take_next("d").unwrap(), None);
}

#[test]
fn a_garbled_or_empty_file_is_made_anew() {
    let scratch = Scratch::new("garbled");
    let subnet = subnet("10.0.0.0/24", None);
    for content in [&b""[..], &b"rubbish"[..], &[0xff; 9000][..]] {
        std::fs::write(scratch.0.join(subnet.file_name()), content).unwrap();
        let pool = open(&scratch, &subnet).unwrap();
        assert_eq!(pool.take_next("a").unwrap().unwrap().to_string(), "10.0.0.2");
    }
}

#[test]
fn books_that_were_lost_begin_with_who_lives() {
    let scratch = Scratch::new("lost");
    let subnet = subnet("10.0.0.0/24", None);
    let path = scratch.0.join(subnet.file_name());
    let lives = || Ok(vec![("lives".to_owned(), "10.0.0.2".parse().unwrap())]);
    let lose: [&dyn Fn(); 4] = [
        &|| std::fs::write(&path, "").unwrap(),
        &|| std::fs::write(&path, "rubbish").unwrap(),
        &|| std::fs::remove_file(&path).unwrap(),
        &|| std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(PAGE).unwrap(),
    ];
    for lose in lose {
        drop(open(&scratch, &subnet).unwrap());
        lose();
        let pool = Pool::open(&scratch.0, &subnet, &lives).unwrap();
        assert_eq!(pool.find("lives").unwrap().unwrap().to_string(), "10.0.0.2");
        assert_ne!(pool.take_next("other").unwrap().unwrap().to_string(), "10.0.0.2");
    }
}
