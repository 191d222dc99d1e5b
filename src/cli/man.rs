//! `man`: manual pages, one for the program and one for each command.

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man as Page;

use super::global::Global;
use super::{Result, Verb, command};
use crate::error::ResultExt;

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// The folder for the pages
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Verb for Man {
    fn run(self, global: &Global) -> Result<u8> {
        let name = global.program.name();
        // There is no page about `help`.
        let all = command::all(name).disable_help_subcommand(true);
        self.write(name, &all)?;
        for verb in all.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let title = format!("{name}-{}", verb.get_name());
            self.write(&title, verb)?;
            for part in verb.get_subcommands() {
                self.write(&format!("{title}-{}", part.get_name()), part)?;
            }
        }
        Ok(0)
    }
}

impl Man {
    fn write(&self, title: &str, command: &Command) -> Result<()> {
        let path = self.dir.join(format!("{title}.8"));
        let page = Page::new(command.clone().display_name(title)).title(title).section("8");
        let mut text = Vec::new();
        page.render(&mut text).call(|| format!("render {path:?}"))?;
        std::fs::write(&path, text).call(|| format!("write {path:?}"))
    }
}
