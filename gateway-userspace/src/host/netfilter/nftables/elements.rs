//! The elements of sets and maps of nftables: single keys, or ranges of them, with what a map decides.

use std::io;

use super::super::rules::{Element, Set, SetId, Verdict};
use super::super::socket::{Attributes, NftSocket};
use super::decided;

const GET_ELEMENTS: u16 = 13;
/// The flag of an element that ends a range and is not in it.
const END: u32 = 1;
/// The flag of an element that stands for all keys that no other does.
const CATCH_ALL: u32 = 2;

/// Lists a set; nothing if its elements are ranges of several fields at once.
pub fn read(socket: &mut NftSocket, set: &SetId) -> io::Result<Set> {
    let objects = match socket.list(GET_ELEMENTS, set.family.number(), &[(1, &set.table), (2, &set.name)]) {
        // It has gone meanwhile, or is of a kind that cannot be listed.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => return Ok(None),
        listed => listed?,
    };
    let lists = objects.iter().filter_map(|object| object.attributes.inside(3));
    let elements: Vec<Attributes> = lists.flat_map(|list| list.elements().collect::<Vec<_>>()).collect();
    Ok(elements.iter().map(Listed::read).collect::<Option<Vec<_>>>().map(ranges))
}

/// An element as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    key: Vec<u8>,
    /// The end of one range comes before the beginning of the next.
    begins: bool,
    verdict: Option<Verdict>,
}

impl Listed {
    fn read(attributes: &Attributes) -> Option<Self> {
        const KEY_END: u16 = 10;
        let flags = attributes.number(3).unwrap_or(0);
        if flags & CATCH_ALL != 0 || attributes.bytes(KEY_END).is_some() {
            return None;
        }
        let key = attributes.inside(1)?.bytes(1)?.to_vec();
        let verdict = attributes.inside(2).and_then(|data| data.inside(2)).map(|verdict| decided(&verdict));
        Some(Self { key, begins: flags & END == 0, verdict })
    }
}

/// Ranges from beginnings and ends; single keys where there are no ends.
fn ranges(mut listed: Vec<Listed>) -> Vec<Element> {
    let single = |Listed { key, verdict, .. }: Listed| Element { low: key.clone(), high: key, verdict };
    if listed.iter().all(|element| element.begins) {
        return listed.into_iter().map(single).collect();
    }
    listed.sort_by(|a, b| (&a.key, a.begins).cmp(&(&b.key, b.begins)));
    let mut ranges = Vec::new();
    let mut listed = listed.into_iter().peekable();
    while let Some(Listed { key, begins, verdict }) = listed.next() {
        if begins {
            let high = match listed.peek() {
                Some(next) => before(&next.key),
                None => vec![u8::MAX; key.len()],
            };
            ranges.push(Element { low: key, high, verdict });
        }
    }
    ranges
}

/// The key before another.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: [u8; 2], begins: bool) -> Listed {
        Listed { key: key.to_vec(), begins, verdict: None }
    }

    fn found(elements: Vec<Listed>) -> Vec<(Vec<u8>, Vec<u8>)> {
        ranges(elements).into_iter().map(|element| (element.low, element.high)).collect()
    }

    #[test]
    fn a_range_ends_before_the_element_that_ends_it_in_whatever_order_they_are_listed() {
        let elements = vec![listed([20, 0], false), listed([10, 0], true), listed([0, 0], false)];

        assert_eq!(found(elements), [(vec![10, 0], vec![19, 255])]);
    }

    #[test]
    fn ranges_may_touch_and_the_last_may_have_no_end() {
        let elements = vec![listed([1, 0], true), listed([2, 0], false), listed([2, 0], true)];

        assert_eq!(found(elements), [(vec![1, 0], vec![1, 255]), (vec![2, 0], vec![255, 255])]);
    }

    #[test]
    fn without_ends_each_element_is_one_key() {
        assert_eq!(found(vec![listed([1, 2], true)]), [(vec![1, 2], vec![1, 2])]);
    }
}
