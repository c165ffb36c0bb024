//! Requests of HTTP/1.1, as far as these servers need them.

use std::{io::Read, net::TcpStream};

use anyhow::Result;

/// Head and body of the next request, of any length that its head tells; `None` at the end of the connection.
pub fn request(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Result<Option<(String, Vec<u8>)>> {
    let mut chunk = [0_u8; 16 << 10];
    let mut read = |pending: &mut Vec<u8>| -> Result<bool> {
        let count = stream.read(&mut chunk)?;
        pending.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    };
    let body_at = loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if !read(pending)? {
            return Ok(None);
        }
    };
    let written = String::from_utf8_lossy(&pending[..body_at]).into_owned();
    let head = written.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        while !pending.ends_with(b"0\r\n\r\n") {
            if !read(pending)? {
                return Ok(None);
            }
        }
        let chunked = pending.split_off(body_at);
        pending.clear();
        return Ok(Some((written, dechunk(&chunked))));
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    while pending.len() < body_at + length {
        if !read(pending)? {
            return Ok(None);
        }
    }
    let rest = pending.split_off(body_at + length);
    let body = pending.split_off(body_at);
    *pending = rest;
    Ok(Some((written, body)))
}

fn dechunk(mut chunked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunked.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&chunked[..end])
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(data) = size
            .filter(|size| *size > 0)
            .and_then(|size| chunked.get(end + 2..end + 2 + size))
        else {
            break;
        };
        body.extend_from_slice(data);
        chunked = chunked.get(end + 2 + data.len() + 2..).unwrap_or_default();
    }
    body
}
