//! Other proxies, as plain reverse proxies beside mcpgw: what bytes cost that nobody looks at.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use mcpgw_tests::{Node, Process};

use crate::command;

/// A proxy that others made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// nginx, with one worker and its connections to the server kept alive.
    Nginx,
    /// HAProxy, with two threads and its connections to the server kept alive.
    Haproxy,
}

impl Peer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nginx, Self::Haproxy];

    /// Its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// Where it listens.
    pub const fn port(self) -> u16 {
        match self {
            Self::Nginx => 9011,
            Self::Haproxy => 9021,
        }
    }

    /// Starts an instance of our own that forwards to one server; what it needs is in `directory`.
    pub fn start(self, node: &Node, directory: &Path, to: SocketAddr) -> Result<Process> {
        let configuration = match self {
            Self::Nginx => nginx(directory, to),
            Self::Haproxy => haproxy(to),
        };
        let file: PathBuf = directory.join(self.program()).with_extension("conf");
        fs::write(&file, configuration).with_context(|| format!("write {}", file.display()))?;
        let program = command::find(self.program()).with_context(|| format!("there is no {}", self.program()))?;
        let mut command = node.command(program)?;
        match self {
            Self::Nginx => command.arg("-p").arg(directory).arg("-c").arg(&file),
            Self::Haproxy => command.args(["-db", "-f"]).arg(&file),
        };
        Process::spawn(self.program(), command)
    }
}

fn nginx(directory: &Path, to: SocketAddr) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("  {of}_temp_path {}/{of};\n", directory.display()))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\nuser root;\nworker_processes 1;\nerror_log stderr error;\n\
         pid {0}/nginx.pid;\nevents {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  tcp_nodelay on;\n{temporary}  \
         client_max_body_size 8m;\n  client_body_buffer_size 256k;\n  keepalive_requests 100000000;\n  \
         upstream one {{ server {to}; keepalive 64; keepalive_requests 100000000; }}\n  server {{\n    \
         listen {1};\n    location / {{\n      proxy_pass http://one;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n      proxy_buffering off;\n    }}\n  }}\n}}\n",
        directory.display(),
        Peer::Nginx.port(),
    )
}

fn haproxy(to: SocketAddr) -> String {
    format!(
        "global\n  nbthread 2\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  option http-keep-alive\nfrontend all\n  bind *:{}\n  default_backend one\nbackend one\n  \
         http-reuse always\n  server one {to}\n",
        Peer::Haproxy.port(),
    )
}
