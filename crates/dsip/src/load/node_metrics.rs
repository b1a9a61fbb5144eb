//! What the node says of itself while it is loaded, from its metrics.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long the node may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest page that is read.
const MAX_PAGE: u64 = 1 << 20;

/// Where a node shows its metrics: an address, or the URL that it prints when it is ready.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap_or(text);
    address.parse().map_err(|_| "not an address and port, such as 127.0.0.1:9464".to_owned())
}

/// The node at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Since the first device dialled.
    pub(super) at: Duration,
    /// Memory of its process, in octets.
    pub(super) memory: f64,
    /// Envelopes it holds: queued, or handed over and not acknowledged.
    pub(super) envelopes: f64,
}

/// The node's memory during a load, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Memory {
    pub(super) first: u64,
    pub(super) most: u64,
    pub(super) last: u64,
}

impl Memory {
    pub(super) fn of(samples: &[Sample]) -> Option<Self> {
        let octets = |sample: &Sample| sample.memory as u64;
        let (first, last) = (samples.first()?, samples.last()?);
        Some(Self {
            first: octets(first),
            most: samples.iter().map(octets).max().unwrap_or_default(),
            last: octets(last),
        })
    }
}

/// Asks again and again until it is dropped.
pub(super) struct NodeMetrics {
    samples: Arc<Mutex<Vec<Sample>>>,
    asking: JoinHandle<()>,
}

impl NodeMetrics {
    /// Asks once to see that somebody answers, and then every `each` from now on.
    ///
    /// # Errors
    ///
    /// If there are no metrics of a node to be had.
    pub(super) async fn watch(metrics: SocketAddr, each: Duration) -> io::Result<Self> {
        let began = Instant::now();
        let first = sample(metrics, Duration::ZERO).await?;
        let samples = Arc::new(Mutex::new(vec![first]));
        let kept = samples.clone();
        let asking = tokio::spawn(async move {
            let mut ticks = interval(each);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                // A gap in the plot says it all.
                if let Ok(sample) = sample(metrics, began.elapsed()).await {
                    lock(&kept).push(sample);
                }
            }
        });
        Ok(Self { samples, asking })
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }
}

impl Drop for NodeMetrics {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

fn lock(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    // Only ever pushed to.
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn sample(metrics: SocketAddr, at: Duration) -> io::Result<Sample> {
    let page = timeout(DEADLINE, page(metrics)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let none = || io::Error::new(io::ErrorKind::InvalidData, "no metrics of a node are served there");
    let memory = value(&page, "process_resident_memory_bytes").ok_or_else(none)?;
    let held = value(&page, "dsip_held_envelopes").ok_or_else(none)?;
    let unacknowledged = value(&page, "dsip_unacknowledged_envelopes").ok_or_else(none)?;
    Ok(Sample { at, memory, envelopes: held + unacknowledged })
}

async fn page(metrics: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(metrics).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.take(MAX_PAGE).read_to_string(&mut page).await?;
    Ok(page)
}

/// The value of a metric without labels, in Prometheus' text format.
fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE a gauge\na_b 1\na{c=\"d\"} 2\na 3.5\n";
        assert_eq!(value(page, "a"), Some(3.5));
        assert_eq!(value(page, "a_b"), Some(1.0));
        assert_eq!(value(page, "b"), None);
    }

    #[test]
    fn the_url_that_a_node_prints_will_do() {
        let at = SocketAddr::from(([127, 0, 0, 1], 9464));
        assert_eq!(address("127.0.0.1:9464"), Ok(at));
        assert_eq!(address("http://127.0.0.1:9464/metrics"), Ok(at));
        assert!(address("node.example:9464").is_err());
    }

    #[test]
    fn memory_is_told_from_first_to_last() {
        let samples = [3.0, 9.0, 4.0].map(|memory| Sample { at: Duration::ZERO, memory, envelopes: 0.0 });
        assert_eq!(Memory::of(&samples), Some(Memory { first: 3, most: 9, last: 4 }));
        assert_eq!(Memory::of(&[]), None);
    }
}
