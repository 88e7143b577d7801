//! Makes a tape that fails as small and plain as it can.

/// The smallest tape that still fails, found by leaving out parts and setting bytes to 0.
pub fn smallest(mut tape: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut size = tape.len().next_power_of_two();
    while size > 0 {
        let mut start = 0;
        while start < tape.len() {
            let end = (start + size).min(tape.len());
            let shorter = [&tape[..start], &tape[end..]].concat();
            let plainer = [&tape[..start], &vec![0; end - start], &tape[end..]].concat();
            if fails(&shorter) {
                tape = shorter;
            } else {
                if plainer != tape && fails(&plainer) {
                    tape = plainer;
                }
                start = end;
            }
        }
        size /= 2;
    }
    tape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_it_fail_remains() {
        let fails = |tape: &[u8]| tape.contains(&7) && tape.iter().any(|&byte| byte > 200);

        let smallest = smallest((0..=255).collect(), fails);

        assert_eq!(smallest, [7, 255]);
    }
}
