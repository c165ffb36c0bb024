use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    mcp::seal::{Purpose, Sealer},
    waiting::until,
};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

struct Place {
    dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    Place { dir, path }
}

impl Place {
    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
        fs::set_permissions(&self.path, Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self) -> Result<KeyFile, KeyError> {
        KeyFile::read(&self.path)
    }

    fn reason(&self, text: &str) -> &'static str {
        self.write(text);
        match self.read() {
            Err(KeyError::Malformed { reason, .. }) => reason,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    /// The names in the directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

#[test]
fn a_file_is_made_once_for_its_owner_alone() {
    let place = place();
    let state = place.dir.path().join("node/state");
    let made = KeyRing::open(None, &state).unwrap();
    let path = path(None, &state);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let token = made.sealer().seal(Purpose::Session, b"x").unwrap();
    let again = KeyRing::open(None, &state).unwrap();
    assert_eq!(again.sealer().open(Purpose::Session, &token).unwrap(), b"x");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
}

#[test]
fn a_file_of_the_settings_is_not_made_and_the_error_says_how() {
    let place = place();
    let error = KeyRing::open(Some(&place.path), place.dir.path()).unwrap_err();
    assert!(matches!(error, KeyError::Missing { .. }));
    let command = format!("mcpgw keys rotate --file {}", place.path.display());
    assert!(error.to_string().contains(&command), "{error}");
    KeyFile::rotate(&place.path).unwrap();
    KeyRing::open(Some(&place.path), place.dir.path()).unwrap();
}

#[test]
fn many_that_make_it_at_once_get_the_same() {
    let place = place();
    let make = || KeyFile::read_or_make(&place.path).unwrap().current.id();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(place.names(), ["keys"]);
}

#[test]
fn a_rotation_keeps_the_key_before_and_forgets_the_one_before_that() {
    let place = place();
    let first = KeyFile::rotate(&place.path).unwrap();
    assert_eq!(first.previous, None);
    let second = KeyFile::rotate(&place.path).unwrap();
    assert_eq!(second.previous, Some(first.current.clone()));
    let third = KeyFile::rotate(&place.path).unwrap();
    assert_eq!(third.previous, Some(second.current));
    assert_eq!(place.read().unwrap(), third);
    KeyFile::rotate(&place.dir.path().join("absent/keys")).unwrap();
    fs::remove_dir_all(place.dir.path().join("absent")).unwrap();
    assert_eq!(place.names(), ["keys"]);
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let place = place();
    KeyFile::rotate(&place.path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&place.path, Permissions::from_mode(mode)).unwrap();
        let error = place.read().unwrap_err();
        assert!(matches!(error, KeyError::Exposed { .. }), "{mode:o}: {error}");
        assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
        assert!(KeyFile::rotate(&place.path).is_err());
    }
    fs::set_permissions(&place.path, Permissions::from_mode(0o400)).unwrap();
    place.read().unwrap();
}

#[test]
fn a_file_of_a_kubernetes_secret_is_followed_through_its_links() {
    let place = place();
    KeyFile::rotate(&place.path).unwrap();
    let link = place.dir.path().join("link");
    symlink("keys", &link).unwrap();
    assert_eq!(KeyFile::read(&link).unwrap(), place.read().unwrap());
    assert!(matches!(
        KeyFile::read(place.dir.path()),
        Err(KeyError::Malformed { .. })
    ));
}

#[test]
fn a_malformed_file_is_refused_without_a_word_of_its_contents() {
    let place = place();
    let good = format!("# x\n\n current 2026-11-21T00:44:00Z {SECRET} \r\n");
    place.write(&good);
    let file = place.read().unwrap();
    assert_eq!(
        file.current.made,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_221_840)
    );
    assert!(!format!("{file:?}").contains(&SECRET[..8]), "{file:?}");
    for (text, reason) in [
        (String::new(), "it has no key"),
        ("current\n".to_owned(), "a line is"),
        (good.replace("current", "previous"), "the roles are"),
        (good.repeat(2), "the roles are"),
        (good.replace("2026-11-21T", "now"), "a time is"),
        (good.replace("AAEC", "AAE"), "a key is"),
        (good.replace("AAEC", "AA=="), "a key is"),
        (
            good.clone() + &good.replace("current", "previous").repeat(2),
            "it has more than two",
        ),
        (good + &"#\n".repeat(4096), "it is too large"),
    ] {
        let said = place.reason(&text);
        assert!(said.starts_with(reason), "{text:?}: {said}");
        let error = place.read().unwrap_err().to_string();
        assert!(!error.contains(&SECRET[8..]), "{error}");
    }
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let place = place();
    fs::create_dir(&place.path).unwrap();
    assert!(KeyFile::rotate(&place.path).is_err());
    assert_eq!(place.names(), ["keys"]);
}

fn current(sealer: &Sealer) -> String {
    sealer.keys().current.id().to_string()
}

#[tokio::test]
async fn a_rotation_comes_into_force_by_itself() {
    let place = place();
    KeyFile::rotate(&place.path).unwrap();
    let ring = KeyRing::open(Some(&place.path), place.dir.path()).unwrap();
    let sealer = ring.sealer();
    let token = sealer.seal(Purpose::Session, b"x").unwrap();
    let following = tokio::spawn(ring.follow());
    let second = KeyFile::rotate(&place.path).unwrap();
    until("the next keys", async || {
        current(&sealer) == second.current.id().to_string()
    })
    .await;
    assert!(sealer.open(Purpose::Session, &token).is_ok());
    let third = KeyFile::rotate(&place.path).unwrap();
    until("the next keys", async || {
        current(&sealer) == third.current.id().to_string()
    })
    .await;
    assert!(sealer.open(Purpose::Session, &token).is_err());
    following.abort();
}

#[test]
fn a_bad_file_leaves_the_keys_as_they_were() {
    let place = place();
    let first = KeyFile::rotate(&place.path).unwrap();
    let mut ring = KeyRing::open(Some(&place.path), place.dir.path()).unwrap();
    place.write("no keys");
    assert!(matches!(ring.read_again(), Err(KeyError::Malformed { .. })));
    fs::remove_file(&place.path).unwrap();
    assert!(matches!(ring.read_again(), Err(KeyError::Missing { .. })));
    assert_eq!(current(&ring.sealer()), first.current.id().to_string());
    let second = KeyFile::rotate(&place.path).unwrap();
    ring.read_again().unwrap();
    assert_eq!(current(&ring.sealer()), second.current.id().to_string());
}
