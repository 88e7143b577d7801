//! What can be read from the object alone: instructions and stack of each program.
//!
//! A program counts with every function that it calls, as the kernel loads them together. The stack is that of the
//! deepest chain of calls, read from the accesses relative to the frame pointer; the verifier counts the same way, and
//! refuses a chain above 512 bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};

use crate::workspace;

/// Bytes of one instruction.
const INSTRUCTION: usize = 8;

/// Where a function begins: the number of its section, and its first instruction in that.
type Place = (usize, usize);

struct Function {
    name: String,
    /// A program of its own, not only a function that programs call.
    is_program: bool,
    instructions: usize,
    stack_bytes: usize,
    calls: BTreeSet<Place>,
}

/// What the object says about a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Static {
    pub instructions: usize,
    pub stack_bytes: usize,
}

/// Reads the programs of an object, by name.
pub fn read(path: &Path) -> Result<BTreeMap<String, Static>> {
    let shown = workspace::shown(path);
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("{shown} is no object"))?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        let code = Code::of(&file, &section)?;
        let (start, size) = (symbol.address() as usize / INSTRUCTION, symbol.size() as usize / INSTRUCTION);
        let function = code.function(start, size, symbol.name()?.to_owned(), section.name()? != ".text")?;
        functions.insert((index.0, start), function);
    }
    let programs = functions.iter().filter(|(_, function)| function.is_program);
    programs.map(|(place, function)| Ok((function.name.clone(), sum(&functions, *place)?))).collect()
}

/// The code of one section, and the calls in it that the object leaves to the loader.
struct Code<'a> {
    section: usize,
    instructions: Vec<Instruction>,
    /// By instruction: the section of the function that is called, and the offset of the symbol that names it.
    relocated: BTreeMap<usize, Place>,
    name: &'a str,
}

impl<'a> Code<'a> {
    fn of<'data>(file: &object::File<'data>, section: &'a object::Section<'data, '_>) -> Result<Self> {
        let mut relocated = BTreeMap::new();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(index)?;
            if let Some(target) = symbol.section_index() {
                relocated.insert(offset as usize / INSTRUCTION, (target.0, symbol.address() as usize / INSTRUCTION));
            }
        }
        let instructions = section.data()?.as_chunks().0.iter().copied().map(Instruction).collect();
        Ok(Self { section: section.index().0, instructions, relocated, name: section.name()? })
    }

    fn function(&self, start: usize, size: usize, name: String, is_program: bool) -> Result<Function> {
        let body = self.instructions.get(start..start + size);
        let body = body.with_context(|| format!("`{name}` reaches beyond its section `{}`", self.name))?;
        let calls = (start..).zip(body).filter(|(_, instruction)| instruction.is_local_call());
        let calls = calls.map(|(index, instruction)| {
            let (section, base) = self.relocated.get(&index).copied().unwrap_or((self.section, index));
            // The offset counts from the next instruction, or from the symbol where the loader fills it in.
            (section, (base + 1).wrapping_add_signed(instruction.immediate() as isize))
        });
        Ok(Function { name, is_program, instructions: size, stack_bytes: stack_bytes(body), calls: calls.collect() })
    }
}

/// Adds up a function and all it calls: each instruction once, the stack along the deepest chain.
fn sum(functions: &BTreeMap<Place, Function>, root: Place) -> Result<Static> {
    let mut reached = BTreeSet::new();
    let stack_bytes = walk(functions, root, &mut Vec::new(), &mut reached)?;
    let instructions = reached.iter().filter_map(|place| functions.get(place)).map(|function| function.instructions);
    Ok(Static { instructions: instructions.sum(), stack_bytes })
}

fn walk(
    functions: &BTreeMap<Place, Function>,
    place: Place,
    chain: &mut Vec<Place>,
    reached: &mut BTreeSet<Place>,
) -> Result<usize> {
    ensure!(!chain.contains(&place), "a function calls itself, which the verifier refuses");
    let function = functions.get(&place).with_context(|| format!("a call leads to no function: {place:?}"))?;
    reached.insert(place);
    chain.push(place);
    let mut deepest = 0;
    for &call in &function.calls {
        deepest = deepest.max(walk(functions, call, chain, reached)?);
    }
    chain.pop();
    Ok(function.stack_bytes + deepest)
}

/// One instruction as it stands in the object: operation, registers, offset, immediate.
#[derive(Clone, Copy)]
struct Instruction([u8; INSTRUCTION]);

/// The register that holds the frame's end; the stack lies below it.
const FRAME_POINTER: u8 = 10;

impl Instruction {
    fn destination(self) -> u8 {
        self.0[1] & 0xf
    }

    fn source(self) -> u8 {
        self.0[1] >> 4
    }

    fn offset(self) -> i16 {
        i16::from_le_bytes([self.0[2], self.0[3]])
    }

    fn immediate(self) -> i32 {
        i32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// A call of a function in the object, not of a helper.
    fn is_local_call(self) -> bool {
        self.0[0] == 0x85 && self.source() == 1
    }

    /// The offset of a load or store relative to the frame pointer.
    fn frame_access(self) -> Option<i16> {
        let base = match self.0[0] & 0x07 {
            0x01 => self.source(),
            0x02 | 0x03 => self.destination(),
            _ => return None,
        };
        (base == FRAME_POINTER).then(|| self.offset())
    }

    /// `destination = frame pointer`.
    fn copies_frame_pointer(self) -> bool {
        self.0[0] == 0xbf && self.source() == FRAME_POINTER
    }

    /// `destination += immediate`.
    fn adds_immediate(self) -> bool {
        self.0[0] == 0x07
    }
}

/// The depth of a function's own frame: the lowest address that it names.
fn stack_bytes(body: &[Instruction]) -> usize {
    let mut lowest = 0;
    // Which registers hold the frame pointer itself, as it is copied before an address is computed from it.
    let mut copies = [false; 16];
    for instruction in body {
        let register = usize::from(instruction.destination());
        if let Some(offset) = instruction.frame_access() {
            lowest = lowest.min(i32::from(offset));
        } else if instruction.copies_frame_pointer() {
            copies[register] = true;
        } else if instruction.adds_immediate() && copies[register] {
            lowest = lowest.min(instruction.immediate());
            copies[register] = false;
        }
    }
    // Slots are of eight bytes.
    (lowest.unsigned_abs() as usize).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL_HELPER: Instruction = Instruction([0x85, 0, 0, 0, 1, 0, 0, 0]);
    /// `*(u64 *)(r10 - 24) = r1`
    const STORE: Instruction = Instruction([0x7b, 0x1a, 0xe8, 0xff, 0, 0, 0, 0]);
    /// `r2 = r10`
    const COPY: Instruction = Instruction([0xbf, 0xa2, 0, 0, 0, 0, 0, 0]);
    /// `r2 += -60`
    const ADD: Instruction = Instruction([0x07, 0x02, 0, 0, 0xc4, 0xff, 0xff, 0xff]);
    /// `r3 += -400`, of a register that is no address in the frame
    const ADD_ELSEWHERE: Instruction = Instruction([0x07, 0x03, 0, 0, 0x70, 0xfe, 0xff, 0xff]);

    #[test]
    fn a_frame_is_as_deep_as_its_lowest_address() {
        assert_eq!(stack_bytes(&[CALL_HELPER]), 0);
        assert_eq!(stack_bytes(&[STORE]), 24);
        assert_eq!(stack_bytes(&[COPY, ADD, STORE]), 64);
        assert_eq!(stack_bytes(&[COPY, ADD_ELSEWHERE]), 0);
    }

    #[test]
    fn a_chain_counts_its_deepest_way_and_each_instruction_once() {
        let place = |start| (1, start);
        let function = |stack_bytes, calls: &[usize]| Function {
            name: String::new(),
            is_program: false,
            instructions: 10,
            stack_bytes,
            calls: calls.iter().map(|&start| place(start)).collect(),
        };
        let functions = BTreeMap::from([
            (place(0), function(8, &[10, 20])),
            (place(10), function(16, &[20])),
            (place(20), function(32, &[])),
        ]);

        let program = sum(&functions, place(0)).unwrap();

        assert_eq!(program, Static { instructions: 30, stack_bytes: 56 });
    }
}
