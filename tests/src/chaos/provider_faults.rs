//! What goes wrong inside a server: rules for the build that has faults of its own.

use alpine_server::domain::operation::Phase;

/// Each by itself rare: an `up` passes some thirty such points.
const CALLS: &[&str] = &[
    "ensure.before=error@0.02",
    "ensure.before=hang@0.01",
    "ensure.before=full@0.01",
    "ensure.after=error@0.03",
    "exec.before=error@0.005",
    "exec.before=full@0.005",
    "exec.before=hang@0.003",
    "exec.after=error@0.005",
    "serve.before=error@0.01",
    "serve.after=error@0.02",
    "stop.before=hang@0.01",
    "stop.after=error@0.02",
    "destroy.before=error@0.02",
    "destroy.after=error@0.03",
    "inspect.before=error@0.01",
];

/// The rules of a replica that is not healthy.
pub fn rules() -> String {
    let mut rules: Vec<String> = CALLS.iter().map(|rule| (*rule).to_owned()).collect();
    for phase in Phase::ALL {
        for point in ["before", "after", "committed"] {
            rules.push(format!("{phase}.{point}=kill@0.003"));
            rules.push(format!("{phase}.{point}=freeze@0.001"));
        }
        rules.push(format!("{phase}.before=again@0.02"));
    }
    rules.join(",")
}
