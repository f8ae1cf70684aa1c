//! The texts of pages and mails, from one catalogue for each language (Project Fluent).

use std::{borrow::Cow, sync::LazyLock};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{env::Timestamp, language::Language};

type Catalogue = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Catalogue> = LazyLock::new(|| catalogue(Language::English));
static GERMAN: LazyLock<Catalogue> = LazyLock::new(|| catalogue(Language::German));

fn catalogue(language: Language) -> Catalogue {
    let mut bundle = FluentBundle::new_concurrent(vec![language.code().parse().unwrap_or_default()]);
    // Pages are written from left to right in every language, and the marks would be copied with a text.
    bundle.set_use_isolating(false);
    let (Ok(resource) | Err((resource, _))) = FluentResource::try_new(source(language).to_owned());
    bundle.add_resource_overriding(resource);
    bundle
}

const fn source(language: Language) -> &'static str {
    match language {
        Language::English => include_str!("../text/en.ftl"),
        Language::German => include_str!("../text/de.ftl"),
    }
}

fn of(language: Language) -> &'static Catalogue {
    match language {
        Language::English => &ENGLISH,
        Language::German => &GERMAN,
    }
}

/// The texts of one language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Text(Language);

impl Text {
    /// The texts of this language.
    #[must_use]
    pub const fn new(language: Language) -> Self {
        Self(language)
    }

    /// The language.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.0
    }

    /// A text of the catalogue.
    #[must_use]
    pub fn get(&self, id: &str) -> Cow<'static, str> {
        self.format(id, None)
    }

    /// A text of the catalogue with one variable.
    #[must_use]
    pub fn with<'a>(&self, id: &str, name: &'a str, value: impl Into<FluentValue<'a>>) -> String {
        let mut variables = FluentArgs::new();
        variables.set(name, value);
        self.format(id, Some(&variables)).into_owned()
    }

    /// A text of the catalogue with several variables, by name.
    #[must_use]
    pub fn fill(&self, id: &str, variables: &[(&str, &str)]) -> String {
        self.format(id, Some(&variables.iter().copied().collect())).into_owned()
    }

    /// Whether the catalogue has a text.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        of(self.0).has_message(id)
    }

    fn format(&self, id: &str, variables: Option<&FluentArgs<'_>>) -> Cow<'static, str> {
        let bundle = of(self.0);
        let Some(pattern) = bundle.get_message(id).and_then(|message| message.value()) else {
            tracing::error!(id, language = self.0.code(), "a text is missing");
            return Cow::Owned(id.to_owned());
        };
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, variables, &mut errors);
        if !errors.is_empty() {
            tracing::error!(id, language = self.0.code(), "a text lacks a variable");
        }
        Cow::Owned(text.into_owned())
    }

    /// A point in time, in UTC.
    #[must_use]
    pub fn time(&self, at: Timestamp) -> String {
        const ENGLISH: &[BorrowedFormatItem<'_>] =
            format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
        const GERMAN: &[BorrowedFormatItem<'_>] =
            format_description!("[day padding:none].[month padding:none].[year], [hour]:[minute] UTC");
        let format = match self.0 {
            Language::English => ENGLISH,
            Language::German => GERMAN,
        };
        let at = OffsetDateTime::from_unix_timestamp(at.secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        at.format(format).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogues_are_valid_and_have_the_same_texts() {
        let ids = |language: Language| {
            assert!(FluentResource::try_new(source(language).to_owned()).is_ok(), "{}", language.code());
            let names = source(language).lines().filter_map(|line| line.split_once(" =").map(|(id, _)| id));
            names.filter(|id| !id.starts_with([' ', '#', '.'])).collect::<Vec<_>>()
        };
        let (english, german) = (ids(Language::English), ids(Language::German));
        assert_eq!(english, german, "the same texts, in the same order");
        let mut once = english.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), english.len(), "each text once");
    }

    #[test]
    fn time_is_written_in_the_language() {
        let at = Timestamp::from_secs(1_795_995_600);
        assert_eq!(Text::new(Language::English).time(at), "29 November 2026, 23:40 UTC");
        assert_eq!(Text::new(Language::German).time(at), "29.11.2026, 23:40 UTC");
    }
}
