//! What a container runs: the axis along which lifecycle cases are repeated.

use super::bundle::Bundle;

/// Which kind of program a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One-liners for busybox's shell.
    Native,
}

/// What a payload does; each kind has its own program for it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Ends at once with this code.
    Exit(u8),
    /// Says `ready` and then sleeps for ever. The signals TERM and INT end it.
    Sleep,
    /// Says `ready` and then sleeps for ever, deaf to every signal that can be ignored.
    SleepDeaf,
    /// Prints these words and a newline.
    Print(&'static str),
    /// Prints to stderr.
    Complain(&'static str),
    /// Copies stdin to stdout.
    Copy,
    /// Prints the value of an environment variable and a newline.
    Env(&'static str),
}

impl Payload {
    /// A bundle whose container does `act`.
    pub fn bundle(self, act: &Act) -> Bundle {
        match self {
            Payload::Native => Bundle::busybox().sh(&native(act)),
        }
    }

    /// Gives the bundle's container something else to do.
    pub fn then(self, bundle: Bundle, act: &Act) -> Bundle {
        match self {
            Payload::Native => bundle.sh(&native(act)),
        }
    }
}

fn native(act: &Act) -> String {
    match act {
        Act::Exit(code) => format!("exit {code}"),
        // A shell with a trap acts on signals even as the first process of a pid namespace.
        Act::Sleep => {
            "trap 'exit 143' TERM; trap 'exit 130' INT; echo ready; while :; do sleep 1000 & wait; done".into()
        }
        Act::SleepDeaf => "trap '' TERM INT HUP QUIT USR1 USR2; echo ready; while :; do sleep 1000; done".into(),
        Act::Print(words) => format!("echo '{words}'"),
        Act::Complain(words) => format!("echo '{words}' >&2"),
        Act::Copy => "cat".into(),
        Act::Env(name) => format!("echo \"${name}\""),
    }
}
