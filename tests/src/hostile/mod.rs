//! What would make a control plane run or reach what it should not, and how it is seen if one does.

pub mod branches;
pub mod corpus;
pub mod dns;
pub mod hosts;
pub mod remote;
pub mod shapes;
pub mod trace;

/// Two addresses that count as public, here those of this test's own loopback, and what counts as private.
pub const PUBLIC: &str = "93.184.216.34";
pub const PUBLIC_V6: &str = "2606:4700:4700::1111";
/// Where the remotes that mean ill are.
pub const HOSTILE: &str = "93.184.216.35";
pub const RESOLVER: &str = "127.77.0.53";
/// In every name that is accepted: where it is in an argument, outside data is.
pub const MARK: &str = "zq9";
/// Put on this test's loopback, so that a connection would succeed.
pub const PRIVATE: &[&str] = &["10.0.0.5", "172.16.0.5", "192.168.0.5", "169.254.169.254", "100.64.0.5", "198.18.0.5", "fd00:ec2::254"];
