//! The accent colour of a tenant's pages, with enough contrast on every background (WCAG 2.2, 1.4.3).

use std::fmt;

/// The least contrast between a text and its background.
const CONTRAST: f64 = 4.5;
const WHITE: Rgb = Rgb([255; 3]);
const BLACK: Rgb = Rgb([0; 3]);
/// The backgrounds of the stylesheet, on which links have the accent colour. A test compares them with the file.
const LIGHT: [Rgb; 4] = [WHITE, Rgb([0xf4, 0xf6, 0xf9]), Rgb([0xee, 0xf8, 0xf1]), Rgb([0xfd, 0xf1, 0xf0])];
const DARK: [Rgb; 4] =
    [Rgb([0x1b, 0x21, 0x2b]), Rgb([0x12, 0x16, 0x1d]), Rgb([0x17, 0x30, 0x1f]), Rgb([0x3a, 0x1f, 0x1e])];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rgb([u8; 3]);

/// A colour on which white text can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccentColor(Rgb);

/// Why a text is not an accent colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InvalidAccent {
    /// It is not of the form `#rrggbb`.
    Form,
    /// White text on it has only this contrast.
    Contrast(f64),
}

impl Rgb {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        let channel = |n: usize| u8::from_str_radix(digits.get(n..n + 2)?, 16).ok();
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if hexadecimal { Some(Self([channel(0)?, channel(2)?, channel(4)?])) } else { None }
    }

    /// The relative luminance of WCAG 2.2.
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// The contrast ratio of WCAG 2.2, from 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance() + 0.05, other.luminance() + 0.05);
        one.max(two) / one.min(two)
    }

    /// Mixes the colour towards `target` in 16 steps, and returns the first mix that can be read on these backgrounds.
    fn readable_on(self, backgrounds: &[Self], target: Self) -> Self {
        let mixed = |part: u16| {
            let channel = |n: usize| (u16::from(self.0[n]) * (16 - part) + u16::from(target.0[n]) * part) / 16;
            Self([0, 1, 2].map(|n| u8::try_from(channel(n)).unwrap_or(u8::MAX)))
        };
        let is_readable = |color: &Self| backgrounds.iter().all(|background| color.contrast(*background) >= CONTRAST);
        (0..=16).map(mixed).find(is_readable).unwrap_or(target)
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl fmt::Display for AccentColor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AccentColor {
    /// Reads `#rrggbb`.
    ///
    /// # Errors
    /// [`InvalidAccent::Form`]: the text has another form.
    /// [`InvalidAccent::Contrast`]: white text on the colour has a contrast below 4.5.
    pub fn parse(text: &str) -> Result<Self, InvalidAccent> {
        let color = Rgb::parse(text).ok_or(InvalidAccent::Form)?;
        let contrast = color.contrast(WHITE);
        if contrast < CONTRAST { Err(InvalidAccent::Contrast(contrast)) } else { Ok(Self(color)) }
    }

    /// Reads a stored colour. It was checked when it was set, and its contrast is not checked again.
    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        Rgb::parse(text).map(Self)
    }

    /// The colour of links and buttons on light pages, as CSS has it. Usually it is the colour itself.
    #[must_use]
    pub fn on_light(self) -> String {
        self.0.readable_on(&LIGHT, BLACK).to_string()
    }

    /// The colour of links and buttons on dark pages: a lighter one.
    #[must_use]
    pub fn on_dark(self) -> String {
        self.0.readable_on(&DARK, WHITE).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((BLACK.contrast(WHITE) - 21.0).abs() < 1e-9 && (WHITE.contrast(WHITE) - 1.0).abs() < 1e-9);
        // Known values of the contrast to white.
        for (text, contrast) in [("#767676", 4.54), ("#777777", 4.48), ("#ff0000", 4.0), ("#0000ff", 8.59)] {
            let found = Rgb::parse(text).unwrap().contrast(WHITE);
            assert!((found - contrast).abs() < 0.005, "{text}: {found}");
        }
    }

    #[test]
    fn accent_needs_its_form_and_enough_contrast() {
        assert_eq!(AccentColor::parse("#1D4fbf").unwrap().to_string(), "#1d4fbf");
        for text in ["", "#", "1d4fbf", "#1d4fb", "#1d4fbff", "#1d4fbg", "#+d4fbf", "#é4fbf", "red", " #1d4fbf"] {
            assert_eq!(AccentColor::parse(text), Err(InvalidAccent::Form), "{text}");
        }
        assert!(AccentColor::parse("#767676").is_ok());
        let contrast = |text| match AccentColor::parse(text) {
            Err(InvalidAccent::Contrast(contrast)) => format!("{contrast:.1}"),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(
            (contrast("#777777"), contrast("#ffffff"), contrast("#ffff00")),
            ("4.5".into(), "1.0".into(), "1.1".into())
        );
    }

    #[test]
    fn accent_can_be_read_on_every_background() {
        for text in ["#000000", "#767676", "#1d4fbf", "#0000ff", "#a00000", "#005a00", "#7a4a00", "#8a008a"] {
            let accent = AccentColor::parse(text).unwrap();
            for (color, backgrounds) in [(accent.on_light(), LIGHT), (accent.on_dark(), DARK)] {
                let color = Rgb::parse(&color).unwrap();
                assert!(
                    backgrounds.iter().all(|background| color.contrast(*background) >= CONTRAST),
                    "{text}: {color}"
                );
            }
        }
        assert_eq!(AccentColor::parse("#1d4fbf").unwrap().on_light(), "#1d4fbf");
    }

    #[test]
    fn backgrounds_are_those_of_the_stylesheet() {
        let style = include_str!("../../assets/style.css");
        let (light, dark) = style.split_once("@media (prefers-color-scheme: dark)").unwrap();
        for (part, backgrounds) in [(light, LIGHT), (dark, DARK)] {
            let names = ["--card", "--page", "--good-page", "--danger-page"];
            for (name, background) in names.into_iter().zip(backgrounds) {
                let value = part.split_once(&format!("{name}: ")).unwrap().1.split_once(';').unwrap().0;
                let value = if value == "#fff" { "#ffffff" } else { value };
                assert_eq!(Rgb::parse(value), Some(background), "{name}");
            }
        }
    }
}
