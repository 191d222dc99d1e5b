//! Makes a filter small: the decision by number becomes a binary search over ranges, and only the code that looks at arguments
//! stays as it is.
//!
//! libseccomp spends an instruction or two on every system call it was told about. The kernel verifies, compiles and tries
//! each of them at every load, which was the most expensive single call of a container's start. But a profile's system calls
//! lie in few ranges with one answer each. What the ranges are is read off the program itself ([`outcomes`]), so that no
//! knowledge of libseccomp is needed, and the result is compared with the original ([`same`]) before it is used.

mod search;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use self::search::{Code, search, stretches};
use crate::sys::seccomp::Instruction;

/// Offset of the system call number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the audit architecture in `struct seccomp_data`.
const ARCHITECTURE: u32 = 4;

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_BITS: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// What a program does with a system call as far as architecture and number decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Returns this value.
    Return(u32),
    /// Goes on at this instruction, which loads an argument.
    Continue(usize),
}

/// The numbers from `first` up to the next range have this outcome.
type Ranges = Vec<(u32, Outcome)>;

/// A program that does the same as `program`, with fewer instructions; `None` if none was found.
pub(super) fn shrink(program: &[Instruction]) -> Option<Vec<Instruction>> {
    let tables = tables(program, BTreeSet::new())?;
    let small = assemble(program, &tables);
    (small.len() < program.len() && same(program, &tables, &small)).then_some(small)
}

/// Code that returns the value of the range in which the loaded number lies: the numbers from one of `ranges` up to the next.
pub(super) fn returns(ranges: &[(u32, u32)]) -> Vec<Instruction> {
    let ranges: Ranges = ranges
        .iter()
        .map(|(first, value)| (*first, Outcome::Return(*value)))
        .collect();
    let plain = |code| match code {
        Code::Plain(instruction) => Some(instruction),
        Code::Original(_) => None,
    };
    search(&stretches(&ranges)).into_iter().filter_map(plain).collect()
}

/// For each architecture the ranges of numbers.
struct Tables {
    known: Vec<(u32, Ranges)>,
    /// Of all other architectures.
    others: Ranges,
}

impl Tables {
    fn all(&self) -> impl Iterator<Item = &Ranges> {
        self.known.iter().map(|(_, ranges)| ranges).chain([&self.others])
    }
}

/// The tables of `program`, for the architectures it names and those in `more`.
fn tables(program: &[Instruction], more: BTreeSet<u32>) -> Option<Tables> {
    let mut names = architectures(program)?;
    names.extend(more);
    let other = (0..=u32::MAX).find(|a| !names.contains(a))?;
    let known = names
        .into_iter()
        .map(|a| Some((a, outcomes(program, a)?)))
        .collect::<Option<_>>()?;
    Some(Tables {
        known,
        others: outcomes(program, other)?,
    })
}

/// The architectures that the program tells apart; `None` if it does more than compare for equality.
fn architectures(program: &[Instruction]) -> Option<BTreeSet<u32>> {
    let mut known = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut todo = vec![(0, None)];
    while let Some((at, loaded)) = todo.pop() {
        if !seen.insert((at, loaded)) {
            continue;
        }
        let i = program.get(at)?;
        match i.code {
            LOAD_WORD => todo.push((at + 1, Some(i.k))),
            AND => todo.push((at + 1, Some(u32::MAX))),
            RETURN => {}
            JUMP => todo.push((at + 1 + i.k as usize, loaded)),
            JUMP_EQUAL | JUMP_GREATER | JUMP_AT_LEAST | JUMP_BITS => {
                if loaded == Some(ARCHITECTURE) {
                    known.extend((i.code == JUMP_EQUAL).then_some(i.k));
                    if i.code != JUMP_EQUAL {
                        return None;
                    }
                }
                todo.push((at + 1 + usize::from(i.jt), loaded));
                todo.push((at + 1 + usize::from(i.jf), loaded));
            }
            _ => return None,
        }
    }
    Some(known)
}

/// Runs the program for all numbers at once, by splitting the range of numbers at every comparison.
fn outcomes(program: &[Instruction], architecture: u32) -> Option<Ranges> {
    let mut found: BTreeMap<u32, Outcome> = BTreeMap::new();
    let mut todo = vec![(0, None, 0, u32::MAX)];
    while let Some((at, loaded, low, high)) = todo.pop() {
        let i = program.get(at)?;
        let target = |taken: bool| at + 1 + usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            LOAD_WORD if i.k == NUMBER || i.k == ARCHITECTURE => todo.push((at + 1, Some(i.k), low, high)),
            LOAD_WORD => {
                found.insert(low, Outcome::Continue(at));
            }
            RETURN => {
                found.insert(low, Outcome::Return(i.k));
            }
            JUMP => todo.push((at + 1 + i.k as usize, loaded, low, high)),
            JUMP_EQUAL | JUMP_GREATER | JUMP_AT_LEAST | JUMP_BITS => match loaded? {
                ARCHITECTURE => todo.push((target(holds(i, architecture)), loaded, low, high)),
                _ => split(i, low, high, |l, h| todo.push((target(holds(i, l)), loaded, l, h)))?,
            },
            _ => return None,
        }
    }
    let mut ranges: Ranges = found.into_iter().collect();
    ranges.dedup_by_key(|(_, outcome)| *outcome);
    Some(ranges)
}

/// Whether the comparison of `i` holds for `value`.
fn holds(i: &Instruction, value: u32) -> bool {
    match i.code {
        JUMP_EQUAL => value == i.k,
        JUMP_GREATER => value > i.k,
        JUMP_AT_LEAST => value >= i.k,
        _ => value & i.k != 0,
    }
}

/// Cuts the range into parts in which the comparison of `i` has one answer; `None` for a mask that would make too many.
fn split(i: &Instruction, low: u32, high: u32, mut part: impl FnMut(u32, u32)) -> Option<()> {
    const FEW_BITS: u32 = 4;
    let mut rest = low;
    // The next part begins at `start`, unless that lies outside of the range.
    let mut cut = |start: Option<u32>| {
        if let Some(start) = start.filter(|s| *s > rest && *s <= high) {
            part(rest, start - 1);
            rest = start;
        }
    };
    match i.code {
        JUMP_EQUAL => {
            cut(Some(i.k));
            cut(i.k.checked_add(1));
        }
        JUMP_GREATER => cut(i.k.checked_add(1)),
        JUMP_AT_LEAST => cut(Some(i.k)),
        _ => {
            // Between two multiples of the mask's lowest bit none of its bits changes.
            let free = i.k.trailing_zeros();
            let bits = u32::BITS - free;
            if bits > FEW_BITS {
                return None;
            }
            (1..1u32 << bits).for_each(|n| cut(n.checked_shl(free)));
        }
    }
    part(rest, high);
    Some(())
}

/// Puts the searches, one for each architecture, in front of the code that they need from the original.
fn assemble(original: &[Instruction], tables: &Tables) -> Vec<Instruction> {
    let entries = tables.all().flatten().filter_map(|(_, outcome)| match outcome {
        Outcome::Continue(at) => Some(*at),
        Outcome::Return(_) => None,
    });
    let kept = reachable(original, entries);
    let mut code = vec![Code::Plain(op(LOAD_WORD, ARCHITECTURE))];
    for (architecture, ranges) in &tables.known {
        let mut section = vec![Code::Plain(op(LOAD_WORD, NUMBER))];
        section.extend(search(&stretches(ranges)));
        // Longer than a conditional jump reaches: the jump is over another jump.
        code.push(Code::Plain(Instruction {
            code: JUMP_EQUAL,
            jt: 1,
            jf: 0,
            k: *architecture,
        }));
        code.push(Code::Plain(op(JUMP, section.len() as u32)));
        code.extend(section);
    }
    code.push(Code::Plain(op(LOAD_WORD, NUMBER)));
    code.extend(search(&stretches(&tables.others)));
    let start = code.len();
    let place = |at: usize| start + kept.partition_point(|k| *k < at);
    let mut out: Vec<Instruction> = Vec::with_capacity(start + kept.len());
    for (here, c) in code.into_iter().enumerate() {
        out.push(match c {
            Code::Plain(i) => i,
            Code::Original(at) => op(JUMP, (place(at) - here - 1) as u32),
        });
    }
    for at in &kept {
        let (i, here) = (original[*at], place(*at));
        let distance = |skip: usize| place(at + 1 + skip) - here - 1;
        out.push(match i.code {
            JUMP => op(JUMP, distance(i.k as usize) as u32),
            LOAD_WORD | AND | RETURN => i,
            // Leaving instructions out can only make a jump shorter.
            _ => Instruction {
                jt: distance(i.jt.into()) as u8,
                jf: distance(i.jf.into()) as u8,
                ..i
            },
        });
    }
    out
}

/// The instructions that can be reached from `entries`, in their order.
fn reachable(program: &[Instruction], entries: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<usize> = entries.collect();
    while let Some(at) = todo.pop() {
        let Some(i) = program.get(at) else { continue };
        if !seen.insert(at) {
            continue;
        }
        match i.code {
            RETURN => {}
            JUMP => todo.push(at + 1 + i.k as usize),
            LOAD_WORD | AND => todo.push(at + 1),
            _ => todo.extend([at + 1 + usize::from(i.jt), at + 1 + usize::from(i.jf)]),
        }
    }
    seen.into_iter().collect()
}

/// Whether `b` gives every system call the same answer as `a`, whose tables are `of_a`: the same outcome in every range of
/// numbers of every architecture, and instruction by instruction the same code where arguments matter.
fn same(a: &[Instruction], of_a: &Tables, b: &[Instruction]) -> bool {
    let names: BTreeSet<u32> = of_a.known.iter().map(|(architecture, _)| *architecture).collect();
    let Some(of_b) = tables(b, names.clone()) else {
        return false;
    };
    let mut proven = HashSet::new();
    of_b.known.len() == names.len()
        && of_a.all().zip(of_b.all()).all(|(x, y)| {
            let starts: BTreeSet<u32> = x.iter().chain(y).map(|(start, _)| *start).collect();
            let of = |ranges: &Ranges, number| ranges[ranges.partition_point(|(start, _)| *start <= number) - 1].1;
            starts.into_iter().all(|number| match (of(x, number), of(y, number)) {
                (Outcome::Return(v), Outcome::Return(w)) => v == w,
                (Outcome::Continue(p), Outcome::Continue(q)) => same_code(a, p, b, q, &mut proven),
                _ => false,
            })
        })
}

/// Whether the code of `a` from `p` on is that of `b` from `q` on, up to jumps.
fn same_code(a: &[Instruction], p: usize, b: &[Instruction], q: usize, proven: &mut HashSet<(usize, usize)>) -> bool {
    let mut todo = vec![(p, q)];
    while let Some((p, q)) = todo.pop() {
        if !proven.insert((p, q)) {
            continue;
        }
        let (Some(i), Some(j)) = (a.get(p), b.get(q)) else {
            return false;
        };
        match (i.code, j.code) {
            (JUMP, _) => todo.push((p + 1 + i.k as usize, q)),
            (_, JUMP) => todo.push((p, q + 1 + j.k as usize)),
            (x, y) if x != y || i.k != j.k => return false,
            (RETURN, _) => {}
            (LOAD_WORD | AND, _) => todo.push((p + 1, q + 1)),
            (JUMP_EQUAL | JUMP_GREATER | JUMP_AT_LEAST | JUMP_BITS, _) => {
                todo.push((p + 1 + usize::from(i.jt), q + 1 + usize::from(j.jt)));
                todo.push((p + 1 + usize::from(i.jf), q + 1 + usize::from(j.jf)));
            }
            _ => return false,
        }
    }
    true
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests;
