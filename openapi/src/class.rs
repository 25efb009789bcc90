//! What a session can be made in, on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A sandbox class: a name for a size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Class {
    /// What `class` of an `up` can be.
    #[schema(min_length = 1, max_length = 32, pattern = "^[a-z][a-z0-9-]*$", examples("standard"))]
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// It is what a session is made in where no class was asked for.
    pub default: bool,
    /// Of memory, in MB (2^20 bytes). Absent here and below: as the server is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub memory_mb: Option<i32>,
    /// Thousandths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub cpu_millis: Option<i32>,
    /// Of disk, in MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub disk_mb: Option<i32>,
    /// What its programs find themselves in, where sessions are containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How long a session is ready where nobody says, in seconds. Absent: for as long as somebody wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60)]
    pub lifetime_seconds: Option<i32>,
    /// The longest lifetime that may be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60)]
    pub max_lifetime_seconds: Option<i32>,
    /// How long a session may be ready without being used where nobody says, in seconds. Absent: for as long as somebody wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60)]
    pub idle_seconds: Option<i32>,
    /// The longest idle timeout that may be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60)]
    pub max_idle_seconds: Option<i32>,
}

/// The classes that the caller may choose from, in the order in which the operator has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassList {
    pub classes: Vec<Class>,
}
