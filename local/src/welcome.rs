//! What a newcomer reads.

use std::{fmt::Write, path::Path};

use crate::seed::{DEMO, Seed};

/// The text that is printed when the server serves.
#[must_use]
pub fn text(url: &str, directory: Option<&Path>, demo: bool) -> String {
    let mut text = format!("\nVestibule serves at {url}   (Ctrl-C stops it)\n");
    let _ = match directory {
        Some(path) => writeln!(text, "Data: {} (delete it to begin anew)", path.display()),
        None => writeln!(text, "Data: nowhere, all is gone when it stops"),
    };
    let seed = if demo { Seed::parse("demo", DEMO.as_bytes()).ok() } else { None };
    let Some(seed) = seed else {
        text.push_str("\nNo demo people. `local init` makes a tenant, `local operator` an operator; both while the server is stopped.\n\n");
        return text;
    };
    for tenant in &seed.tenants {
        let _ = writeln!(text, "\nTenant {}", tenant.id);
        for user in &tenant.users {
            let password = user.password.as_ref().map_or("", |password| password.expose());
            let _ = writeln!(text, "  {:<5} {:<20} password: {password}", user.username, user.display_name);
        }
    }
    let _ = write!(
        text,
        r#"
Try it:
  # 1. Sign in: the password alone gives no session
  curl -s {url}/v1/login -H 'Content-Type: application/json' \
    -d '{{"tenant":"acme","username":"bob","password":"bob bakes 6 rye loaves"}}'

  # 2. Enrol ann with your authenticator app: a QR code in the terminal
  cargo run -p local -- enrol --url {url} --tenant acme --username ann
  #    no phone at hand? this plays the app:
  cargo run -p local -- totp code --secret 'THE KEY IT SHOWS'

  # 3. See what would have been mailed
  cargo run -p local -- mail

  # 4. Is it well?
  curl -s {url}/healthz

"#
    );
    text
}
