//! `/metrics` as text: the sums that are asked for, and no more.

/// One reading of a replica.
#[derive(Debug, Clone)]
pub struct Scrape(String);

impl Scrape {
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of the samples that have this name and these labels; `None`: there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let of_name = self.0.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
        let wanted = of_name.filter(|rest| labels.iter().all(|label| rest.contains(label)));
        wanted.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|a, b| a + b)
    }

    /// `alpine_build_info`'s.
    pub fn version(&self) -> Option<&str> {
        let line = self.0.lines().find(|line| line.starts_with("alpine_build_info{"))?;
        line.split_once("version=\"")?.1.split('"').next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let text = "# TYPE alpine_errors counter\nalpine_build_info{version=\"1.2\"} 1\nalpine_errors_total{error_code=\"A\",action=\"up\"} 2\n\
            alpine_errors_total{error_code=\"A\",action=\"down\"} 3\nalpine_errors_total{error_code=\"AB\",action=\"up\"} 4\nalpine_errors_total_more 9\nalpine_x 1.5\n# EOF\n";
        let scrape = Scrape::new(text.to_owned());
        assert_eq!(scrape.sum("alpine_errors_total", &[("error_code", "A")]), Some(5.0));
        assert_eq!(scrape.sum("alpine_errors_total", &[("error_code", "A"), ("action", "up")]), Some(2.0));
        assert_eq!(scrape.sum("alpine_errors_total", &[]), Some(9.0));
        assert_eq!(scrape.sum("alpine_errors_total", &[("error_code", "C")]), None);
        assert_eq!(scrape.sum("alpine_x", &[]), Some(1.5));
        assert_eq!(scrape.version(), Some("1.2"));
    }
}
