//! What happens to images, volumes and networks: the difference between two looks at where they lie.

use super::Event;
use std::collections::BTreeMap;
use wb_doc::{Error, clock};
use wb_store::image::{ImageStore, Reference};
use wb_store::{Place, network};

/// One kind of things, by what identifies each, as last seen.
type Things = BTreeMap<String, Vec<(String, String)>>;

/// What there was when somebody last looked.
#[derive(Default)]
pub struct Stock {
    /// Image ids by manifest digest.
    images: BTreeMap<String, String>,
    /// Manifest digests by name.
    names: BTreeMap<String, String>,
    volumes: Things,
    networks: Things,
}

impl Stock {
    /// A look at all.
    pub fn look(place: &Place) -> Result<Self, Error> {
        let mut stock = Self::default();
        stock.look_at_images(place)?;
        stock.look_at_volumes(place)?;
        stock.look_at_networks(place)?;
        Ok(stock)
    }

    /// What has happened to images since the last look.
    pub fn look_at_images(&mut self, place: &Place) -> Result<Vec<Event>, Error> {
        let store = ImageStore::new(place);
        let (mut images, mut names) = (BTreeMap::new(), BTreeMap::new());
        for entry in &store.index()?.manifests {
            let digest = entry.digest.to_string();
            let known = self.images.get(&digest).cloned();
            // One that cannot be read is known by its manifest.
            let read = || store.load(entry).map_or_else(|_| digest.clone(), |image| image.id().to_string());
            let id = known.unwrap_or_else(read);
            images.insert(digest.clone(), id);
            if let Some(name) = entry.name() {
                let shown = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.familiar());
                names.insert(shown, digest);
            }
        }
        let mut events = Vec::new();
        let mut say = |action: &str, id: &str, name: &str| {
            events.push(Event::new("image", action, id, vec![("name".to_owned(), name.to_owned())]));
        };
        for (digest, id) in images.iter().filter(|(digest, _)| !self.images.contains_key(*digest)) {
            say("create", id, names.iter().find(|(_, other)| *other == digest).map_or(id, |(name, _)| name));
        }
        for (name, digest) in names.iter().filter(|(name, digest)| self.names.get(*name) != Some(*digest)) {
            say("tag", images.get(digest).unwrap_or(digest), name);
        }
        for (name, digest) in self.names.iter().filter(|(name, _)| !names.contains_key(*name)) {
            say("untag", self.images.get(digest).unwrap_or(digest), name);
        }
        for (_, id) in self.images.iter().filter(|(digest, _)| !images.contains_key(*digest)) {
            say("delete", id, id);
        }
        (self.images, self.names) = (images, names);
        Ok(events)
    }

    /// What has happened to volumes since the last look.
    pub fn look_at_volumes(&mut self, place: &Place) -> Result<Vec<Event>, Error> {
        let driver = || vec![("driver".to_owned(), "local".to_owned())];
        let now = crate::volume::existing(place)?.into_iter().map(|name| (name, driver())).collect();
        Ok(replaced("volume", &mut self.volumes, now))
    }

    /// What has happened to networks since the last look.
    pub fn look_at_networks(&mut self, place: &Place) -> Result<Vec<Event>, Error> {
        let now = network::list(place)?.into_iter().map(|network| {
            let driver = network.plugin().ok().and_then(|plugin| plugin.driver);
            let driver = driver.unwrap_or_else(|| "bridge".to_owned());
            (network.name.clone(), vec![("name".to_owned(), network.name), ("type".to_owned(), driver)])
        });
        let now = now.collect();
        Ok(replaced("network", &mut self.networks, now))
    }

    /// When those that there are were made. Images do not say when they came.
    pub fn past(&self, place: &Place) -> Vec<Event> {
        let made = |(kind, name, attributes, time): (&'static str, &String, &Vec<_>, Option<String>)| {
            Some(Event { time: Some(time?), ..Event::new(kind, "create", name, attributes.clone()) })
        };
        let volumes = self.volumes.iter().map(|(name, about)| {
            let created = crate::volume::inspect(place, name).ok();
            let created = created.and_then(|volume| volume["CreatedAt"].as_str().map(str::to_owned));
            ("volume", name, about, created)
        });
        let networks = self
            .networks
            .iter()
            .map(|(name, about)| ("network", name, about, clock::modified(&network::path(place, name))));
        volumes.chain(networks).filter_map(made).collect()
    }
}

/// Puts `now` in the place of what was known, and says what came and what went.
fn replaced(kind: &'static str, known: &mut Things, now: Things) -> Vec<Event> {
    let of = |action: &str, (name, about): (&String, &Vec<_>)| Event::new(kind, action, name, about.clone());
    let new = now.iter().filter(|(name, _)| !known.contains_key(*name)).map(|thing| of("create", thing));
    let gone = known.iter().filter(|(name, _)| !now.contains_key(*name)).map(|thing| of("destroy", thing));
    let events = new.chain(gone).collect();
    *known = now;
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_went() {
        let things =
            |names: &[&str]| names.iter().map(|&name| (name.to_owned(), Vec::new())).collect::<Things>();
        let mut known = things(&["a", "b"]);
        let events = replaced("volume", &mut known, things(&["b", "c"]));
        let words: Vec<String> =
            events.iter().map(|event| format!("{} {}", event.action, event.id)).collect();
        assert_eq!(words, ["create c", "destroy a"]);
        assert_eq!(known, things(&["b", "c"]));
    }
}
