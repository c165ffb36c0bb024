//! What the tasks print: marks, colour where it is welcome, durations.

use std::{fmt::Display, io::IsTerminal, sync::OnceLock, time::Duration};

use mcpgw_tests::tools::variable;

/// Whether to colour: a terminal, and no `NO_COLOR`.
fn coloured() -> bool {
    static COLOURED: OnceLock<bool> = OnceLock::new();
    *COLOURED.get_or_init(|| std::io::stdout().is_terminal() && variable("NO_COLOR").is_none())
}

fn paint(code: &str, text: impl Display) -> String {
    if coloured() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

/// For headings.
pub fn bold(text: impl Display) -> String {
    paint("1", text)
}

/// For what is of second rank.
pub fn dim(text: impl Display) -> String {
    paint("2", text)
}

/// For what catches the eye.
pub fn yellow(text: impl Display) -> String {
    paint("33", text)
}

/// For names of the thing shown.
pub fn cyan(text: impl Display) -> String {
    paint("36", text)
}

/// Good.
pub fn check() -> String {
    paint("32", "✓")
}

/// Bad.
pub fn cross() -> String {
    paint("31", "✗")
}

/// Good or bad.
pub fn mark(good: bool) -> String {
    if good { check() } else { cross() }
}

/// A duration as people say it.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f32())
    }
}
