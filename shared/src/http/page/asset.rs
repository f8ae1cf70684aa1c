//! Stylesheet, script and icon. The path of each contains a hash of its content, so browsers may keep it for good.

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

/// FNV-1a: it tells versions of our own files apart, and nothing depends on it being hard to forge.
const fn fnv(content: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < content.len() {
        hash = (hash ^ content[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
