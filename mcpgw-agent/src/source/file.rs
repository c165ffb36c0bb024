//! Resources from the YAML files of a directory.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use super::{SourceStatus, watch as watching};
use crate::resources::{self, Desired, Problem, Problems, SourceText, bounds};

/// The YAML files of a directory: `*.yaml` and `*.yml`, not hidden, not in subdirectories.
pub struct FileSource;

/// Why the files of a directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadErrors {
    /// The directory cannot be listed.
    #[error(
        "cannot read the configuration directory {directory}: {reason}; name a directory that is there with --config"
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Something is wrong in the files.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl LoadErrors {
    /// One line for each thing that is wrong.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Directory { .. } => vec![self.to_string()],
            Self::Problems(problems) => problems.lines(),
        }
    }
}

impl FileSource {
    /// Reads and validates every file, in the order of their names.
    pub fn load(directory: &Path) -> Result<Desired, LoadErrors> {
        read(directory, None).result
    }

    /// Watches the directory: the first channel has `initial` and then every good change of it, with its
    /// generation raised by one; the second says how reading went. Ends when nobody listens to the first.
    ///
    /// Must be called in a tokio runtime.
    pub fn watch(
        directory: PathBuf,
        initial: Desired,
    ) -> (watch::Receiver<Arc<Desired>>, watch::Receiver<SourceStatus>) {
        watching::spawn(directory, initial)
    }
}

/// What one read of a directory gave.
pub(super) struct Reading {
    pub files: Vec<String>,
    pub result: Result<Desired, LoadErrors>,
}

/// Reads a directory, for it to take the place of what is `in_force`.
pub(super) fn read(directory: &Path, in_force: Option<&Desired>) -> Reading {
    let names = match names(directory) {
        Ok(names) => names,
        Err(error) => {
            let (directory, reason) = (directory.to_owned(), error.to_string());
            return Reading {
                files: Vec::new(),
                result: Err(LoadErrors::Directory { directory, reason }),
            };
        }
    };
    let mut problems = Vec::new();
    let mut texts = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if index == bounds::MAX_FILES {
            problems.push(about_file(
                name,
                format!("one file too many: at most {} are read", bounds::MAX_FILES),
            ));
            break;
        }
        match text(&directory.join(name)) {
            Ok(text) => texts.push(SourceText {
                name: name.as_str().into(),
                text,
            }),
            Err(error) => problems.push(about_file(name, format!("cannot be read: {error}"))),
        }
    }
    let result = resources::parse_beside(&texts, in_force, problems).map_err(LoadErrors::from);
    Reading { files: names, result }
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // A name that is no text is no name of ours: ours end in .yaml.
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        // Hidden ones are editors' swap files, and the `..data` of a mounted ConfigMap.
        if !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn text(path: &Path) -> io::Result<String> {
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    // One byte over the bound, so that the reader of the text sees that it is too long.
    fs::File::open(path)?
        .take(bounds::MAX_FILE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn about_file(name: &str, reason: String) -> Problem {
    Problem {
        file: name.into(),
        line: 0,
        column: 0,
        object: String::new(),
        field: String::new(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {name: default}\nspec: {unknownWorkloads: Refuse}\n";

    #[test]
    fn only_visible_yaml_files_are_read_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", ".hidden.yaml", "c.yaml~", "d.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let reading = read(dir.path(), None);
        assert_eq!(reading.files, ["a.yaml", "b.yml"]);
        assert!(reading.result.is_ok());
    }

    #[test]
    fn a_directory_that_is_missing_is_an_error_with_advice() {
        let error = FileSource::load(Path::new("/nonexistent/mcpgw"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/mcpgw") && error.contains("--config"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_reported_beside_what_is_wrong_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a.yaml")).unwrap();
        fs::write(dir.path().join("b.yaml"), [0xff, 0xfe, 0xfd]).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("c.yaml")).unwrap();
        fs::write(dir.path().join("d.yaml"), "kind: Pod").unwrap();
        let lines = FileSource::load(dir.path()).unwrap_err().lines();
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert_eq!(lines[0], "a.yaml: cannot be read: not a regular file");
        assert!(lines[1].starts_with("b.yaml: cannot be read: "), "{lines:#?}");
        assert!(lines[2].starts_with("c.yaml: cannot be read: "), "{lines:#?}");
        assert!(lines[3].starts_with("d.yaml:1:1: "), "{lines:#?}");
    }

    #[test]
    fn a_good_file_beside_an_unreadable_one_does_not_make_the_whole_good() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), SETTINGS).unwrap();
        assert!(FileSource::load(dir.path()).is_ok());
        fs::create_dir(dir.path().join("b.yaml")).unwrap();
        assert!(FileSource::load(dir.path()).is_err());
    }
}
