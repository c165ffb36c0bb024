//! What is remembered, as others read it: a real OpenTelemetry collector, and Prometheus' own tool.

mod audit;
mod collector;
mod failures;
mod metrics;
mod scene;
mod traces;
