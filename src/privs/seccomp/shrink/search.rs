//! The search for a system call's range: a tree of comparisons, written down before the places of the original's code are known.

use std::collections::BTreeSet;

use super::{JUMP, JUMP_AT_LEAST, JUMP_EQUAL, Outcome, RETURN, op};
use crate::sys::seccomp::Instruction;

/// Branches of one run of code, which are followed by at most one exit more: a conditional jump reaches 255 instructions.
const BRANCHES_IN_REACH: usize = 120;

/// An instruction before the original's place is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    Plain(Instruction),
    /// Go to this instruction of the original.
    Original(usize),
}

/// Some ranges with one outcome, and the single numbers between them that have another.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    first: u32,
    outcome: Outcome,
    exceptions: Vec<(u32, Outcome)>,
}

/// More exceptions would make the walk through a stretch longer than that through the tree.
const MOST_EXCEPTIONS: usize = 3;

/// Joins ranges around a single number: a comparison with that number costs less than two borders.
pub(super) fn stretches(ranges: &[(u32, Outcome)]) -> Vec<Stretch> {
    let mut out: Vec<Stretch> = Vec::new();
    let mut at = 0;
    while at < ranges.len() {
        let (first, outcome) = ranges[at];
        let mut exceptions = Vec::new();
        while exceptions.len() < MOST_EXCEPTIONS
            && let [(single, other), (next, again), ..] = ranges[at + 1..]
            && single.checked_add(1) == Some(next)
            && again == outcome
        {
            exceptions.push((single, other));
            at += 2;
        }
        out.push(Stretch {
            first,
            outcome,
            exceptions,
        });
        at += 1;
    }
    out
}

/// The number of branches in a search.
fn branches(stretches: &[Stretch]) -> usize {
    stretches.iter().map(|s| s.exceptions.len() + 1).sum::<usize>() - 1
}

/// Code that finds the range of the loaded number and does what it says.
pub(super) fn search(stretches: &[Stretch]) -> Vec<Code> {
    let branches = branches(stretches);
    if branches > BRANCHES_IN_REACH {
        let (left, right) = stretches.split_at(stretches.len() / 2);
        let below = search(left);
        let mut code = vec![
            Code::Plain(Instruction {
                code: JUMP_AT_LEAST,
                jt: 0,
                jf: 1,
                k: right[0].first,
            }),
            Code::Plain(op(JUMP, below.len() as u32)),
        ];
        code.extend(below);
        code.extend(search(right));
        return code;
    }
    let outcomes = stretches
        .iter()
        .flat_map(|s| s.exceptions.iter().map(|(_, o)| *o).chain([s.outcome]));
    let exits: BTreeSet<Outcome> = outcomes.collect();
    let exit = |o: Outcome| branches + exits.iter().position(|e| *e == o).unwrap_or_default();
    let mut code = Vec::with_capacity(branches + exits.len());
    branch(stretches, &mut code, &exit);
    code.extend(exits.iter().map(|outcome| match outcome {
        Outcome::Return(value) => Code::Plain(op(RETURN, *value)),
        Outcome::Continue(at) => Code::Original(*at),
    }));
    code
}

/// Appends the branches of a search tree, the left half right behind its branch; exits are jumped to.
fn branch(stretches: &[Stretch], code: &mut Vec<Code>, exit: &impl Fn(Outcome) -> usize) {
    let push = |code: &mut Vec<Code>, operation: u16, k: u32, yes: usize, no: usize| {
        let skip = |target: usize| (target - code.len() - 1) as u8;
        let (jt, jf) = (skip(yes), skip(no));
        code.push(Code::Plain(Instruction {
            code: operation,
            jt,
            jf,
            k,
        }));
    };
    if let [one] = stretches {
        for (i, (number, outcome)) in one.exceptions.iter().enumerate() {
            let last = i + 1 == one.exceptions.len();
            let no = if last { exit(one.outcome) } else { code.len() + 1 };
            push(code, JUMP_EQUAL, *number, exit(*outcome), no);
        }
        return;
    }
    let (left, right) = stretches.split_at(stretches.len() / 2);
    let target = |half: &[Stretch], start: usize| {
        if branches(half) == 0 {
            exit(half[0].outcome)
        } else {
            start
        }
    };
    let no = target(left, code.len() + 1);
    let yes = target(right, code.len() + 1 + branches(left));
    push(code, JUMP_AT_LEAST, right[0].first, yes, no);
    branch(left, code, exit);
    branch(right, code, exit);
}
