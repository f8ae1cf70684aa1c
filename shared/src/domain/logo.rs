//! The logo of a tenant: a small PNG image.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The largest image. In Base64 it fits into a request.
const MAX_BYTES: usize = 10 * 1024;
/// The largest width and height, in pixels.
const MAX_PIXELS: u32 = 1024;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A PNG image of at most 10 KiB and 1,024 by 1,024 pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logo {
    png: Vec<u8>,
    width: u32,
    height: u32,
}

/// A chunk of a PNG image (PNG 5.3), and what is after it. Its checksum is not compared: a browser does it.
fn chunk(png: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = png.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_at_checked(4)?;
    let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((kind, content, rest.get(4..)?))
}

impl Logo {
    /// Reads an image. `None` if it is too large, or is not one PNG image and nothing else.
    #[must_use]
    pub fn parse(png: Vec<u8>) -> Option<Self> {
        let mut rest = png.strip_prefix(SIGNATURE).filter(|_| png.len() <= MAX_BYTES)?;
        let (b"IHDR", header, after) = chunk(rest)? else { return None };
        let [width, height] = [0, 4].map(|at| header.get(at..at + 4).and_then(|four| four.try_into().ok()));
        let [width, height] = [u32::from_be_bytes(width?), u32::from_be_bytes(height?)];
        let fits = |pixels| (1..=MAX_PIXELS).contains(&pixels);
        if header.len() != 13 || !fits(width) || !fits(height) {
            return None;
        }
        rest = after;
        loop {
            let (kind, _, after) = chunk(rest)?;
            match (kind, after) {
                (b"IEND", []) => return Some(Self { png, width, height }),
                (b"IEND", _) => return None,
                _ => rest = after,
            }
        }
    }

    /// The image.
    #[must_use]
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// Width and height, in pixels.
    #[must_use]
    pub fn pixels(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Tells images apart: 16 hexadecimal digits of the SHA-256 of the image.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(&self.png);
        HEXLOWER.encode(digest.get(..8).unwrap_or_default())
    }
}

/// An image with this content, for tests.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn image(width: u32, height: u32, content: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    [SIGNATURE, &part(b"IHDR", &header), &part(b"IDAT", content), &part(b"IEND", &[])].concat()
}

#[cfg(any(test, feature = "testing"))]
fn part(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or_default().to_be_bytes();
    [&length[..], kind, content, &[0; 4]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_of_allowed_size_is_a_logo() {
        let logo = Logo::parse(image(1024, 1, &[1, 2, 3])).unwrap();
        assert_eq!((logo.pixels(), logo.png()), ((1024, 1), &*image(1024, 1, &[1, 2, 3])));
        let frame = image(1, 1, &[]).len();
        assert!(Logo::parse(image(1, 1, &vec![7; MAX_BYTES - frame])).is_some());
        assert!(Logo::parse(image(1, 1, &vec![7; MAX_BYTES - frame + 1])).is_none());
        let other = Logo::parse(image(1024, 1, &[1, 2, 4])).unwrap();
        assert!(logo.digest().len() == 16 && logo.digest() != other.digest());
    }

    #[test]
    fn everything_else_is_refused() {
        let good = image(10, 20, &[1]);
        let mut long_header = [SIGNATURE, &part(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0])].concat();
        long_header.extend(part(b"IEND", &[]));
        for wrong in [
            Vec::new(),
            b"<svg onload=alert(1)>".to_vec(),
            b"GIF89a".to_vec(),
            SIGNATURE.to_vec(),
            good[..good.len() - 1].to_vec(),
            good[..good.len() - 12].to_vec(),
            [&good[..], b"<script>"].concat(),
            [SIGNATURE, &good[33..]].concat(),
            long_header,
            image(0, 1, &[]),
            image(1, 0, &[]),
            image(1025, 1, &[]),
            image(1, 1025, &[]),
        ] {
            assert_eq!(Logo::parse(wrong.clone()), None, "{wrong:?}");
        }
    }
}
