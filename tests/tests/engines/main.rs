//! Services outside that are asked about calls, on real sockets: envoyproxy/ratelimit with Redis, and Open Policy Agent.

mod cluster_limits;
mod policy_agent;
mod policy_engine;
mod rate_limit_service;
mod scene;
