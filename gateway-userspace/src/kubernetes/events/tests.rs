//! What is said of which object.

use super::*;
use crate::source::Severity;

fn problem(object: &str, field: &str, severity: Severity) -> Problem {
    Problem { object: object.into(), field: field.into(), severity, ..Problem::of_file("", "is wrong") }
}

#[test]
fn errors_of_one_object_are_one_event_and_warnings_none() {
    let problems = vec![
        problem("Service shop/a", "spec.x", Severity::Error),
        problem("Service shop/a", "spec.y", Severity::Error),
        problem("Service shop/a", "spec.z", Severity::Warning),
        problem("GatewayClass beeline", "", Severity::Error),
        problem("", "", Severity::Error),
    ];

    let texts = texts(&Facts { problems: problems.into(), ..Facts::default() });

    let said: Vec<(String, &str)> = texts.iter().map(|(subject, text)| (subject.id.to_string(), &**text)).collect();
    assert_eq!(
        said,
        [
            ("Service shop/a".to_string(), "spec.x: is wrong; spec.y: is wrong"),
            ("GatewayClass beeline".to_string(), "is wrong"),
        ]
    );
}

#[test]
fn a_long_note_is_cut_between_two_characters() {
    assert_eq!(shorten("aßb", 2), "a");
    assert_eq!(shorten("aßb", 3), "aß");
    assert_eq!(shorten("a", 9), "a");
}
