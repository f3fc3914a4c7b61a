//! Events: what happened to a campaign or a run, for `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::labels::MANAGER;

/// Most bytes of a note that the API takes.
const MOST_NOTE_BYTES: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Whether somebody should look.
    pub is_warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// What the operator was doing, and to what: equal reasons and actions within minutes are shown as one event.
    pub action: String,
    /// A sentence for people.
    pub note: String,
}

impl Happening {
    /// Something that is as it should be.
    #[must_use]
    pub fn normal(reason: &'static str, action: impl Into<String>, note: impl Into<String>) -> Self {
        Self { is_warning: false, reason, action: action.into(), note: note.into() }
    }

    /// Something that somebody should look at.
    #[must_use]
    pub fn warning(reason: &'static str, action: impl Into<String>, note: impl Into<String>) -> Self {
        Self { is_warning: true, reason, action: action.into(), note: note.into() }
    }
}

/// Publishes events as the operator.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// A publisher with this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
        Self(Recorder::new(client, reporter))
    }

    /// Publishes an event. One that cannot be published is lost: what it tells also stands in a condition.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, happening: &Happening) {
        let Happening { is_warning, reason, action, note } = happening;
        let event = Event {
            type_: if *is_warning { EventType::Warning } else { EventType::Normal },
            reason: (*reason).to_owned(),
            note: Some(cut(note)),
            action: action.clone(),
            secondary: None,
        };
        let reference: ObjectReference = object.object_ref(&());
        if let Err(error) = self.0.publish(&event, &reference).await {
            tracing::warn!(%error, reason, note, "event not published");
        }
    }
}

/// A note within the API's limit, cut at a character.
fn cut(note: &str) -> String {
    if note.len() <= MOST_NOTE_BYTES {
        return note.to_owned();
    }
    let end = (0..=MOST_NOTE_BYTES - 4).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    format!("{} ...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_and_not_lost() {
        let note = cut(&"ä".repeat(1000));

        assert!(note.len() <= MOST_NOTE_BYTES && note.ends_with("ä ..."), "{}", note.len());
        assert_eq!(cut("short"), "short");
    }
}
