//! The names of events: the word in a line, and the name of the log record that a collector gets.

use serde::{Deserialize, Serialize};

/// What a line is about; its `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventName {
    /// A tool was called, or would have been.
    ToolCall,
    /// Another request was decided.
    McpRequest,
    /// A tool's definition is another than before, or was approved.
    ToolDefinition,
    /// A connection or a request was refused before anything was decided about it.
    Refused,
    /// … or would have been, had its caller not been only observed.
    WouldDeny,
    /// A stream that was open may not stay so.
    StreamEnded,
    /// Lines are missing.
    LinesLost,
}

impl EventName {
    /// The event name of the log record.
    pub(super) const fn exported(self) -> &'static str {
        match self {
            Self::ToolCall => "mcpgw.tool_call",
            Self::McpRequest => "mcpgw.mcp_request",
            Self::ToolDefinition => "mcpgw.tool_definition",
            Self::Refused => "mcpgw.refused",
            Self::WouldDeny => "mcpgw.would_deny",
            Self::StreamEnded => "mcpgw.stream_ended",
            Self::LinesLost => "mcpgw.lines_lost",
        }
    }
}
