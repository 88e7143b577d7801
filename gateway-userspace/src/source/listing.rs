//! Which files of a folder are manifests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// How deep sub-folders are read.
const MAX_DEPTH: usize = 16;

/// The manifests of a folder and its sub-folders.
pub fn manifests_of(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let listing = match fs::read_dir(&folder) {
            // It went between listing and reading; any other error must not pass for an empty folder.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
            Ok(listing) => listing,
        };
        for entry in listing {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str().filter(|name| !is_hidden(name)) else { continue };
            // Links to files are followed, as a mounted ConfigMap needs it; links to folders could form a ring.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if has_manifest_name(name) && fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

/// Whether a file at this path would be read.
pub fn is_manifest(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !is_hidden(name) && has_manifest_name(name))
}

/// Dot-files and what editors leave beside the file they edit.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'))
}

fn has_manifest_name(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}
