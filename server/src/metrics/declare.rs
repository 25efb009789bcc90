//! What a metric is, declared once: what is registered, what is there at 0 from the start, and the table of docs/metrics.md
//! come from the same line of code.

use std::hash::Hash;

use prometheus_client::{
    metrics::{
        MetricType,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};

/// The values of labels, in their declared order.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
pub type Counters<const N: usize> = Family<Labels<N>, Counter>;
pub type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
pub type Histograms<const N: usize> = Family<Labels<N>, Histogram, Buckets>;

/// A label: a bounded set of values, always.
#[derive(Debug, Clone)]
pub struct Label {
    name: &'static str,
    values: Vec<&'static str>,
    /// Said of the values in the table, where a list of them would not tell more.
    told: Option<&'static str>,
}

impl Label {
    /// These values.
    pub fn of(name: &'static str, values: impl IntoIterator<Item = &'static str>) -> Self {
        Self { name, values: values.into_iter().collect(), told: None }
    }

    /// Values that are only known by the work: what they are.
    pub const fn open(name: &'static str, told: &'static str) -> Self {
        Self { name, values: Vec::new(), told: Some(told) }
    }

    /// What the table says in place of the values.
    pub fn told(mut self, told: &'static str) -> Self {
        self.told = Some(told);
        self
    }

    pub fn cell(&self) -> String {
        let values = self.told.map_or_else(|| self.values.join(", "), str::to_owned);
        format!("`{}`: {values}", self.name)
    }
}

/// Upper bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(pub &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// A metric as the table has it.
#[derive(Debug)]
pub struct Declared {
    /// As it is scraped; for a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    pub kind: &'static str,
    pub unit: Option<String>,
    pub labels: Vec<Label>,
    pub meaning: &'static str,
    /// Whether every series of it is there before anything has happened.
    pub from_start: bool,
}

/// Takes declarations in. Names are written as they are scraped, so that a search for one finds it; the suffixes that the
/// encoder adds by itself (`_total`, `_info`, and the unit's) are taken off here.
#[derive(Debug, Default)]
pub struct Declarations {
    pub registry: Registry,
    pub table: Vec<Declared>,
}

impl Declarations {
    pub fn info(&mut self, name: &'static str, labels: &[(Label, &'static str)], meaning: &'static str) {
        let values: Vec<_> = labels.iter().map(|(label, value)| (label.name, *value)).collect();
        let labels = labels.iter().map(|(label, _)| label.clone()).collect();
        self.register(name, labels, true, meaning, Info::new(values));
    }

    /// A metric without labels.
    pub fn single<M: Metric + Clone>(&mut self, name: &'static str, meaning: &'static str, metric: M) -> M {
        self.register(name, Vec::new(), true, meaning, metric.clone());
        metric
    }

    pub fn counter(&mut self, name: &'static str, meaning: &'static str) -> Counter {
        self.single(name, meaning, Counter::default())
    }

    pub fn gauge(&mut self, name: &'static str, meaning: &'static str) -> Gauge {
        self.single(name, meaning, Gauge::default())
    }

    pub fn histogram(&mut self, name: &'static str, buckets: Buckets, meaning: &'static str) -> Histogram {
        self.single(name, meaning, buckets.new_metric())
    }

    /// With every combination of labels at 0. A series that first appears at 1 never shows its increase: alerts need the 0
    /// before it.
    pub fn counters<const N: usize>(&mut self, name: &'static str, labels: [Label; N], meaning: &'static str) -> Counters<N> {
        self.family(name, labels, meaning, Counters::default())
    }

    /// The same.
    pub fn gauges<const N: usize>(&mut self, name: &'static str, labels: [Label; N], meaning: &'static str) -> Gauges<N> {
        self.family(name, labels, meaning, Gauges::default())
    }

    /// The same.
    pub fn histograms<const N: usize>(
        &mut self,
        name: &'static str,
        labels: [Label; N],
        buckets: Buckets,
        meaning: &'static str,
    ) -> Histograms<N> {
        self.family(name, labels, meaning, Histograms::new_with_constructor(buckets))
    }

    /// Each series comes to be with what it first tells of: where there are many that may never be.
    pub fn as_they_come<S, M, C>(
        &mut self,
        name: &'static str,
        labels: impl Into<Vec<Label>>,
        meaning: &'static str,
        family: Family<S, M, C>,
    ) -> Family<S, M, C>
    where
        S: Clone + Eq + Hash,
        Family<S, M, C>: Metric,
        C: Clone,
    {
        self.register(name, labels.into(), false, meaning, family.clone());
        family
    }

    fn family<M, C, const N: usize>(
        &mut self,
        name: &'static str,
        labels: [Label; N],
        meaning: &'static str,
        family: Family<Labels<N>, M, C>,
    ) -> Family<Labels<N>, M, C>
    where
        Family<Labels<N>, M, C>: Metric,
        C: MetricConstructor<M> + Clone,
        M: Clone,
    {
        for combination in combinations(&labels) {
            drop(family.get_or_create(&combination));
        }
        self.register(name, labels.to_vec(), true, meaning, family.clone());
        family
    }

    fn register(&mut self, name: &'static str, labels: Vec<Label>, from_start: bool, meaning: &'static str, metric: impl Metric) {
        let kind = match metric.metric_type() {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Info => "info",
            MetricType::Unknown => "unknown",
        };
        let stem = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name);
        let (stem, unit) = if let Some(stem) = stem.strip_suffix("_seconds") {
            (stem, Some(Unit::Seconds))
        } else if let Some(stem) = stem.strip_suffix("_bytes") {
            (stem, Some(Unit::Bytes))
        } else {
            (stem, None)
        };
        self.table.push(Declared { name, kind, unit: unit.as_ref().map(|unit| unit.as_str().to_owned()), labels, meaning, from_start });
        match unit {
            None => self.registry.register(stem, meaning, metric),
            Some(unit) => self.registry.register_with_unit(stem, meaning, unit, metric),
        }
    }
}

/// Every combination of the labels' values.
fn combinations<const N: usize>(labels: &[Label; N]) -> Vec<Labels<N>> {
    let mut all = vec![[("", ""); N]];
    for (at, label) in labels.iter().enumerate() {
        let with = |combination: Labels<N>| {
            label.values.iter().map(move |value| {
                let mut combination = combination;
                combination[at] = (label.name, value);
                combination
            })
        };
        all = all.into_iter().flat_map(with).collect();
    }
    all
}
