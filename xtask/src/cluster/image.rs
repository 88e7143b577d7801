//! Container images, written without a container engine: an OCI archive with one layer.
//!
//! The same files give the same bytes: no times, owners or other traces of the machine. The name is part of the archive,
//! so that an import needs no more than the file.

use std::{fs::File, io::Write, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image of a few files.
pub struct Image<'a> {
    /// Registry, repository and tag.
    pub name: &'a str,
    /// What runs if a Pod does not say.
    pub entrypoint: &'a str,
    /// Path without its leading slash, content, and whether it can be run.
    pub files: &'a [(&'a str, &'a [u8], bool)],
}

impl Image<'_> {
    /// Writes the image as an OCI archive.
    pub fn write(&self, target: &Path) -> Result<()> {
        let archive = self.archive().with_context(|| format!("cannot make the image {}", self.name))?;
        let written = File::create(target).and_then(|mut file| file.write_all(&archive));
        written.with_context(|| format!("cannot write {}", target.display()))
    }

    fn archive(&self) -> Result<Vec<u8>> {
        let layer = tar(self.files)?;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": [self.entrypoint] },
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
        tar(&[
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, false),
            ("index.json", &index, false),
            (&blob(&manifest), &manifest, false),
            (&blob(&config), &config, false),
            (&blob(&layer), &layer, false),
        ])
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

fn tar(files: &[(&str, &[u8], bool)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for &(path, content, executable) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        archive.append_data(&mut header, path, content)?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn image() -> Image<'static> {
        Image { name: "localhost/beeline/probe:1", entrypoint: "/probe", files: &[("probe", b"\x7fELF", true)] }
    }

    #[test]
    fn the_same_files_give_the_same_archive() {
        assert_eq!(image().archive().unwrap(), image().archive().unwrap());
    }

    #[test]
    fn an_archive_names_its_image_and_every_blob_by_its_digest() {
        let bytes = image().archive().unwrap();

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
            }
        }
    }
}
