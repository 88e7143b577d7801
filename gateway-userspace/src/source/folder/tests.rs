//! What a folder of manifests remembers, and what it forgets.

use tempfile::TempDir;

use super::*;
use crate::source::Kind;

struct Folder {
    directory: TempDir,
    source: FolderSource,
}

impl Folder {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = FolderSource::open(directory.path()).unwrap();
        Self { directory, source }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).unwrap();
    }

    fn ports(&mut self) -> BTreeMap<String, i32> {
        let services = self.source.read().objects.services;
        let port = |service: &k8s_openapi::api::core::v1::Service| service.spec.clone().unwrap().ports.unwrap()[0].port;
        services.iter().map(|(name, found)| (name.name.clone(), port(&found.object))).collect()
    }

    fn is_incomplete(&mut self) -> bool {
        self.source.read().objects.incomplete
    }

    fn messages(&mut self) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        let problems = self.source.read().problems;
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }
}

fn service(name: &str, port: i64) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n---\n")
}

fn map<const N: usize>(ports: [(&str, i32); N]) -> BTreeMap<String, i32> {
    ports.into_iter().map(|(name, port)| (name.to_string(), port)).collect()
}

#[test]
fn a_missing_folder_is_refused_by_name() {
    let error = FolderSource::open("/nowhere/manifests").unwrap_err();

    assert_eq!(error.to_string(), "cannot read manifest folder `/nowhere/manifests`: create it or name another");
}

#[test]
fn manifests_of_sub_folders_are_read_and_editors_left_overs_are_not() {
    let mut folder = Folder::new();
    fs::create_dir(folder.directory.path().join("sub")).unwrap();
    fs::create_dir(folder.directory.path().join(".git")).unwrap();
    for (name, object) in [
        ("a.yaml", "a"),
        ("b.yml", "b"),
        ("sub/c.yaml", "c"),
        (".git/d.yaml", "d"),
        (".e.yaml", "e"),
        ("f.yaml~", "f"),
        (".a.yaml.swp", "g"),
        ("#h.yaml#", "h"),
        ("notes.txt", "i"),
        ("4913", "j"),
    ] {
        folder.write(name, &service(object, 80));
    }

    assert_eq!(folder.ports(), map([("a", 80), ("b", 80), ("c", 80)]));
}

#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let mut folder = Folder::new();
    let root = folder.directory.path().to_path_buf();
    fs::create_dir(root.join("..2026_01")).unwrap();
    folder.write("..2026_01/a.yaml", &service("a", 80));
    std::os::unix::fs::symlink("..2026_01", root.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", root.join("a.yaml")).unwrap();

    assert_eq!(folder.ports(), map([("a", 80)]));
}

#[test]
fn an_object_that_becomes_invalid_keeps_its_last_good_version() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &(service("a", 80) + &service("b", 80)));
    folder.ports();

    folder.write("a.yaml", &(service("a", 70_000) + &service("b", 81)));

    assert_eq!(folder.ports(), map([("a", 80), ("b", 81)]));
    assert_eq!(
        folder.messages(),
        ["a.yaml: document 1: Service default/a: spec.ports[0].port: 70000 is not a port: use 1 to 65535; \
          its last good version keeps serving"]
    );
}

#[test]
fn an_object_that_never_was_good_is_known_as_rejected() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &service("a", 70_000));

    let snapshot = folder.source.read();

    assert!(snapshot.objects.services.is_empty());
    assert!(snapshot.objects.is_rejected(Kind::Service, &crate::source::Name::new("default", "a")));
}

#[test]
fn a_document_that_cannot_be_read_takes_no_object_away() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &(service("a", 80) + &service("b", 80)));
    folder.ports();

    folder.write("a.yaml", &(service("a", 81) + "kind: [\n"));

    assert_eq!(folder.ports(), map([("a", 81), ("b", 80)]));
    let messages = folder.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].ends_with("what is missing keeps serving as it was: Service default/b"), "{messages:?}");
}

#[test]
fn an_emptied_file_takes_no_object_away() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &service("a", 80));
    folder.ports();

    for text in ["", "# only a comment\n", "---\n"] {
        folder.write("a.yaml", text);

        assert_eq!(folder.ports(), map([("a", 80)]), "{text:?}");
        assert_eq!(
            folder.messages(),
            ["a.yaml: is empty: write its objects again, or delete the file to remove them; \
              Service default/a keeps serving as it was"]
        );
    }
}

#[test]
fn a_file_cut_anywhere_within_a_line_takes_no_object_away() {
    let whole = service("a", 8080) + &service("b", 8080);
    for cut in (0..whole.len()).filter(|cut| *cut == 0 || whole.as_bytes()[cut - 1] != b'\n') {
        let mut folder = Folder::new();
        folder.write("a.yaml", &whole);
        folder.ports();

        folder.write("a.yaml", &whole[..cut]);

        assert_eq!(folder.ports(), map([("a", 8080), ("b", 8080)]), "cut at {cut}");
        assert_eq!(folder.messages().len(), 1, "cut at {cut}");
    }
}

#[test]
fn a_file_that_is_whole_again_serves_as_before_and_the_problem_is_gone() {
    let mut folder = Folder::new();
    let text = service("a", 80);
    folder.write("a.yaml", &text);
    folder.ports();
    folder.write("a.yaml", "");
    folder.ports();

    folder.write("a.yaml", &text);

    assert_eq!(folder.messages(), [""; 0]);
    assert_eq!(folder.ports(), map([("a", 80)]));
}

#[test]
fn a_document_removed_from_a_good_file_removes_its_object() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &(service("a", 80) + &service("b", 80)));
    folder.ports();

    folder.write("a.yaml", &service("b", 80));

    assert_eq!(folder.ports(), map([("b", 80)]));
    assert_eq!(folder.messages(), [""; 0]);
}

#[test]
fn a_deleted_file_removes_its_objects() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &service("a", 80));
    folder.write("b.yaml", &service("b", 80));
    folder.ports();

    folder.remove("a.yaml");

    assert_eq!(folder.ports(), map([("b", 80)]));
}

#[test]
fn of_one_object_in_two_files_the_first_by_path_wins() {
    let mut folder = Folder::new();
    folder.write("b.yaml", &service("a", 81));
    folder.write("a.yaml", &service("a", 80));

    assert_eq!(folder.ports(), map([("a", 80)]));
    let messages = folder.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].starts_with("b.yaml: document 1: Service default/a: metadata.name: also stands in "));

    folder.remove("a.yaml");

    assert_eq!(folder.ports(), map([("a", 81)]));
}

#[test]
fn a_folder_that_vanishes_keeps_serving() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &service("a", 80));
    folder.ports();

    fs::rename(folder.directory.path(), folder.directory.path().with_extension("away")).unwrap();

    assert_eq!(folder.ports(), map([("a", 80)]));
    assert_eq!(folder.messages().len(), 1);
    fs::rename(folder.directory.path().with_extension("away"), folder.directory.path()).unwrap();
}

#[test]
fn what_was_never_read_whole_may_hold_anything() {
    let mut folder = Folder::new();
    folder.write("a.yaml", "kind: [");
    assert!(folder.is_incomplete(), "the agent does not know what stood here before it started");

    folder.write("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    assert!(!folder.is_incomplete());
    folder.write("a.yaml", "kind: [");
    assert!(!folder.is_incomplete(), "what it held is known");

    folder.write("b.yaml", "kind: [");
    assert!(folder.is_incomplete());
    folder.remove("b.yaml");
    assert!(!folder.is_incomplete());
}
