//! Services outside that are asked about calls, on real sockets: envoyproxy/ratelimit with Redis.

mod cluster_limits;
mod rate_limit_service;
mod scene;
