//! Container images, written without a container engine: an OCI archive with one layer.
//!
//! The same files give the same bytes: no owners, no times but the one that is asked for, no other traces of the machine.
//! The name is part of the archive, so that an import needs no more than the file.

use std::{fs::File, io::Write, path::Path};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The last time that an image can have: the end of the year 9999, as far as dates are written with four digits.
pub const LAST_SECOND: u64 = 253_402_300_799;

/// What became of an image.
pub struct Written {
    /// Of the manifest: the name that a registry gives the image.
    pub digest: String,
    /// The archive's, in bytes.
    pub size: usize,
}

/// An image of a few files.
pub struct Image<'a> {
    /// Registry, repository and tag.
    pub name: &'a str,
    /// What runs if a Pod does not say.
    pub entrypoint: &'a str,
    /// What tools show about it, sorted by name.
    pub labels: &'a [(&'a str, &'a str)],
    /// The time of the image and of every file in it, in seconds since 1970, up to [`LAST_SECOND`].
    pub created: u64,
    /// Path without its leading slash, content, and whether it can be run.
    pub files: &'a [(&'a str, &'a [u8], bool)],
}

impl Image<'_> {
    /// Writes the image as an OCI archive.
    pub fn write(&self, target: &Path) -> Result<Written> {
        let (archive, digest) = self.archive().with_context(|| format!("cannot make the image {}", self.name))?;
        let written = File::create(target).and_then(|mut file| file.write_all(&archive));
        written.with_context(|| format!("cannot write {}", target.display()))?;
        Ok(Written { digest, size: archive.len() })
    }

    /// The archive and the image's digest.
    fn archive(&self) -> Result<(Vec<u8>, String)> {
        let layer = tar(self.files, self.created)?;
        let labels: Map<String, Value> =
            self.labels.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "created": rfc3339(self.created),
            "config": { "Entrypoint": [self.entrypoint], "Labels": labels },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [entry] }))?;
        let files: [(&str, &[u8], bool); 5] = [
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, false),
            ("index.json", &index, false),
            (&blob(&manifest), &manifest, false),
            (&blob(&config), &config, false),
            (&blob(&layer), &layer, false),
        ];
        Ok((tar(&files, self.created)?, digest(&manifest)))
    }
}

/// The machine's architecture, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(content))
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hexadecimal(content))
}

/// The SHA-256 of a content, as images and caches name it.
pub fn hexadecimal(content: &[u8]) -> String {
    let digit = |number: u8| char::from(b"0123456789abcdef"[usize::from(number)]);
    Sha256::digest(content).iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(content), "size": content.len() })
}

fn tar(files: &[(&str, &[u8], bool)], time: u64) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for &(path, content, executable) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_mtime(time);
        archive.append_data(&mut header, path, content)?;
    }
    Ok(archive.into_inner()?)
}

/// A time as images write it, in UTC.
fn rfc3339(seconds: u64) -> String {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", day + 1, second % 60)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn image() -> Image<'static> {
        Image {
            name: "localhost/beeline/probe:1",
            entrypoint: "/probe",
            labels: &[("org.opencontainers.image.title", "probe")],
            created: 0,
            files: &[("probe", b"\x7fELF", true)],
        }
    }

    #[test]
    fn the_same_files_give_the_same_archive() {
        assert_eq!(image().archive().unwrap(), image().archive().unwrap());
    }

    #[test]
    fn an_archive_names_its_image_and_every_blob_by_its_digest() {
        let (bytes, digest) = image().archive().unwrap();

        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();

            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(name, hexadecimal(&content));
            } else if path == "index.json" {
                let index: Value = serde_json::from_slice(&content).unwrap();
                let name = &index["manifests"][0]["annotations"]["io.containerd.image.name"];
                assert_eq!(name, "localhost/beeline/probe:1");
                assert_eq!(index["manifests"][0]["digest"], digest);
            }
        }
    }

    #[test]
    fn another_time_is_another_image() {
        let later = Image { created: 1, ..image() };

        assert_ne!(later.archive().unwrap().1, image().archive().unwrap().1);
    }

    #[test]
    fn times_are_written_as_dates() {
        let dates = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_SECOND, "9999-12-31T23:59:59Z"),
        ];

        for (seconds, date) in dates {
            assert_eq!(rfc3339(seconds), date);
        }
    }
}
