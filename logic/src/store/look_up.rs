//! SQL that asks for many at once, so that a batch of cold conversations takes few round trips. Both
//! stores take the same text; its values are numbers, and names of our own as literals of their bytes.
//! Each asks for at most [`LOOK_UPS_PER_STATEMENT`](protocol::limits::LOOK_UPS_PER_STATEMENT).

use super::Members;
use super::rows::key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{ConversationId, UserId};

/// Bytes as a literal.
pub(super) fn literal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X'{digits}'")
}

fn name(conversation: ConversationId) -> String {
    literal(&key(conversation))
}

fn list(conversations: &[ConversationId]) -> String {
    conversations.iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ")
}

/// A row with the newest seq of each, or NULL. Each is a look at the end of an index, whatever its
/// conversation holds; to group by conversation a server may read all of their messages.
pub(super) fn last_seqs(conversations: &[ConversationId]) -> String {
    let newest = |id: &ConversationId| {
        format!("(SELECT MAX(seq_id) FROM messages WHERE conversation_id = {})", name(*id))
    };
    format!("SELECT {}", conversations.iter().map(newest).collect::<Vec<_>>().join(", "))
}

/// Rows of the groups that there are, and whether each is large.
pub(super) fn groups(groups: &[ConversationId]) -> String {
    format!("SELECT conversation_id, large FROM conversations WHERE conversation_id IN ({})", list(groups))
}

/// Rows of the groups and users whose windows are open.
pub(super) fn members(groups: &[ConversationId]) -> String {
    format!(
        "SELECT conversation_id, user_id FROM conversation_members WHERE conversation_id IN ({}) AND leave_seq IS NULL",
        list(groups)
    )
}

/// Rows of those of these groups and users whose windows are open; `number` writes an id as the store
/// has it.
pub(super) fn are_members<N: std::fmt::Display>(
    of: &[(ConversationId, UserId)],
    number: impl Fn(UserId) -> N,
) -> String {
    let is_at = |(group, user): &(ConversationId, UserId)| {
        format!("(conversation_id = {} AND user_id = {})", name(*group), number(*user))
    };
    format!(
        "SELECT conversation_id, user_id FROM conversation_members WHERE leave_seq IS NULL AND ({})",
        of.iter().map(is_at).collect::<Vec<_>>().join(" OR ")
    )
}

/// Of each of `asked` what the answers say: which groups there are and whether they are large, and who
/// is in those that are not.
pub(super) fn assemble(
    asked: &[ConversationId],
    groups: &[(ConversationId, bool)],
    open: &[(ConversationId, UserId)],
) -> Vec<Option<Members>> {
    let mut found: HashMap<ConversationId, Members, RandomState> = HashMap::default();
    for (group, large) in groups {
        found.insert(*group, if *large { Members::Large } else { Members::Listed(vec![]) });
    }
    for (group, user) in open {
        if let Some(Members::Listed(members)) = found.get_mut(group) {
            members.push(*user);
        }
    }
    for members in found.values_mut() {
        if let Members::Listed(members) = members {
            members.sort_unstable();
        }
    }
    asked.iter().map(|group| found.get(group).cloned()).collect()
}
