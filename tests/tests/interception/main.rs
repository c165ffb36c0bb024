//! The way of a call, on real sockets: from a pod's `connect` through the kernel and the agent to the server.

mod bad_input;
mod capture;
mod configuration;
mod crowded;
mod enrolment;
mod governed;
mod hostile;
mod hostile_upstream;
mod hosts;
mod lifecycle;
mod machine;
mod observe;
mod passed_sockets;
mod pins;
mod quota;
mod remembered;
mod rules;
mod scene;
mod stress;
mod untouched;
mod upstream;
