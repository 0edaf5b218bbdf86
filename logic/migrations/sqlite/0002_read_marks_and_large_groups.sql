-- A large group is scanned by bucket range, with the window of each member in the index itself.
CREATE INDEX conversation_members_bucket
    ON conversation_members (conversation_id, bucket, user_id, join_seq, leave_seq);
