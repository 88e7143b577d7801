//! Regular expressions that are few and small enough to be matched by trying: each is written in the usual form, too.

/// An expression.
#[derive(Clone, Copy, Debug)]
pub enum Expression {
    /// This character.
    One(char),
    /// Any character.
    Any,
    /// This one as often as there are.
    Many(&'static Expression),
    /// Both, one after the other.
    Then(&'static Expression, &'static Expression),
    /// Either of them.
    Or(&'static Expression, &'static Expression),
}

use Expression::{Any, Many, One, Or, Then};

/// What paths, headers and parameters are matched with. The first is plain, and of the others some are alternatives at the top.
pub const EXPRESSIONS: [&Expression; 8] = [
    &One('a'),
    &Then(&One('/'), &One('a')),
    &Then(&One('/'), &Many(&Any)),
    &Or(&Then(&One('/'), &One('a')), &Then(&One('/'), &One('b'))),
    &Or(&One('a'), &One('b')),
    &Many(&Or(&One('/'), &One('a'))),
    &Then(&Many(&Any), &One('b')),
    &Any,
];

impl Expression {
    /// The usual form. Alternatives within another expression stand in parentheses, and at the top in none.
    pub fn text(&self) -> String {
        match self {
            One(character) => character.to_string(),
            Any => ".".to_string(),
            Many(inner) => format!("{}*", inner.within()),
            Then(first, second) => first.within() + &second.within(),
            Or(one, other) => format!("{}|{}", one.text(), other.text()),
        }
    }

    fn within(&self) -> String {
        if matches!(self, Or(..) | Then(..)) { format!("({})", self.text()) } else { self.text() }
    }

    /// Whether it fits a whole text.
    pub fn fits(&self, text: &str) -> bool {
        let characters: Vec<char> = text.chars().collect();
        self.ends(&characters, 0).contains(&characters.len())
    }

    /// Where it may end that begins at `start`.
    fn ends(&self, text: &[char], start: usize) -> Vec<usize> {
        match self {
            One(character) => {
                if text.get(start) == Some(character) {
                    vec![start + 1]
                } else {
                    Vec::new()
                }
            }
            Any => {
                if text.get(start).is_some_and(|&found| found != '\n') {
                    vec![start + 1]
                } else {
                    Vec::new()
                }
            }
            Many(inner) => {
                let mut ends = vec![start];
                let mut next = 0;
                while let Some(&end) = ends.get(next) {
                    ends.extend(inner.ends(text, end).into_iter().filter(|&further| further > end));
                    next += 1;
                }
                ends
            }
            Then(first, second) => first.ends(text, start).into_iter().flat_map(|end| second.ends(text, end)).collect(),
            Or(one, other) => one.ends(text, start).into_iter().chain(other.ends(text, start)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_they_are_written() {
        let texts: Vec<String> = EXPRESSIONS.iter().map(|expression| expression.text()).collect();

        assert_eq!(texts, ["a", "/a", "/.*", "/a|/b", "a|b", "(/|a)*", ".*b", "."]);
        assert!(EXPRESSIONS[5].fits("/a/a") && EXPRESSIONS[5].fits("") && !EXPRESSIONS[5].fits("/ab"));
        assert!(EXPRESSIONS[3].fits("/b") && !EXPRESSIONS[3].fits("/a/b"));
    }
}
