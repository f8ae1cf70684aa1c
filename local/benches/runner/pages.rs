//! The time of pages against the time of the requests of the API that do the same work.

use std::time::Instant;

use super::{Table, http::Connection, millis, process::Server, sorted};

/// A page, and the request whose answer it shows.
const PAIRS: [(&str, &str); 4] = [
    ("/settings/security", "/v1/mfa"),
    ("/settings/sessions", "/v1/sessions"),
    ("/admin/users", "/v1/admin/users?limit=50"),
    ("/admin/audit", "/v1/admin/audit?limit=50"),
];

/// Requests for each page, and as many of the API, in turns.
const TIMES: usize = 2_000;

/// Adds a row for each page. `session`: of an Administrator.
pub fn measure(server: &Server, session: &str, table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    for (page, api) in PAIRS {
        let (mut pages, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let started_at = Instant::now();
            assert_eq!(connection.page(page, session).status, 200, "{page}");
            pages.push(millis(started_at.elapsed()));
            let started_at = Instant::now();
            assert_eq!(connection.get(api, session).status, 200, "{api}");
            answers.push(millis(started_at.elapsed()));
        }
        let (page_time, answer) = (median(&pages), median(&answers));
        let result = format!("{:.2} ({page_time:.2} ms, {answer:.2} ms)", page_time / answer);
        table.row(&format!("Page `{page}` ÷ `GET {api}`"), result, "≤ 2");
    }
}

fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}
