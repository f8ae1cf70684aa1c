//! The welcome text in the terminal.

use std::{fmt::Write, path::Path};

use crate::{
    args::{Account, DEFAULT_DATA_DIR, SeedChoice},
    enrol,
    seed::SeedTenant,
    terminal,
};

/// What the welcome text shows about a running server.
pub struct Welcome<'a> {
    /// Address of the server.
    pub url: &'a str,
    /// Data directory; `None` for an ephemeral store.
    pub directory: Option<&'a Path>,
    /// Which users were created at the start: the `--seed` option, or its default.
    pub seed: &'a SeedChoice,
    /// The demo users in the store.
    pub demo: &'a [SeedTenant],
}

impl Welcome<'_> {
    /// The text for the terminal, printed when the server is ready.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("\nVestibule serves at {}   (Ctrl-C stops it)\n", self.url);
        let _ = match self.directory {
            Some(path) => writeln!(text, "Data: {} (delete it to start again)", path.display()),
            None => writeln!(text, "Data: not stored; deleted when the server stops"),
        };
        match self.seed {
            SeedChoice::File(path) => {
                let _ = writeln!(text, "Users: from {}", path.display());
            }
            _ if self.demo.is_empty() => self.describe_empty_store(&mut text),
            _ => {}
        }
        for tenant in self.demo {
            let _ = writeln!(text, "\nTenant {}: demo users and their initial passwords", tenant.id);
            for user in &tenant.users {
                let password = user.password.as_ref().map_or("", |password| password.expose());
                let _ = writeln!(text, "  {:<5} {:<18} {password}", user.username, user.display_name);
            }
        }
        if !self.demo.is_empty() {
            let _ = write!(
                text,
                "\nOpen {0}/login?tenant=acme in a browser and sign in as bob. Mails are at {0}/mails.\n\
                 \nOr try it in another terminal: sign in as bob with password and code.\n",
                self.url
            );
            for (what, command) in self.steps() {
                let _ = write!(text, "\n  # {what}\n  {command}\n");
            }
        }
        text.push('\n');
        text
    }

    /// How to create users in a store without demo users.
    fn describe_empty_store(&self, text: &mut String) {
        let Some(directory) = self.directory else {
            text.push_str("\nThe store has no users: --seed demo or --seed FILE adds some.\n");
            return;
        };
        let directory = directory.to_string_lossy();
        let init = ["init", "--data-dir", &directory, "--tenant", "acme", "--name", "Acme", "--username", "ann"];
        let init = terminal::command(&[&init[..], &["--display-name", "Ann"]].concat());
        let operator = terminal::command(&["operator", "--data-dir", &directory, "--username", "op"]);
        let _ = write!(
            text,
            "\nNo demo users. Stop the server, then create a tenant with its Administrator, or\nan operator:\n\
             \n  {init}\n  {operator}\n"
        );
    }

    /// Commands for a first sign-in: what each does, and the command to copy.
    fn steps(&self) -> Vec<(&'static str, String)> {
        let bob = Account { url: self.url.to_owned(), tenant: "acme".to_owned(), username: "bob".to_owned() };
        let code = terminal::command(&["totp", "code", "--secret", "-"]);
        let mut steps = vec![
            (
                "1. Enrol an authenticator app: scan the QR code, then type the app's code",
                enrol::command("enroll", &bob),
            ),
            ("2. No phone? This replaces the app: paste the key that 1 shows", code.clone()),
            ("3. Sign in with password and code", enrol::command("login", &bob)),
            ("4. The code for 3. Each code works once, so wait for the next one", code),
        ];
        if let Some(directory) = self.directory {
            let directory = directory.to_string_lossy();
            let named =
                if directory == DEFAULT_DATA_DIR { vec!["mail"] } else { vec!["mail", "--data-dir", &directory] };
            steps.push(("Show the mails that a deployment would have sent", terminal::command(&named)));
        }
        steps.push(("Check that the store answers", format!("curl -s {}/healthz", self.url)));
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README shows the commands that a server with default options prints.
    #[test]
    fn readme_shows_the_printed_commands() {
        let readme = include_str!("../../README.md");
        let (url, directory) = (crate::args::DEFAULT_URL, Some(Path::new(DEFAULT_DATA_DIR)));
        let welcome = Welcome { url, directory, seed: &SeedChoice::Demo, demo: &[] };
        let (sign_in, mail) = (&welcome.steps()[..4], &welcome.steps()[4].1);
        let shown: Vec<_> = readme.lines().filter(|line| line.starts_with("cargo run -q -p local -- ")).collect();
        assert_eq!(shown, sign_in.iter().map(|(_, command)| command).collect::<Vec<_>>());
        assert!(readme.contains(&format!("`{mail}`")));
    }

    #[test]
    fn path_is_quoted_in_commands() {
        let directory = Some(Path::new("it's <mine>"));
        let welcome = Welcome { url: "http://127.0.0.1:1", directory, seed: &SeedChoice::Demo, demo: &[] };
        let (_, mail) = &welcome.steps()[4];
        assert!(mail.ends_with(r"mail --data-dir 'it'\''s <mine>'"), "{mail}");
    }
}
