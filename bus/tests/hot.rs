//! The hot set in Redis: newest messages, trusted only where they are contiguous.

mod support;

use bus::hot::{HotMessage, HotSet, RedisHotSet};
use protocol::ConversationId;
use protocol::limits::HOT_MESSAGES_MAX;
use support::redis;

const GROUP: ConversationId = ConversationId::Group(5);

fn put(hot: &mut RedisHotSet, seqs: impl Iterator<Item = u64>) {
    let payloads: Vec<_> = seqs.map(|seq| (seq, format!("{{\"seq_id\":{seq}}}"))).collect();
    let message = |(seq, payload): &'_ (u64, String)| (*seq, payload.clone());
    let owned: Vec<_> = payloads.iter().map(message).collect();
    let messages: Vec<_> = owned
        .iter()
        .map(|(seq, payload)| HotMessage { conversation: GROUP, seq: *seq, payload: payload.as_bytes() })
        .collect();
    hot.put(&messages).unwrap();
}

fn seqs(hot: &mut RedisHotSet, after: u64, until: u64, limit: usize) -> Option<Vec<u64>> {
    let range = hot.read(GROUP, after, until, limit).unwrap()?;
    for (seq, payload) in &range {
        assert_eq!(payload, format!("{{\"seq_id\":{seq}}}").as_bytes());
    }
    Some(range.into_iter().map(|(seq, _)| seq).collect())
}

#[test]
fn a_contiguous_range_is_read_and_anything_else_is_not() {
    let mut hot = RedisHotSet::new(&redis());
    put(&mut hot, (1..=10).chain(12..=20));
    put(&mut hot, 3..=4);
    assert_eq!(seqs(&mut hot, 2, 6, 50), Some(vec![3, 4, 5, 6]));
    assert_eq!(seqs(&mut hot, 0, 20, 3), Some(vec![1, 2, 3]), "as far as the limit");
    assert_eq!(seqs(&mut hot, 8, 14, 50), None, "11 is missing");
    assert_eq!(seqs(&mut hot, 15, 21, 50), None, "21 is in the store alone");
    assert_eq!(seqs(&mut hot, 20, 20, 50), Some(vec![]));
    assert_eq!(hot.read(ConversationId::World, 0, 1, 50).unwrap(), None);
}

#[test]
fn only_the_newest_stay() {
    let mut hot = RedisHotSet::new(&redis());
    let all = 2 * HOT_MESSAGES_MAX as u64;
    put(&mut hot, 1..=all);
    assert_eq!(seqs(&mut hot, all - 300, all, 300).map(|seqs| seqs.len()), Some(300));
    assert_eq!(seqs(&mut hot, all - 301, all - 300, 300), None);
}
