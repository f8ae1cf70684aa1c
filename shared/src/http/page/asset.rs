//! Stylesheet, script and icon. The path of each contains a hash of its content, so browsers may keep it for good.

use data_encoding::BASE64;

use crate::{
    domain::{AccentColor, Logo},
    id::TenantId,
};

/// A file that pages load.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    name: &'static str,
    extension: &'static str,
    hash: u64,
}

/// The stylesheet of all pages.
pub const STYLE: Asset = Asset::new("style", "css", include_bytes!("../../../assets/style.css"));
/// The script of all pages. It adds comfort; every page works without it.
pub const SCRIPT: Asset = Asset::new("page", "js", include_bytes!("../../../assets/page.js"));
/// The icon of all pages.
pub const ICON: Asset = Asset::new("icon", "svg", include_bytes!("../../../assets/icon.svg"));

impl Asset {
    // Only the hash is kept, so a function that does not serve the file does not contain it.
    const fn new(name: &'static str, extension: &'static str, content: &[u8]) -> Self {
        Self { name, extension, hash: fnv(content) }
    }

    /// The file name, with the hash.
    #[must_use]
    pub fn file(self) -> String {
        format!("{}-{:016x}.{}", self.name, self.hash, self.extension)
    }

    /// The path below which the file is served.
    #[must_use]
    pub fn path(self) -> String {
        format!("/assets/{}", self.file())
    }
}

/// The path of the stylesheet of an accent colour. It contains the colour, so browsers may keep the file for good.
pub(super) fn accent_path(accent: AccentColor) -> String {
    format!("/assets/accent-{}.css", accent.to_string().trim_start_matches('#'))
}

/// The stylesheet with this file name, which changes the colour of the stylesheet of all pages.
#[must_use]
pub fn accent_style(file: &str) -> Option<String> {
    let digits = file.strip_prefix("accent-")?.strip_suffix(".css")?;
    let accent = AccentColor::parse(&format!("#{digits}")).ok()?;
    let rule = |color: &str, text: &str| format!(":root {{ --accent: {color}; --accent-text: {text}; }}");
    let (light, dark) = (rule(&accent.on_light(), "#fff"), rule(&accent.on_dark(), "#0d1524"));
    Some(format!("{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n"))
}

/// The path of a tenant's logo. It changes with the logo, so browsers may keep the file for good.
#[must_use]
pub fn logo_path(tenant: &TenantId, digest: &str) -> String {
    format!("/assets/logo-{tenant}-{digest}.svg")
}

/// The tenant and the digest of the logo with this file name.
#[must_use]
pub fn logo_named(file: &str) -> Option<(TenantId, &str)> {
    let (tenant, digest) = file.strip_prefix("logo-")?.strip_suffix(".svg")?.rsplit_once('-')?;
    Some((TenantId::parse(tenant).ok()?, digest))
}

/// The file of a logo: SVG with the image in it, because a gateway that passes only text would break a PNG file.
#[must_use]
pub fn logo_file(logo: &Logo) -> String {
    let ((width, height), png) = (logo.pixels(), BASE64.encode(logo.png()));
    let size = format!("width=\"{width}\" height=\"{height}\"");
    let image = format!("<image {size} href=\"data:image/png;base64,{png}\"/>");
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {size} viewBox=\"0 0 {width} {height}\">{image}</svg>\n")
}

/// FNV-1a: it tells versions of our own files apart, and nothing depends on it being hard to forge.
const fn fnv(content: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < content.len() {
        hash = (hash ^ content[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
