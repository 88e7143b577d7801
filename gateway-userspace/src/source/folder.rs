//! A folder of manifests as a source, with a memory: what was good stays good until it is taken away on purpose.
//!
//! An object that becomes invalid, a document that can no longer be read and a file that an editor has half
//! written keep their last good objects, and a problem says so. Taking an object away takes a well-formed file
//! without it, or deleting the file. Watching is `watch`'s business.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::manifests_of;
use super::manifest::{Format, Manifest, parse};
use super::watch::{self, Changes};
use super::{Entry, ObjectId, Objects, Problem, Severity, Snapshot};

/// A folder of manifests. `Clone` copies the memory, not the folder.
#[derive(Clone, Debug)]
pub struct FolderSource {
    root: PathBuf,
    files: BTreeMap<PathBuf, File>,
}

/// Why a folder cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read at all.
    #[error("cannot read manifest folder `{}`: create it or name another", .path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("`{}` is not a folder: name the folder that holds the manifests", .path.display())]
    NotAFolder {
        /// What was named.
        path: PathBuf,
    },
}

impl FolderSource {
    /// A source that has read nothing yet.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let root = folder.into();
        match fs::metadata(&root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(OpenError::NotAFolder { path: root }),
            Err(source) => return Err(OpenError::Unreadable { path: root, source }),
        }
        if let Err(source) = fs::read_dir(&root) {
            return Err(OpenError::Unreadable { path: root, source });
        }
        Ok(Self { root, files: BTreeMap::new() })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Tells of changes from now on, so call it before the first [`read`](Self::read).
    pub fn watch(&self) -> Changes {
        watch::watch(self.root.clone())
    }

    /// Reads the folder as it is now. Files that did not change are not parsed again.
    pub fn read(&mut self) -> Snapshot {
        let mut problems = Vec::new();
        match manifests_of(&self.root) {
            Ok(paths) => {
                self.files.retain(|path, _| paths.contains(path));
                for path in paths {
                    self.files.entry(path.clone()).or_default().refresh(&path);
                }
            }
            Err(error) => {
                let message = format!("cannot be read, the last good objects keep serving: {error}");
                problems.push(Problem::of_file(self.root.display().to_string(), message));
            }
        }
        let mut objects = Objects::default();
        let mut seen = BTreeMap::new();
        for file in self.files.values() {
            file.contribute(&mut objects, &mut seen, &mut problems);
        }
        objects.rejected.retain(|id| !seen.contains_key(id));
        objects.incomplete = !objects.rejected.is_empty() || self.files.values().any(|file| !file.was_whole);
        problems.sort();
        Snapshot { objects, problems }
    }
}

/// What is remembered of a file.
#[derive(Clone, Debug, Default)]
struct File {
    text: Option<TextStamp>,
    /// The objects to serve: good now, or good when last seen so.
    entries: Vec<Entry>,
    rejected: BTreeSet<ObjectId>,
    problems: Vec<Problem>,
    /// Every document of it could be read, now or once before.
    was_whole: bool,
}

/// Enough of a text to know it again, and to know a piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TextStamp {
    length: usize,
    hash: u64,
    ends_with_newline: bool,
}

impl TextStamp {
    fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { length: text.len(), hash: hasher.finish(), ends_with_newline: text.ends_with('\n') }
    }
}

impl File {
    fn refresh(&mut self, path: &Path) {
        let name: Arc<str> = path.display().to_string().into();
        let text = match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            // It went between listing and reading; the next reading will not list it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.keep_all(&name, &format!("cannot be read: {error}")),
            Ok(Err(_)) => return self.keep_all(&name, "is not UTF-8 text: write it as UTF-8"),
        };
        let stamp = TextStamp::of(&text);
        if self.text == Some(stamp) {
            return;
        }
        // A text that lost its end, newline included, is one that is still being written.
        let is_cut = self.text.is_some_and(|last| {
            last.ends_with_newline && !stamp.ends_with_newline && stamp.length < last.length && stamp.length > 0
        });
        if is_cut && !self.entries.is_empty() {
            return self.keep_all(&name, "looks half written, its last line has no end: end it with a newline");
        }
        let manifest = parse(&name, &text, format_of(path));
        if manifest.documents == 0 && !self.entries.is_empty() {
            return self.keep_all(&name, "is empty: write its objects again, or delete the file to remove them");
        }
        self.text = Some(stamp);
        self.adopt(manifest);
    }

    /// Nothing of the file can be used: everything stays, and one problem says why.
    fn keep_all(&mut self, name: &str, reason: &str) {
        let count = self.entries.len();
        let kept = match count {
            0 => String::new(),
            1 => format!("; {} keeps serving as it was", self.entries[0].id),
            _ => format!("; its {count} objects keep serving as they were"),
        };
        self.problems = vec![Problem::of_file(name, format!("{reason}{kept}"))];
        if let Some(last) = &mut self.text {
            // Whatever comes next is to be parsed, even the very text that was good before.
            last.hash = last.hash.wrapping_add(1);
        }
    }

    /// Takes over what a parse found, and keeps of the old what the parse could not speak about.
    fn adopt(&mut self, manifest: Manifest) {
        let Manifest { mut entries, mut problems, rejected, torn, documents: _ } = manifest;
        let good: BTreeSet<ObjectId> = entries.iter().map(|entry| entry.id.clone()).collect();
        self.was_whole |= torn.is_none();
        self.rejected.clear();
        let mut invalid = BTreeSet::new();
        for (id, problem) in rejected {
            if good.contains(&id) || !invalid.insert(id.clone()) {
                continue;
            }
            match self.entries.iter().find(|entry| entry.id == id) {
                Some(last_good) => {
                    problems[problem].message.push_str("; its last good version keeps serving");
                    entries.push(last_good.clone());
                }
                None => drop(self.rejected.insert(id)),
            }
        }
        if let Some(problem) = torn {
            let lost = self.entries.iter().filter(|last| !good.contains(&last.id) && !invalid.contains(&last.id));
            let lost: Vec<Entry> = lost.cloned().collect();
            if !lost.is_empty() {
                let names: Vec<String> = lost.iter().map(|entry| entry.id.to_string()).collect();
                let kept =
                    format!("; until it can be read, what is missing keeps serving as it was: {}", names.join(", "));
                problems[problem].message.push_str(&kept);
                entries.extend(lost);
            }
        }
        self.entries = entries;
        self.problems = problems;
    }

    /// Adds the file's objects to the whole; of two objects with one name, the first by path wins.
    fn contribute<'a>(
        &'a self,
        objects: &mut Objects,
        seen: &mut BTreeMap<&'a ObjectId, &'a Entry>,
        problems: &mut Vec<Problem>,
    ) {
        problems.extend(self.problems.iter().cloned());
        objects.rejected.extend(self.rejected.iter().cloned());
        for entry in &self.entries {
            if let Some(first) = seen.get(&entry.id) {
                let place = &first.origin;
                let message = format!(
                    "also stands in {}, document {}, which wins: remove one of them",
                    place.file, place.document
                );
                problems.push(entry.origin.problem(Severity::Error, &entry.id, "metadata.name", message));
                continue;
            }
            seen.insert(&entry.id, entry);
            objects.insert(entry.clone());
        }
    }
}

fn format_of(path: &Path) -> Format {
    if path.extension().is_some_and(|extension| extension == "json") { Format::Json } else { Format::Yaml }
}

#[cfg(test)]
mod tests;
