//! The rules of the source that no lint knows: layers, where unsafe code may be, how long files and functions may get, and
//! names that say nothing.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

mod source;

use std::collections::HashMap;

use source::{Source, words};

/// The rank of each module in the table of `src/lib.rs`: layer, place in its row. A module uses those of a lower rank.
fn ranks() -> HashMap<String, (usize, usize)> {
    let lib = std::fs::read_to_string("src/lib.rs").unwrap();
    let mut ranks = HashMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((layer, names)) = line.split_once(" | ") else {
            continue;
        };
        let Ok(layer) = layer.parse::<usize>() else { continue };
        for (place, name) in names.split('`').skip(1).step_by(2).enumerate() {
            ranks.insert(name.to_owned(), (layer, place));
        }
    }
    ranks
}

/// The modules that a piece of code names by `crate::a` or `crate::{a, b::c}`.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(heads(group)),
            None => found.extend(words(rest).next().map(str::to_owned)),
        }
    }
    found
}

/// The first word of each member of a group that was opened just before.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut heads) = (1, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            _ if fresh && c.is_alphanumeric() => {
                heads.extend(words(&group[at..]).next().map(str::to_owned));
                fresh = false;
            }
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[test]
fn modules_import_only_from_below() {
    let ranks = ranks();
    let mut wrong = Vec::new();
    for file in Source::all(&["src"]) {
        let Some(module) = file.module() else { continue };
        let Some(own) = ranks.get(&module) else {
            wrong.push(format!(
                "{}: `{module}` is missing in the table of src/lib.rs",
                file.path
            ));
            continue;
        };
        for used in uses(&file.code) {
            let allowed = used == module || ranks.get(&used).is_none_or(|rank| rank < own);
            if !allowed {
                wrong.push(format!("{}: `{module}` must not use `{used}`", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_one_folder() {
    let wrong: Vec<String> = Source::all(&["src", "tests", "integration"])
        .into_iter()
        .filter(|file| !file.path.starts_with("src/sys/"))
        .filter(|file| words(&file.code).any(|word| word == "unsafe"))
        .map(|file| file.path)
        .collect();
    assert!(wrong.is_empty(), "unsafe outside of src/sys: {wrong:?}");
}

#[test]
fn files_and_functions_are_short() {
    const FILE: usize = 400;
    const FUNCTION: usize = 60;
    let mut wrong = Vec::new();
    for file in Source::all(&["src", "tests", "integration"]) {
        let lines = file.lines_without_tests();
        if lines > FILE {
            wrong.push(format!("{}: {lines} lines of code, {FILE} are enough", file.path));
        }
        for (name, lines) in file.functions() {
            if lines > FUNCTION {
                wrong.push(format!(
                    "{}: {name} has {lines} lines, {FUNCTION} are enough",
                    file.path
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn names_say_something() {
    const EMPTY: [&str; 7] = ["Manager", "Builder", "Helper", "Helpers", "Util", "Utils", "Impl"];
    // Callers know it by this name: --cgroup-manager.
    const FIXED: [&str; 2] = ["Manager", "CgroupManager"];
    let mut wrong = Vec::new();
    for file in Source::all(&["src", "tests", "integration"]) {
        for (kind, name) in file.definitions() {
            let empty = match kind {
                "fn" => name.starts_with("get_"),
                "mod" => EMPTY.iter().any(|word| name.eq_ignore_ascii_case(word)),
                _ => !FIXED.contains(&name.as_str()) && EMPTY.iter().any(|word| name.ends_with(word)),
            };
            if empty {
                wrong.push(format!("{}: {kind} {name}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn these_rules_can_fail() {
    assert_eq!(uses("use crate::a::b; x(crate::c::d)"), ["a", "c"]);
    assert_eq!(
        uses("use crate::{a, b::{c, d}, e::f as g, Error};\nh"),
        ["a", "b", "e", "Error"]
    );
    assert_eq!(ranks()["error"], (0, 0));
    assert!(ranks()["config"] < ranks()["plan"] && ranks()["container"] < ranks()["cli"]);
    let file = Source::parse(
        "src/x/y.rs",
        "fn long() {\n    a;\n    b;\n}\nstruct OddManager;\n// unsafe\nlet s = \"unsafe\";",
    );
    assert_eq!(file.module().unwrap(), "x");
    assert_eq!(file.functions(), [("long".to_owned(), 4)]);
    assert_eq!(
        file.definitions(),
        [("fn", "long".to_owned()), ("struct", "OddManager".to_owned())]
    );
    assert!(!words(&file.code).any(|word| word == "unsafe"));
}
