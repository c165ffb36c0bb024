//! What `mcpgw pins` shows, as text. Definitions are what a server wrote, perhaps to deceive: what a terminal would obey
//! or hide is escaped.

use std::{
    fmt::Write,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;
use similar::TextDiff;

use super::super::{
    table::Table,
    terminal::{on_one_line, visible},
};
use crate::pins::{Pinned, PinnedTool, Shown, ToolState};

/// Digits of a digest that the table shows.
const DIGITS: usize = 12;
/// Lines around a change.
const CONTEXT: usize = 3;

/// A line for each tool.
pub(super) fn list(pinned: &[Pinned]) -> String {
    let mut table = Table::new(&["SERVER", "TOOL", "STATE", "SINCE", "APPROVED BY", "DIGEST"]);
    let mut troubles = String::new();
    for server in pinned {
        for tool in &server.tools {
            let digest = tool.seen.as_ref().or(tool.approved.as_ref());
            let digest = digest.map(|shown| shown.digest.to_string()).unwrap_or_default();
            let digits = digest.split_once(':').map_or("", |(_, digits)| digits);
            table.row([
                server.server.clone(),
                on_one_line(&tool.tool),
                tool.state.as_str().to_owned(),
                time(tool.since),
                tool.by.clone().unwrap_or_default().replace('_', " "),
                digits.chars().take(DIGITS).collect(),
            ]);
        }
        if let Some(trouble) = &server.trouble {
            let trouble = on_one_line(trouble);
            let _ = writeln!(troubles, "{}: no tool is approved: {trouble}", server.server);
        }
    }
    match (table.is_empty(), pinned.is_empty()) {
        (true, true) => "no server is pinned\n".to_owned(),
        (true, false) => format!("no pinned server has shown a tool yet\n{troubles}"),
        (false, _) => format!("{table}{troubles}"),
    }
}

/// What has changed in a tool's definition, line by line.
pub(super) fn difference(server: &str, tool: &PinnedTool) -> anyhow::Result<String> {
    let mut text = format!("{server} {}: ", word(&tool.tool));
    let since = time(tool.since);
    let _ = match tool.state {
        ToolState::Approved => writeln!(text, "as it was approved on {since}"),
        ToolState::Absent => writeln!(text, "not offered now; approved on {since}"),
        ToolState::Drifted => writeln!(text, "drifted since {since}"),
        ToolState::New => writeln!(text, "new since {since}"),
    };
    if tool.seen.is_none() && tool.state != ToolState::Absent {
        text += "what the server shows cannot be read in one way only, or is too large: it cannot be approved\n";
        return Ok(text);
    }
    if !matches!(tool.state, ToolState::Drifted | ToolState::New) {
        return Ok(text);
    }
    let (before, after) = (pretty(tool.approved.as_ref())?, pretty(tool.seen.as_ref())?);
    let name = |word: &str, shown: Option<&Shown>| match shown {
        Some(shown) => format!("{word} {}", shown.digest),
        None => "nothing".to_owned(),
    };
    let (old, new) = (
        name("approved", tool.approved.as_ref()),
        name("now", tool.seen.as_ref()),
    );
    let difference = TextDiff::from_lines(&before, &after);
    let _ = write!(
        text,
        "{}",
        difference.unified_diff().context_radius(CONTEXT).header(&old, &new)
    );
    Ok(text)
}

/// A definition over several lines; nothing for none.
fn pretty(shown: Option<&Shown>) -> anyhow::Result<String> {
    let Some(definition) = shown.and_then(|shown| shown.definition.as_ref()) else {
        return Ok(String::new());
    };
    let definition: Value = serde_json::from_str(definition)?;
    let text = visible(&serde_json::to_string_pretty(&definition)?).into_owned();
    Ok(broken(&text) + "\n")
}

/// Breaks lines where a text within breaks them.
fn broken(json: &str) -> String {
    let mut text = String::new();
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        text.push(character);
        if character == '\\'
            && let Some(escaped) = characters.next()
        {
            text.push(escaped);
            if escaped == 'n' {
                text.push_str("\n      ");
            }
        }
    }
    text
}

/// A name as a shell takes it.
pub(super) fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", on_one_line(name).replace('\'', r"'\''")),
    }
}

fn time(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}
