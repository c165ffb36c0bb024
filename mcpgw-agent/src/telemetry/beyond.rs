//! What a request is about that has no line of its own in the audit log, because it is about very much at once.

use super::audit::bounded;

/// What the names in one line may come to, in bytes: of more there are several lines.
const MAX_NAMED: usize = 16 * 1024;

/// The names of what was granted and refused, by the lines that name them.
#[derive(Debug, Default)]
pub struct Beyond {
    lines: Vec<Names>,
    /// What the last line has, in bytes.
    bytes: usize,
}

/// What one line names.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) granted: Vec<Box<str>>,
    pub(super) refused: Vec<Box<str>>,
}

impl Beyond {
    /// Names what was granted, or refused.
    pub fn name(&mut self, name: &str, granted: bool) {
        let name = bounded(name);
        self.bytes += name.len();
        if self.lines.is_empty() || self.bytes > MAX_NAMED {
            self.lines.push(Names::default());
            self.bytes = name.len();
        }
        let Some(line) = self.lines.last_mut() else { return };
        match granted {
            true => line.granted.push(name.into()),
            false => line.refused.push(name.into()),
        }
    }

    /// What was granted is refused after all.
    pub fn refuse_all(&mut self) {
        for line in &mut self.lines {
            line.refused.splice(0..0, line.granted.drain(..));
        }
    }

    /// Whether there is nothing to name.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn into_lines(self) -> impl Iterator<Item = Names> {
        self.lines.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_named_and_no_line_is_long() {
        let mut beyond = Beyond::default();
        let long = "x".repeat(MAX_NAMED);
        for number in 0..1_000 {
            beyond.name(&format!("{number:04}{long}"), number % 2 == 0);
        }
        let mut found = 0;
        for line in beyond.into_lines() {
            let names = line.granted.iter().chain(&line.refused);
            assert!(names.clone().map(|name| name.len()).sum::<usize>() <= MAX_NAMED);
            found += names.count();
        }
        assert_eq!(found, 1_000);
    }
}
