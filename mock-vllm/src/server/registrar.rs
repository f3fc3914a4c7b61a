//! Metrics made and registered in one go, with the labels that all of a server's have.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// A registry in the making.
pub struct Registrar {
    registry: Registry,
    /// Labels of every metric.
    common: HashMap<String, String>,
}

impl Registrar {
    /// An empty registry all of whose metrics will have these labels.
    pub fn new(common: HashMap<String, String>) -> Self {
        Self { registry: Registry::new(), common }
    }

    /// The finished registry.
    pub fn into_registry(self) -> Registry {
        self.registry
    }

    /// Takes a metric that was made elsewhere.
    pub fn register(&self, metric: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(metric))
    }

    /// A metric's name and help, with the common labels.
    pub fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_labels(self.common.clone())
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::with_opts(self.opts(name, help))?;
        self.register(counter.clone())?;
        Ok(counter)
    }

    /// A gauge of whole numbers.
    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::with_opts(self.opts(name, help))?;
        self.register(gauge.clone())?;
        Ok(gauge)
    }

    /// Gauges that differ in one label, all at 0.
    pub fn gauges(&self, name: &str, help: &str, label: &str, values: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauges = IntGaugeVec::new(self.opts(name, help), &[label])?;
        for value in values {
            gauges.with_label_values(&[*value]);
        }
        self.register(gauges.clone())?;
        Ok(gauges)
    }

    /// A gauge of any number.
    pub fn share(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        let gauge = Gauge::with_opts(self.opts(name, help))?;
        self.register(gauge.clone())?;
        Ok(gauge)
    }

    /// A gauge that is always 1 and says something by its labels.
    pub fn info(&self, opts: Opts) -> prometheus::Result<()> {
        let gauge = IntGauge::with_opts(opts)?;
        gauge.set(1);
        self.register(gauge)
    }

    /// A histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).const_labels(self.common.clone()).buckets(buckets.to_vec());
        let histogram = Histogram::with_opts(opts)?;
        self.register(histogram.clone())?;
        Ok(histogram)
    }
}
