//! Patience: how often, and how long after a failure, a request is made again.

use std::time::{Duration, SystemTime};
use ureq::http::{HeaderMap, header};
use wb_doc::Error;

/// How many times a request is made.
pub const MAX_TRIES: u32 = 5;
/// The longest `Retry-After` that is waited for.
const MAX_AFTER: Duration = Duration::from_secs(60);
/// The longest all waits of one request may take together.
const MAX_WAITED: Duration = Duration::from_secs(180);

/// The tries of one request.
#[derive(Debug)]
pub struct Tries {
    made: u32,
    waited: Duration,
}

impl Tries {
    /// None made.
    pub fn new() -> Self {
        Self { made: 0, waited: Duration::ZERO }
    }

    /// Something came of the last one: count anew. What has been waited stays waited.
    pub fn progress(&mut self) {
        self.made = 0;
    }

    /// One failed: waits for the next, or gives up with the failure.
    pub fn wait(&mut self, after: Option<Duration>, error: &Error) -> Result<(), Error> {
        self.made += 1;
        let delay = after.unwrap_or_else(|| backoff(self.made));
        if self.made >= MAX_TRIES || delay > MAX_AFTER || self.waited + delay > MAX_WAITED {
            let tries = if self.made == 1 { "try" } else { "tries" };
            return Err(error.clone().hint(format!("given up after {} {tries}", self.made)));
        }
        self.waited += delay;
        std::thread::sleep(delay);
        Ok(())
    }
}

/// A quarter of a second, doubled each time, and up to a quarter more so that many do not come back at once.
fn backoff(made: u32) -> Duration {
    let base = Duration::from_millis(250) * 2_u32.saturating_pow(made.saturating_sub(1).min(6));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    base + base / 4 * (now.subsec_nanos() % 1000) / 1000
}

/// The seconds of a `Retry-After`; its form with a date is left to the back-off.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_in_the_end() {
        let mut tries = Tries::new();
        let error = Error::new("x");
        for _ in 1..MAX_TRIES {
            assert!(tries.wait(Some(Duration::ZERO), &error).is_ok());
        }
        assert!(tries.wait(Some(Duration::ZERO), &error).is_err());
        assert!(Tries::new().wait(Some(Duration::from_secs(61)), &error).is_err());
    }

    #[test]
    fn waits_longer_each_time() {
        for made in 1..5 {
            assert!(backoff(made) < backoff(made + 1));
            assert!(backoff(made) < Duration::from_secs(6));
        }
    }
}
