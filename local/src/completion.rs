//! `completion` and `man`: made from the definition of the command line.

use std::{fs, path::Path};

use clap_complete::{generate, shells};
use clap_mangen::Man;

use crate::{
    Failure,
    args::{self, Shell},
    terminal::print,
};

/// Prints the completions of a shell for the program with this name.
///
/// # Errors
/// Standard output is closed.
pub fn completions(program: &'static str, shell: Shell) -> Result<(), Failure> {
    let (mut definition, mut script) = (args::definition(program), Vec::new());
    match shell {
        Shell::Bash => generate(shells::Bash, &mut definition, program, &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut definition, program, &mut script),
        Shell::Fish => generate(shells::Fish, &mut definition, program, &mut script),
    }
    print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes the pages of all commands into a directory.
///
/// # Errors
/// The directory cannot be written, or standard output is closed.
pub fn manual(program: &'static str, directory: Option<&Path>) -> Result<(), Failure> {
    let definition = args::definition(program);
    if let Some(directory) = directory {
        let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(definition, directory));
        return written.map_err(|error| format!("cannot write into {}: {error}", directory.display()).into());
    }
    let mut page = Vec::new();
    Man::new(definition).render(&mut page)?;
    print(&String::from_utf8_lossy(&page))
}
