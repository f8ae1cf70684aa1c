//! What a newcomer reads: in the terminal, and at `/` in a browser.

use std::{fmt::Write, path::Path};

use axum::response::Html;

use crate::{
    args::{Account, OWN_DIRECTORY, SeedChoice},
    enrol,
    idp::page,
    seed::SeedTenant,
    terminal,
};

/// The server as its first reader finds it.
pub struct Welcome<'a> {
    /// Where it listens.
    pub url: &'a str,
    /// Where the store is kept, if it is kept.
    pub directory: Option<&'a Path>,
    /// Who was asked for.
    pub seed: &'a SeedChoice,
    /// The demo people whom the store holds.
    pub demo: &'a [SeedTenant],
}

impl Welcome<'_> {
    /// The text that is printed when the server serves.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("\nVestibule serves at {}   (Ctrl-C stops it)\n", self.url);
        let _ = match self.directory {
            Some(path) => writeln!(text, "Data: {} (delete it to begin anew)", path.display()),
            None => writeln!(text, "Data: nowhere, all is gone when it stops"),
        };
        match self.seed {
            SeedChoice::File(path) => {
                let _ = writeln!(text, "People: those of {}", path.display());
            }
            _ if self.demo.is_empty() => self.nobody(&mut text),
            _ => {}
        }
        for tenant in self.demo {
            let _ = writeln!(text, "\nTenant {}: its demo people, with the passwords that they began with", tenant.id);
            for user in &tenant.users {
                let password = user.password.as_ref().map_or("", |password| password.expose());
                let _ = writeln!(text, "  {:<5} {:<18} {password}", user.username, user.display_name);
            }
        }
        if !self.demo.is_empty() {
            text.push_str("\nTry it in another terminal: sign in as bob with password and code.\n");
            for (what, command) in self.steps() {
                let _ = write!(text, "\n  # {what}\n  {command}\n");
            }
        }
        text.push('\n');
        text
    }

    fn nobody(&self, text: &mut String) {
        let Some(directory) = self.directory else {
            text.push_str("\nNobody is there: --seed demo or --seed FILE adds people.\n");
            return;
        };
        let directory = directory.to_string_lossy();
        let init = ["init", "--data-dir", &directory, "--tenant", "acme", "--name", "Acme", "--username", "ann"];
        let init = terminal::command(&[&init[..], &["--display-name", "Ann"]].concat());
        let operator = terminal::command(&["operator", "--data-dir", &directory, "--username", "op"]);
        let _ = write!(
            text,
            "\nNo demo people. While the server is stopped, this creates a tenant with its\nAdministrator, or an operator:\n\
             \n  {init}\n  {operator}\n"
        );
    }

    /// A first sign-in, and what is good to know then: what each command does, and the command, which works as it is.
    fn steps(&self) -> Vec<(&'static str, String)> {
        let bob = Account { url: self.url.to_owned(), tenant: "acme".to_owned(), username: "bob".to_owned() };
        let code = terminal::command(&["totp", "code", "--secret", "-"]);
        let mut steps = vec![
            (
                "1. Enrol an authenticator: scan the QR code, and type the code of the app",
                enrol::command("enrol", &bob),
            ),
            ("2. No phone at hand? This plays the app: paste the key that 1 shows", code.clone()),
            ("3. Sign in with password and code", enrol::command("login", &bob)),
            ("4. The code for that: each code works once, so wait for the next one", code),
        ];
        if let Some(directory) = self.directory {
            let directory = directory.to_string_lossy();
            let named = if directory == OWN_DIRECTORY { vec!["mail"] } else { vec!["mail", "--data-dir", &directory] };
            steps.push(("See what would have been mailed", terminal::command(&named)));
        }
        steps.push(("Does the store answer?", format!("curl -s {}/healthz", self.url)));
        steps
    }

    /// The page at `/`. It names nobody's password: those are in the terminal.
    pub fn page(&self) -> Html<String> {
        page::page("Vestibule", false, |html| {
            page::text(
                html,
                "p",
                "This is Vestibule, a multi-tenant sign-in service with multi-factor authentication, run on this machine for \
                 development. It has an HTTP API below /v1, which openapi.json in the source describes, and no pages for \
                 signing in yet.",
            );
            page::text(html, "h2", "What to do next");
            if self.demo.is_empty() {
                page::text(html, "p", "The terminal in which the server runs shows how to create people.");
                return;
            }
            page::text(
                html,
                "p",
                "Sign in as bob with password and code, in another terminal. The terminal in which the server runs shows the \
                 passwords.",
            );
            for (what, command) in self.steps() {
                page::text(html, "h3", what);
                page::text(html, "pre", &command);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of the README are those that a server prints that was started as the README says.
    #[test]
    fn the_readme_shows_the_commands_that_are_printed() {
        let readme = include_str!("../../README.md");
        let (url, directory) = (crate::args::OWN_URL, Some(Path::new(OWN_DIRECTORY)));
        let welcome = Welcome { url, directory, seed: &SeedChoice::Demo, demo: &[] };
        let (sign_in, mail) = (&welcome.steps()[..4], &welcome.steps()[4].1);
        let shown: Vec<_> = readme.lines().filter(|line| line.starts_with("cargo run -q -p local -- ")).collect();
        assert_eq!(shown, sign_in.iter().map(|(_, command)| command).collect::<Vec<_>>());
        assert!(readme.contains(&format!("`{mail}`")));
    }

    #[test]
    fn a_path_is_quoted_in_commands_and_escaped_in_the_page() {
        let directory = Some(Path::new("it's <mine>"));
        let welcome = Welcome { url: "http://127.0.0.1:1", directory, seed: &SeedChoice::Demo, demo: &[] };
        let (_, mail) = &welcome.steps()[4];
        assert!(mail.ends_with(r"mail --data-dir 'it'\''s <mine>'"), "{mail}");
        let seed = crate::seed::Seed::parse("demo", crate::seed::DEMO.as_bytes()).unwrap();
        let Html(page) = Welcome { demo: &seed.tenants, ..welcome }.page();
        assert!(page.contains("&lt;mine") && !page.contains("<mine>") && !page.contains("blue ferns"), "{page}");
    }
}
