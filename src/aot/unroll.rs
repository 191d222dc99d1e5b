//! Calls of a function to itself, replaced by the function.
//!
//! LLVM inlines no recursion, so that a small recursive function spends most of its time in calls; gcc unrolls it (-O2). Here the
//! same is done to the module before it is compiled: the body of a small function takes the place of its calls to itself, up to
//! [`DEPTH`] times over, as long as the result is small. Nothing else of the module changes, and the engine validates what comes
//! out as it does any module.

use wasmparser::{
    BinaryReader, CodeSectionReader, CompositeInnerType, FuncType, FunctionBody, FunctionSectionReader,
    ImportSectionReader, Operator, TypeRef, TypeSectionReader, ValType,
};

use super::strip::{HEADER, leb128};

/// How often a body is put into itself.
const DEPTH: u32 = 3;
/// Bytes of a body that is worth it.
const SMALL: usize = 256;
/// Bytes that it may grow to.
const MOST: usize = 2048;

const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const CODE: u8 = 10;

/// The module with its small recursive functions unrolled; as it is where there is none, or where something is not known here.
pub fn unroll(module: &[u8]) -> Vec<u8> {
    unrolled(module).unwrap_or_else(|| module.to_vec())
}

fn unrolled(module: &[u8]) -> Option<Vec<u8>> {
    let mut outline = Outline::default();
    let mut at = HEADER;
    while at < module.len() {
        let (size, length) = leb128(module.get(at + 1..)?)?;
        let start = at + 1 + length;
        let end = start.checked_add(size as usize)?;
        let content = BinaryReader::new(module.get(start..end)?, 0);
        match module[at] {
            TYPE => outline.types = types(content)?,
            IMPORT => outline.imported = imported(content)?,
            FUNCTION => {
                let functions = FunctionSectionReader::new(content).ok()?;
                outline.functions = functions.into_iter().collect::<Result<_, _>>().ok()?;
            }
            CODE => {
                let code = outline.code(CodeSectionReader::new(content).ok()?)?;
                let size = number(code.len());
                return Some([&module[..at], &[CODE], &size, &code, &module[end..]].concat());
            }
            _ => {}
        }
        at = end;
    }
    None
}

fn types(content: BinaryReader<'_>) -> Option<Vec<Option<FuncType>>> {
    let mut types = Vec::new();
    for group in TypeSectionReader::new(content).ok()? {
        types.extend(group.ok()?.into_types().map(|kind| match kind.composite_type.inner {
            CompositeInnerType::Func(function) => Some(function),
            _ => None,
        }));
    }
    Some(types)
}

fn imported(content: BinaryReader<'_>) -> Option<u32> {
    let mut count = 0;
    for import in ImportSectionReader::new(content).ok()?.into_imports() {
        count += u32::from(matches!(import.ok()?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
    }
    Some(count)
}

/// What has to be known of a module's functions.
#[derive(Default)]
struct Outline {
    types: Vec<Option<FuncType>>,
    imported: u32,
    functions: Vec<u32>,
}

impl Outline {
    /// The content of the code section; `None` if nothing changes.
    fn code(&self, section: CodeSectionReader<'_>) -> Option<Vec<u8>> {
        let mut code = number(section.count() as usize);
        let mut changed = false;
        for (n, body) in section.into_iter().enumerate() {
            let body = body.ok()?;
            let new = self.function(n, &body).and_then(|function| function.body());
            changed |= new.is_some();
            let new = new.as_deref().unwrap_or(body.as_bytes());
            code.extend(number(new.len()));
            code.extend_from_slice(new);
        }
        changed.then_some(code)
    }

    /// A function that calls itself and can be unrolled.
    fn function<'a>(&self, n: usize, body: &FunctionBody<'a>) -> Option<Function<'a>> {
        if body.as_bytes().len() > SMALL {
            return None;
        }
        let kind = self.types.get(*self.functions.get(n)? as usize)?.as_ref()?;
        let mut locals = Vec::new();
        for group in body.get_locals_reader().ok()? {
            let (count, kind) = group.ok()?;
            if count as usize > SMALL {
                return None;
            }
            locals.extend(std::iter::repeat_n(plain(kind)?, count as usize));
        }
        let index = self.imported + n as u32;
        Some(Function {
            index,
            parameters: kind.params().iter().map(|kind| plain(*kind)).collect::<Option<_>>()?,
            result: match kind.results() {
                [] => NOTHING,
                [one] => plain(*one)?,
                _ => return None,
            },
            locals,
            pieces: pieces(body, index)?,
        })
    }
}

/// How a number type is written.
fn plain(kind: ValType) -> Option<u8> {
    match kind {
        ValType::I32 => Some(I32),
        ValType::I64 => Some(I64),
        ValType::F32 => Some(F32),
        ValType::F64 => Some(F64),
        _ => None,
    }
}

const I32: u8 = 0x7f;
const I64: u8 = 0x7e;
const F32: u8 = 0x7d;
const F64: u8 = 0x7c;
/// The type of a block without result.
const NOTHING: u8 = 0x40;

const BLOCK: u8 = 0x02;
const END: u8 = 0x0b;
const BRANCH: u8 = 0x0c;
const RETURN: u8 = 0x0f;
const CALL: u8 = 0x10;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const LOCAL_TEE: u8 = 0x22;

/// A part of a body.
enum Piece<'a> {
    /// Means the same everywhere.
    Plain(&'a [u8]),
    /// The beginning of a block, a loop or an `if`.
    Open(&'a [u8]),
    /// The end of one of them, or of the body.
    Close,
    /// An operator with a local variable.
    Local(u8, u32),
    Return,
    /// A call of the function by itself.
    Again,
}

/// Takes a body apart; `None` if it does not call itself, or has something that cannot be moved.
fn pieces<'a>(body: &FunctionBody<'a>, index: u32) -> Option<Vec<Piece<'a>>> {
    let bytes = body.as_bytes();
    let origin = body.range().start;
    let mut reader = body.get_operators_reader().ok()?;
    let mut pieces = Vec::new();
    while !reader.eof() {
        let (operator, start) = reader.read_with_offset().ok()?;
        let from = usize::try_from(start - origin).ok()?;
        let to = usize::try_from(reader.original_position() - origin).ok()?;
        let text = bytes.get(from..to)?;
        pieces.push(match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => Piece::Open(text),
            Operator::End => Piece::Close,
            Operator::LocalGet { local_index } => Piece::Local(LOCAL_GET, local_index),
            Operator::LocalSet { local_index } => Piece::Local(LOCAL_SET, local_index),
            Operator::LocalTee { local_index } => Piece::Local(LOCAL_TEE, local_index),
            Operator::Return => Piece::Return,
            Operator::Call { function_index } if function_index == index => Piece::Again,
            // Blocks of exceptions, and calls that take the place of the function.
            Operator::Try { .. }
            | Operator::TryTable { .. }
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
            | Operator::Rethrow { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => return None,
            _ => Piece::Plain(text),
        });
    }
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Again))
        .then_some(pieces)
}

struct Function<'a> {
    index: u32,
    parameters: Vec<u8>,
    result: u8,
    locals: Vec<u8>,
    pieces: Vec<Piece<'a>>,
}

impl Function<'_> {
    /// The body, as deep as it stays small.
    fn body(&self) -> Option<Vec<u8>> {
        (1..=DEPTH)
            .map(|depth| self.body_of(depth))
            .take_while(|body| body.len() <= MOST)
            .last()
    }

    fn body_of(&self, depth: u32) -> Vec<u8> {
        // Each level has parameters and local variables of its own, behind those of the level above.
        let mut locals = self.locals.clone();
        for _ in 0..depth {
            locals.extend(self.parameters.iter().chain(&self.locals));
        }
        let mut body = number(locals.len());
        body.extend(locals.iter().flat_map(|kind| [1, *kind]));
        self.write(&mut body, 0, depth);
        body
    }

    fn write(&self, body: &mut Vec<u8>, level: u32, depth: u32) {
        let frame = (self.parameters.len() + self.locals.len()) as u32;
        let mut open = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Plain(text) => body.extend_from_slice(text),
                Piece::Open(text) => {
                    open += 1;
                    body.extend_from_slice(text);
                }
                Piece::Close => {
                    open -= 1;
                    body.push(END);
                }
                Piece::Local(operator, local) => with(body, *operator, local + level * frame),
                Piece::Return if level == 0 => body.push(RETURN),
                Piece::Return => with(body, BRANCH, open as u32),
                Piece::Again if level == depth => with(body, CALL, self.index),
                Piece::Again => {
                    self.enter(body, (level + 1) * frame);
                    self.write(body, level + 1, depth);
                }
            }
        }
    }

    /// What a call does: takes the arguments, sets the local variables to zero. The body that follows closes the block.
    fn enter(&self, body: &mut Vec<u8>, first: u32) {
        let behind = first + self.parameters.len() as u32;
        for local in (first..behind).rev() {
            with(body, LOCAL_SET, local);
        }
        for (local, kind) in (behind..).zip(&self.locals) {
            body.extend_from_slice(match *kind {
                I32 => &[0x41, 0],
                I64 => &[0x42, 0],
                F32 => &[0x43, 0, 0, 0, 0],
                _ => &[0x44, 0, 0, 0, 0, 0, 0, 0, 0],
            });
            with(body, LOCAL_SET, local);
        }
        body.extend([BLOCK, self.result]);
    }
}

fn with(body: &mut Vec<u8>, operator: u8, argument: u32) {
    body.push(operator);
    body.extend(number(argument as usize));
}

/// A number as LEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(module: &[u8]) -> usize {
        let mut count = 0;
        for payload in wasmparser::Parser::new(0).parse_all(module) {
            if let wasmparser::Payload::CodeSectionEntry(body) = payload.unwrap() {
                let operators = body.get_operators_reader().unwrap();
                count += operators
                    .into_iter()
                    .filter(|o| matches!(o.as_ref().unwrap(), Operator::Call { .. }))
                    .count();
            }
        }
        count
    }

    #[test]
    fn calls_to_itself_are_replaced_and_others_stay() {
        let module = wat::parse_str(
            "(module (import \"m\" \"f\" (func $out (param i64)))
               (func $sum (param $n i64) (result i64) (local $x i64)
                 (call $out (local.get $x))
                 (if (i64.eqz (local.get $n)) (then (return (i64.const 0))))
                 (local.set $x (call $sum (i64.sub (local.get $n) (i64.const 1))))
                 (i64.add (local.get $n) (local.get $x)))
               (func (call $out (call $sum (i64.const 3)))))",
        );
        let module = module.unwrap();
        let unrolled = unroll(&module);
        // Three levels more call outside; the innermost calls itself.
        assert_eq!((calls(&module), calls(&unrolled)), (4, 7));
        assert_eq!(unroll(&module[..60]), module[..60]);
    }

    #[test]
    fn what_does_not_call_itself_or_cannot_be_moved_stays() {
        for text in [
            "(module)",
            "(module (func $f) (func (call $f)))",
            "(module (func $f (return_call $f)))",
            "(module (func $f (param externref) (call $f (local.get 0))))",
            "(module (func $f (result i32 i32) (call $f)))",
        ] {
            let module = wat::parse_str(text).unwrap();
            assert_eq!(unroll(&module), module, "{text}");
        }
        assert_eq!(unroll(b""), b"");
        assert_eq!(unroll(b"\0asm\x01\0\0\0\x0a\xff"), b"\0asm\x01\0\0\0\x0a\xff");
    }
}
