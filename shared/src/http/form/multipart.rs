//! Reads `multipart/form-data` (RFC 7578), as browsers send a form with a file. The whole body is in memory, because it is
//! small.

use data_encoding::BASE64;

/// The fields of a body, as pairs of name and value. A file is a value too; its file name and its type are ignored. The value
/// of a field whose name ends in `[base64]` need not be text: it is returned as Base64. `None` if the body is not of this form.
pub(super) fn fields(boundary: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(delimiter.trim_start().as_bytes())?;
    let mut fields = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let (part, after) = split_once(part, delimiter.as_bytes())?;
        fields.push(field(part)?);
        rest = after;
    }
    matches!(rest, b"--" | b"--\r\n").then_some(fields)
}

/// As [`str::split_once`].
fn split_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((bytes.get(..at)?, bytes.get(at + separator.len()..)?))
}

/// The boundary that a content type names: 1 to 70 characters (RFC 2046).
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameter) = content_type.split_once(';')?;
    let boundary = parameter.trim().strip_prefix("boundary=")?.trim_matches('"');
    let fits = (1..=70).contains(&boundary.len()) && boundary.chars().all(|c| c.is_ascii_graphic() && c != ';');
    (kind.trim().eq_ignore_ascii_case("multipart/form-data") && fits).then_some(boundary)
}

/// One part: its headers, an empty line, and the value.
fn field(part: &[u8]) -> Option<(String, String)> {
    let (headers, value) = split_once(part, b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(headers);
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value.trim())
    })?;
    // Browsers send the name first, and write a quote in a name as %22.
    let (name, _) = disposition.strip_prefix("form-data; name=\"")?.split_once('"')?;
    if let Some(name) = name.strip_suffix("[base64]") {
        return Some((name.to_owned(), BASE64.encode(value)));
    }
    let value = String::from_utf8_lossy(value);
    // Some programs begin a file of text with this mark.
    Some((name.to_owned(), value.strip_prefix('\u{feff}').unwrap_or(&value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Vec<(String, String)>> {
        fields("x1", body.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn fields_and_files_are_read() {
        let body = "--x1\nContent-Disposition: form-data; name=\"reason\"\n\nMove\nto the new portal\n\
            --x1\nContent-Disposition: form-data; name=\"csv\"; filename=\"a; name=b.csv\"\nContent-Type: text/csv\n\n\
            \u{feff}id\nu-carl\n\n--x1\ncontent-disposition: form-data; name=\"none\"; filename=\"\"\n\n\n--x1--\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read(body).unwrap(),
            [pair("reason", "Move\r\nto the new portal"), pair("csv", "id\r\nu-carl\r\n"), pair("none", "")]
        );
        assert_eq!(read("--x1--"), Some(Vec::new()));
    }

    #[test]
    fn field_that_is_not_text_is_read_as_base64() {
        let mut body =
            b"--x1\r\nContent-Disposition: form-data; name=\"logo[base64]\"; filename=\"a.png\"\r\n\r\n".to_vec();
        body.extend([0x89, b'P', 0, b'\r', b'\n', b'-', b'-', 0xff]);
        body.extend(b"\r\n--x1--");
        assert_eq!(fields("x1", &body), Some(vec![("logo".to_owned(), "iVAADQotLf8=".to_owned())]));
    }

    #[test]
    fn other_bodies_are_refused() {
        let part = "--x1\nContent-Disposition: form-data; name=\"a\"\n\n1\n--x1";
        for body in [
            "",
            "--x1",
            "--x2--",
            part,
            &format!("{part}-"),
            &format!("{part}--\nmore"),
            &format!("before\n{part}--"),
            "--x1\nContent-Disposition: form-data; name=\"a\"\n1\n--x1--",
            "--x1\nContent-Disposition: form-data; name=\"a\n\n1\n--x1--",
            "--x1\nContent-Disposition: attachment; name=\"a\"\n\n1\n--x1--",
            "--x1\nContent-Type: text/plain\n\n1\n--x1--",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        assert!(read(&format!("{part}--")).is_some());
    }

    #[test]
    fn boundary_is_read_from_the_content_type() {
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        for (content_type, expected) in [
            ("multipart/form-data; boundary=----WebKitFormBoundaryA1", Some("----WebKitFormBoundaryA1")),
            ("Multipart/Form-Data;boundary=\"x\"", Some("x")),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=a b", None),
            ("multipart/form-data; boundary=x;charset=utf-8", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=x", None),
            ("application/x-www-form-urlencoded; boundary=x", None),
            (&long, None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }
}
