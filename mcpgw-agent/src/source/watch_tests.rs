use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use super::*;
use crate::{resources::UnknownWorkloads, source::FileSource};

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(unknown: &str) -> String {
    format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {{name: default}}\nspec: {{unknownWorkloads: {unknown}}}\n"
    )
}

struct Watched {
    desired: watch::Receiver<Arc<Desired>>,
    status: watch::Receiver<SourceStatus>,
}

impl Watched {
    /// Watches `directory`, and waits until it was read once.
    async fn start(directory: &Path) -> Self {
        let initial = FileSource::load(directory).unwrap();
        let (desired, status) = FileSource::watch(directory.to_owned(), initial);
        let mut watched = Self { desired, status };
        watched.status(|status| !status.files.is_empty()).await;
        watched
    }

    async fn status(&mut self, condition: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let found = tokio::time::timeout(PATIENCE, self.status.wait_for(condition)).await;
        found.expect("in time").expect("still watched").clone()
    }

    async fn generation(&mut self, generation: u64) -> Arc<Desired> {
        let condition = |desired: &Arc<Desired>| desired.generation == generation;
        let found = tokio::time::timeout(PATIENCE, self.desired.wait_for(condition)).await;
        found.expect("in time").expect("still watched").clone()
    }
}

#[tokio::test]
async fn a_changed_file_raises_the_generation() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, settings("Pass")).unwrap();
    let mut watched = Watched::start(dir.path()).await;
    fs::write(&file, settings("Refuse")).unwrap();
    assert_eq!(
        watched.generation(2).await.settings.unknown_workloads,
        UnknownWorkloads::Refuse
    );
}

#[tokio::test]
async fn files_that_come_and_go_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), "").unwrap();
    let mut watched = Watched::start(dir.path()).await;
    let file = dir.path().join("b.yaml");
    fs::write(&file, settings("Refuse")).unwrap();
    watched.generation(2).await;
    assert_eq!(
        watched.status(|status| status.generation == 2).await.files,
        ["a.yaml", "b.yaml"]
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(
        watched.generation(3).await.settings.unknown_workloads,
        UnknownWorkloads::Pass
    );
}

#[tokio::test]
async fn an_editor_that_renames_over_the_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), settings("Pass")).unwrap();
    let mut watched = Watched::start(dir.path()).await;
    fs::write(dir.path().join(".a.yaml.swp"), settings("Refuse")).unwrap();
    fs::rename(dir.path().join(".a.yaml.swp"), dir.path().join("a.yaml")).unwrap();
    watched.generation(2).await;
}

#[tokio::test]
async fn the_symlink_swap_of_a_config_map_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (version, unknown) in [("..1", "Pass"), ("..2", "Refuse")] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("a.yaml"), settings(unknown)).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let mut watched = Watched::start(dir.path()).await;
    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    assert_eq!(
        watched.generation(2).await.settings.unknown_workloads,
        UnknownWorkloads::Refuse
    );
}

#[tokio::test]
async fn a_bad_change_keeps_the_last_good_snapshot_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, settings("Pass")).unwrap();
    let mut watched = Watched::start(dir.path()).await;
    fs::write(&file, settings("Drop")).unwrap();
    let status = watched.status(|status| !status.errors.is_empty()).await;
    assert_eq!(status.generation, 1);
    assert!(
        status.errors[0].starts_with("a.yaml:4:26: ClusterMCPSettings default: "),
        "{status:?}"
    );
    assert_eq!(watched.desired.borrow().generation, 1);
    fs::write(&file, settings("Refuse")).unwrap();
    let status = watched.status(|status| status.errors.is_empty()).await;
    assert_eq!(status.generation, 2);
}

#[tokio::test]
async fn a_change_of_the_text_alone_keeps_the_generation() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), settings("Refuse")).unwrap();
    let mut watched = Watched::start(dir.path()).await;
    fs::write(dir.path().join("b.yaml"), "# a comment").unwrap();
    let status = watched.status(|status| status.files.len() == 2).await;
    assert_eq!((status.generation, status.errors), (1, vec![]));
}

#[tokio::test]
async fn the_prefix_of_a_server_stays_until_the_server_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = |prefix: &str, port: u16| {
        format!(
            "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: calc, namespace: tools}}\n\
             spec:\n  backend: {{addresses: [\"10.0.0.5:{port}\"]}}\n{prefix}"
        )
    };
    let file = dir.path().join("a.yaml");
    let write = |text: String| fs::write(&file, text).unwrap();
    write(server("", 80));
    let mut watched = Watched::start(dir.path()).await;
    // The default is a prefix like any, also where the change takes the place of another one's.
    write(server("  prefix: calc_\n", 81));
    assert_eq!(&*watched.generation(2).await.servers[0].prefix, "calc_");
    write(server("  prefix: sum_\n", 82));
    let status = watched.status(|status| !status.errors.is_empty()).await;
    assert_eq!(
        status.errors,
        [
            "a.yaml:6:11: MCPServer tools/calc: spec.prefix: is immutable: it is \"calc_\" for as long as this server is \
             there, and must not become \"sum_\"; to change it, take the server out of the files, wait until the agent has \
             read them, and put it in anew"
        ]
    );
    let in_force = watched.desired.borrow().clone();
    assert_eq!((in_force.generation, &*in_force.servers[0].prefix), (2, "calc_"));
    write(String::new());
    assert!(watched.generation(3).await.servers.is_empty());
    write(server("  prefix: sum_\n", 82));
    assert_eq!(&*watched.generation(4).await.servers[0].prefix, "sum_");
}
