//! Histograms second by second, in HdrHistogram's interval log (V2, compressed), which its viewers and
//! the tools of other languages read.

use crate::measure::{Latencies, MEASURES};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The log writes values in milliseconds where it is read by people; histograms hold microseconds.
const US_PER_MS: f64 = 1_000.0;

/// A file that takes an interval after the other.
pub(crate) struct HistogramLog {
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
    started: SystemTime,
}

impl HistogramLog {
    /// Makes the file, in place of an older one.
    pub(crate) fn create(path: &Path, run: &str, started: SystemTime) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!(
                "ringway load, run {run}; microseconds; NAME from due, NAME.begun from when it began"
            ))
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(US_PER_MS)
            .begin_log_with(&mut file, &mut serializer)?;
        writeln!(
            file,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { file, serializer, started })
    }

    /// Writes what an interval holds, `from` after the start.
    pub(crate) fn write(&mut self, all: &Latencies, from: Duration, length: Duration) -> io::Result<()> {
        for measure in MEASURES {
            let pair = all.of(measure);
            self.one(measure.name(), &pair.due, from, length)?;
            self.one(&format!("{}.begun", measure.name()), &pair.begun, from, length)?;
        }
        self.one("lag", &all.lag, from, length)?;
        self.file.flush()
    }

    fn one(&mut self, tag: &str, h: &Histogram<u64>, from: Duration, length: Duration) -> io::Result<()> {
        if h.is_empty() {
            return Ok(());
        }
        let mut builder = IntervalLogWriterBuilder::new();
        let mut log =
            builder.with_max_value_divisor(US_PER_MS).begin_log_with(&mut self.file, &mut self.serializer)?;
        let written = log.write_histogram(h, from, length, Tag::new(tag));
        written.map_err(|error| io::Error::other(format!("cannot write a histogram: {error:?}")))
    }
}

impl std::fmt::Debug for HistogramLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistogramLog").field("started", &self.started).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::HistogramLog;
    use crate::measure::{Latencies, Measure, Sample};
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_is_written_reads_back_with_its_tag_and_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = HistogramLog::create(file.path(), "r", SystemTime::now()).unwrap();
        let mut all = Latencies::default();
        all.record(Sample::new(Measure::Persisted, 0, 1_500, 2_000));
        for second in 0..2 {
            log.write(&all, Duration::from_secs(second), Duration::from_secs(1)).unwrap();
        }
        drop(log);
        let text = std::fs::read_to_string(file.path()).unwrap();
        let lines: String =
            text.lines().filter(|line| !line.starts_with('"')).map(|line| format!("{line}\n")).collect();
        let intervals: Vec<_> = IntervalLogIterator::new(lines.as_bytes())
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        assert_eq!(intervals.len(), 4);
        let last = &intervals[3];
        assert_eq!(
            (last.tag().unwrap().as_str(), last.start_timestamp()),
            ("persisted.begun", Duration::from_secs(1))
        );
        let bytes = base64::engine::general_purpose::STANDARD.decode(last.encoded_histogram()).unwrap();
        let histogram: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!((histogram.len(), histogram.max()), (1, 500));
    }
}
