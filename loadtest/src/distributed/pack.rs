//! Histograms as text: HdrHistogram's V2 form, in base64.

use crate::measure::Latencies;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use std::collections::BTreeMap;

/// Those that hold something, by name.
pub(super) type Packed = BTreeMap<String, String>;

/// Packs what was measured.
pub(super) fn pack(all: &Latencies) -> Packed {
    let mut serializer = V2Serializer::new();
    let held = all.histograms().into_iter().filter(|(_, histogram)| !histogram.is_empty());
    held.map(|(name, histogram)| {
        let mut bytes = vec![];
        serializer.serialize(histogram, &mut bytes).expect("a Vec takes everything");
        (name, STANDARD.encode(bytes))
    })
    .collect()
}

/// Adds what another process measured.
pub(super) fn add(packed: &Packed, all: &mut Latencies) -> Result<(), String> {
    let mut deserializer = Deserializer::new();
    for (name, text) in packed {
        let own =
            all.histogram_mut(name).ok_or_else(|| format!("a histogram of nothing known: {name:.40}"))?;
        let bytes =
            STANDARD.decode(text).map_err(|error| format!("the histogram {name} is no base64: {error}"))?;
        let told = deserializer
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("the histogram {name} can't be read: {error}"))?;
        own.add(&told).map_err(|error| format!("the histogram {name} does not fit: {error:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{add, pack};
    use crate::measure::{Latencies, MEASURES, Sample};
    use crate::random::Random;

    #[test]
    fn the_histograms_of_two_added_up_are_those_of_the_union() {
        let mut random = Random::new(7);
        let (mut parts, mut union) = ([Latencies::default(), Latencies::default()], Latencies::default());
        for at in 0..20_000 {
            // Every order of magnitude, up to beyond what is told apart.
            let due = 1 + random.below(10u64.pow(1 + at as u32 % 9));
            let sample = Sample::new(MEASURES[at % MEASURES.len()], 0, due / 2, due);
            parts[usize::from(random.below(3) == 0)].record(sample);
            union.record(sample);
        }
        for us in [1, 900, 70_000] {
            parts[0].lag.record(us).unwrap();
            union.lag.record(us).unwrap();
        }
        let mut sum = Latencies::default();
        for part in &parts {
            let text = serde_json::to_string(&pack(part)).unwrap();
            add(&serde_json::from_str(&text).unwrap(), &mut sum).unwrap();
        }
        for ((name, sum), (_, union)) in sum.histograms().into_iter().zip(union.histograms()) {
            assert!(!union.is_empty(), "{name}");
            assert_eq!(sum, union, "{name}");
            assert_eq!((sum.min(), sum.max(), sum.len()), (union.min(), union.max(), union.len()), "{name}");
        }
    }

    #[test]
    fn what_is_no_histogram_of_a_run_is_refused() {
        let mut all = Latencies::default();
        let mut told = |name: &str, text: &str| add(&[(name.to_owned(), text.to_owned())].into(), &mut all);
        assert!(told("nonsense", "").unwrap_err().contains("nothing known"));
        assert!(told("sync", "%").unwrap_err().contains("base64"));
        assert!(told("sync", "AAAA").unwrap_err().contains("can't be read"));
        // One with wider bounds holds what this one has no place for.
        let mut wide = hdrhistogram::Histogram::<u64>::new_with_bounds(1, u64::MAX, 3).unwrap();
        wide.record(u64::MAX / 2).unwrap();
        let mut bytes = vec![];
        use hdrhistogram::serialization::{Serializer, V2Serializer};
        V2Serializer::new().serialize(&wide, &mut bytes).unwrap();
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        assert!(told("sync", &text).unwrap_err().contains("does not fit"));
    }
}
