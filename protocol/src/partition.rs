//! Which partition a key belongs to, and which shard a user.
//!
//! Ringway computes both itself, never the client library: a record in a wrong partition would
//! break the order that a conversation is promised.

use crate::UserId;

/// Kafka's murmur2 (org.apache.kafka.common.utils.Utils.murmur2), so that any Kafka client's
/// default partitioner agrees with ours.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut h = SEED ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of `key` among `partitions`, as Kafka's own clients compute it.
pub fn partition_of(key: &[u8], partitions: u16) -> u16 {
    ((murmur2(key) & 0x7fff_ffff) % u32::from(partitions)) as u16
}

/// The shard that owns a user: all of a user's sessions meet on one core.
pub fn shard_of(user: UserId, shards: u16) -> u16 {
    // Mixed: consecutive ids must not land on one shard in stripes.
    let mut state = user.0;
    (splitmix64(&mut state) % u64::from(shards)) as u16
}

/// The next number of SplitMix64 from `state`: the same on every machine.
pub fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{murmur2, partition_of, shard_of};
    use crate::UserId;

    #[test]
    fn murmur2_agrees_with_kafkas_own_test_vectors() {
        // org.apache.kafka.common.utils.UtilsTest.testMurmur2
        for (key, hash) in [
            ("21", -973932308_i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn partitions_and_shards_are_in_range_and_used_evenly() {
        let mut partitions = [0; 8];
        let mut shards = [0; 4];
        for user in 1..=8_000 {
            partitions[usize::from(partition_of(format!("group_{user}").as_bytes(), 8))] += 1;
            shards[usize::from(shard_of(UserId(user), 4))] += 1;
        }
        assert!(partitions.iter().all(|n| (800..1_200).contains(n)), "{partitions:?}");
        assert!(shards.iter().all(|n| (1_800..2_200).contains(n)), "{shards:?}");
    }
}
