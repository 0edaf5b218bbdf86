-- Ids are u64 in the bits of SQLite's signed integers; conversations are named by their text form.
CREATE TABLE partitions (
    partition   INTEGER PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    version     INTEGER NOT NULL
) STRICT;

CREATE TABLE conversations (
    conversation_id BLOB PRIMARY KEY,
    type            TEXT NOT NULL,
    name            TEXT NOT NULL,
    owner           INTEGER NOT NULL,
    large           INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE conversation_members (
    conversation_id BLOB NOT NULL,
    user_id         INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    role            TEXT NOT NULL,
    join_seq        INTEGER NOT NULL,
    leave_seq       INTEGER,
    read_seq        INTEGER NOT NULL DEFAULT 0,
    joined_at       INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX conversation_members_user ON conversation_members (user_id);

CREATE TABLE messages (
    conversation_id BLOB NOT NULL,
    seq_id          INTEGER NOT NULL,
    message_id      INTEGER NOT NULL,
    sender_id       INTEGER NOT NULL,
    client_msg_id   BLOB NOT NULL,
    content         TEXT NOT NULL,
    content_hash    INTEGER NOT NULL,
    message_type    TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    trace_id        TEXT NOT NULL,
    PRIMARY KEY (conversation_id, seq_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX messages_client_id ON messages (conversation_id, sender_id, client_msg_id);

-- Records that could not be stored, with the reason: nothing is dropped in silence.
CREATE TABLE dead_letters (
    id              INTEGER PRIMARY KEY,
    partition       INTEGER NOT NULL,
    record_offset   INTEGER NOT NULL,
    conversation_id BLOB NOT NULL,
    sender_id       INTEGER NOT NULL,
    client_msg_id   BLOB NOT NULL,
    content         TEXT NOT NULL,
    reason          TEXT NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;
