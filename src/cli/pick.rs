//! Which containers a command is meant for: one by its name, or with `--regex` all that match.

use regex_lite::Regex;

use super::global::Global;
use super::{Result, usage};
use crate::container::{Id, Store};
use crate::error::{Error, Kind};
use crate::log;

/// The store and the container `id`.
///
/// # Errors
/// [`Kind::NotFound`] if there is no store, hence no container.
pub fn one(global: &Global, id: &str) -> Result<(Store, Id)> {
    let id: Id = id.parse()?;
    match Store::open(&global.root)? {
        Some(store) => Ok((store, id)),
        None => Err(Error::new(Kind::NotFound { id: id.to_string() })),
    }
}

/// Calls `act` on the container named `name`, or if `regex` is set on each whose id matches `name`.
///
/// # Errors
/// With `regex` no failure keeps the others from their turn; the first one is answered, further ones are warnings.
pub fn each(global: &Global, name: &str, regex: bool, act: impl Fn(&Store, &Id) -> Result<()>) -> Result<()> {
    if !regex {
        let (store, id) = one(global, name)?;
        return act(&store, &id);
    }
    let pattern = Regex::new(name).map_err(|e| usage(format!("{name:?} is not a regular expression: {e}")))?;
    let Some(store) = Store::open(&global.root)? else {
        return Ok(());
    };
    let mut first = Ok(());
    for id in store.ids()?.iter().filter(|id| pattern.is_match(id.as_str())) {
        if let Err(e) = act(&store, id) {
            let e = e.wrap(format!("container {:?}", id.as_str()));
            match first {
                Ok(()) => first = Err(e),
                Err(_) => log::warn(e.to_string()),
            }
        }
    }
    first
}
