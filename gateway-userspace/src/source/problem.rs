//! What is wrong with an object: one line that names the file, the document, the object and the field.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that was asked for is not served.
    Error,
    /// Everything is served, but not all of it as written.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong, ordered by file, document and field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file; empty if the object comes from an API server.
    pub file: String,
    /// The document within the file, from 1; 0 if the whole file is meant.
    pub document: u32,
    /// The line on which the document begins; 0 if the whole file is meant.
    pub line: u32,
    /// `Service shop/httpbin`; empty if the document could not be read that far.
    pub object: String,
    /// `spec.ports[0].port`; empty if the whole object is meant.
    pub field: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// An error about a whole file or folder.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            document: 0,
            line: 0,
            object: String::new(),
            field: String::new(),
            severity: Severity::Error,
            message: message.into(),
        }
    }

    /// Whether something that was asked for is not served.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        if self.document > 0 {
            write!(f, "document {}: ", self.document)?;
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_names_file_document_object_and_field() {
        let problem = Problem {
            file: "shop.yaml".into(),
            document: 2,
            line: 14,
            object: "Service shop/httpbin".into(),
            field: "spec.ports[0].port".into(),
            severity: Severity::Error,
            message: "70000 is not a port: use 1 to 65535".into(),
        };

        assert_eq!(
            problem.to_string(),
            "shop.yaml: document 2: Service shop/httpbin: spec.ports[0].port: 70000 is not a port: use 1 to 65535"
        );
    }

    #[test]
    fn parts_that_are_not_known_leave_no_gap() {
        assert_eq!(Problem::of_file("shop.yaml", "is empty").to_string(), "shop.yaml: is empty");
    }
}
