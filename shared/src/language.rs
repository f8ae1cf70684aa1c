//! The languages of pages and mails.

use serde::{Deserialize, Serialize};

/// A language that pages and mails have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English, also for a person who asks for another language.
    #[default]
    #[serde(rename = "en")]
    English,
    /// German.
    #[serde(rename = "de")]
    German,
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

    /// The language that an `Accept-Language` header prefers (RFC 9110, 12.5.4). English if it names neither.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let quality = |parameters: &str| {
            let quality = parameters.split(';').find_map(|one| one.trim().strip_prefix("q="));
            quality.map_or(Some(1.0), |q| q.trim().parse::<f32>().ok()).filter(|q| *q <= 1.0)
        };
        let mut best = (0.0, Self::English);
        for range in header.split(',') {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let language = match tag.trim().split('-').next().map(str::to_ascii_lowercase).as_deref() {
                Some("en" | "*") => Self::English,
                Some("de") => Self::German,
                _ => continue,
            };
            if let Some(quality) = quality(parameters).filter(|quality| *quality > best.0) {
                best = (quality, language);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_language_is_english_or_german() {
        for header in
            ["", "en", "en-GB,de;q=0.9", "fr", "*", "de;q=0", "de;q=x", "de;q=5", "de;q=0.5,en;q=0.6", "fr,en;q=0.1"]
        {
            assert_eq!(Language::accepted(header), Language::English, "{header}");
        }
        for header in ["de", "de-AT", "DE", "de,en", "en;q=0.5, de;q=0.8", "fr, de;q=0.3", "en;q=0,de;q=0.1"] {
            assert_eq!(Language::accepted(header), Language::German, "{header}");
        }
    }

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
}
