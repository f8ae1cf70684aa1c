//! The languages of pages and mails, from one catalogue each (Project Fluent).

use std::{borrow::Cow, sync::LazyLock};

use axum::http::{HeaderMap, header};
use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use fluent_langneg::{NegotiationStrategy, negotiate_languages, parse_accepted_languages};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use unic_langid::LanguageIdentifier;

use super::cookies;
use crate::env::Timestamp;

/// A language that pages have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// English, for everyone who asks for a language that there is not.
    #[default]
    English,
    /// German.
    German,
}

type Catalogue = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Catalogue> = LazyLock::new(|| catalogue(Language::English));
static GERMAN: LazyLock<Catalogue> = LazyLock::new(|| catalogue(Language::German));

fn catalogue(language: Language) -> Catalogue {
    let mut bundle = FluentBundle::new_concurrent(vec![language.identifier()]);
    // Pages are written from left to right in every language, and the marks would be copied with a text.
    bundle.set_use_isolating(false);
    let (Ok(resource) | Err((resource, _))) = FluentResource::try_new(language.source().to_owned());
    bundle.add_resource_overriding(resource);
    bundle
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// The code of the language (BCP 47).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The name of the language, in the language.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// The language with this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::English => include_str!("../../../text/en.ftl"),
            Self::German => include_str!("../../../text/de.ftl"),
        }
    }

    fn identifier(self) -> LanguageIdentifier {
        self.code().parse().unwrap_or_default()
    }

    fn catalogue(self) -> &'static Catalogue {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }

    /// The language that the person chose, or the one that their browser prefers.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Self {
        if let Some(chosen) = cookies::language(headers).and_then(Self::parse) {
            return chosen;
        }
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok()).unwrap_or("");
        Self::accepted(accepted)
    }

    /// The best language for an `Accept-Language` header.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let (wanted, available) = (parse_accepted_languages(header), Self::ALL.map(Self::identifier));
        let best = negotiate_languages(&wanted, &available, None, NegotiationStrategy::Filtering);
        best.first().and_then(|found| Self::parse(found.language.as_str())).unwrap_or_default()
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

    /// Whether the catalogue has a text.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.catalogue().has_message(id)
    }

    fn format(&self, id: &str, variables: Option<&FluentArgs<'_>>) -> Cow<'static, str> {
        let bundle = self.0.catalogue();
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
    fn browser_gets_the_language_that_it_prefers() {
        for (header, language) in [
            ("de-DE,de;q=0.9,en;q=0.8", Language::German),
            ("en-US,en;q=0.9,de;q=0.5", Language::English),
            ("fr, de;q=0.5", Language::German),
            ("fr", Language::English),
            ("", Language::English),
            ("!!", Language::English),
        ] {
            assert_eq!(Language::accepted(header), language, "{header}");
        }
    }

    #[test]
    fn catalogues_are_valid_and_have_the_same_texts() {
        let ids = |language: Language| {
            assert!(FluentResource::try_new(language.source().to_owned()).is_ok(), "{}", language.code());
            let names = language.source().lines().filter_map(|line| line.split_once(" =").map(|(id, _)| id));
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
