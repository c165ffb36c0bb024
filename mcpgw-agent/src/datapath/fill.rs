//! What a map holds, made to be what is wanted.

use std::{collections::HashMap, hash::Hash};

use aya::{
    Pod,
    maps::{self, MapData, MapError},
};

use super::DatapathError;

/// A map, and its name.
pub struct Fill<'a, K, V> {
    map: &'a mut maps::HashMap<MapData, K, V>,
    name: &'static str,
}

impl<'a, K: Pod + Eq + Hash, V: Pod + PartialEq> Fill<'a, K, V> {
    pub fn new(map: &'a mut maps::HashMap<MapData, K, V>, name: &'static str) -> Self {
        Self { map, name }
    }

    /// Writes what is missing or different of `additions`. Where the map is full, what is not `wanted` makes room.
    ///
    /// # Errors
    ///
    /// [`DatapathError::MapFull`] when what is wanted does not fit either: the rest has no entry then.
    pub fn add(&mut self, additions: &HashMap<K, V>, wanted: &HashMap<K, V>) -> Result<(), DatapathError> {
        let mut written = self.write(additions);
        if written.as_ref().is_err_and(is_full) {
            self.prune(wanted)?;
            written = self.write(additions);
        }
        written.map_err(|error| match is_full(&error) {
            true => DatapathError::MapFull {
                map: self.name,
                wanted: wanted.len(),
            },
            false => self.failed(error),
        })
    }

    fn write(&mut self, additions: &HashMap<K, V>) -> Result<(), MapError> {
        for (key, value) in additions {
            if self.map.get(key, 0).ok().as_ref() != Some(value) {
                self.map.insert(key, value, 0)?;
            }
        }
        Ok(())
    }

    /// Removes what is not wanted.
    pub fn prune(&mut self, wanted: &HashMap<K, V>) -> Result<(), DatapathError> {
        let surplus: Vec<K> = self
            .map
            .keys()
            .flatten()
            .filter(|key| !wanted.contains_key(key))
            .collect();
        for key in surplus {
            match self.map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    fn failed(&self, error: MapError) -> DatapathError {
        DatapathError::map("write", self.name)(error)
    }
}

fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG))
}
