-- For MySQL 8 and MariaDB 10.6 and newer. Conversations and client ids are bytes: a text collation takes
-- `AbC` and `abc ` for one. Times are milliseconds since 1970.
CREATE TABLE partitions (
    `partition` SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
    epoch       TINYINT UNSIGNED  NOT NULL,
    next_offset BIGINT UNSIGNED   NOT NULL,
    version     BIGINT UNSIGNED   NOT NULL
) ENGINE = InnoDB;

-- The id of the newest group.
CREATE TABLE group_ids (
    only_row TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    newest   BIGINT UNSIGNED  NOT NULL
) ENGINE = InnoDB;
INSERT INTO group_ids (only_row, newest) VALUES (1, 0);

CREATE TABLE conversations (
    conversation_id VARBINARY(64)   NOT NULL PRIMARY KEY,
    type            VARCHAR(16)     NOT NULL,
    name            VARCHAR(100)    NOT NULL,
    owner           BIGINT UNSIGNED NOT NULL,
    large           BOOLEAN         NOT NULL DEFAULT FALSE,
    created_at      BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A large group is scanned by bucket range, with the window of each member in the index itself.
CREATE TABLE conversation_members (
    conversation_id VARBINARY(64)    NOT NULL,
    user_id         BIGINT UNSIGNED  NOT NULL,
    bucket          TINYINT UNSIGNED NOT NULL,
    role            VARCHAR(16)      NOT NULL,
    join_seq        BIGINT UNSIGNED  NOT NULL,
    leave_seq       BIGINT UNSIGNED,
    read_seq        BIGINT UNSIGNED  NOT NULL DEFAULT 0,
    joined_at       BIGINT UNSIGNED  NOT NULL,
    PRIMARY KEY (conversation_id, user_id),
    KEY by_user (user_id),
    KEY by_bucket (conversation_id, bucket, user_id, join_seq, leave_seq)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE messages (
    conversation_id VARBINARY(64)   NOT NULL,
    seq_id          BIGINT UNSIGNED NOT NULL,
    message_id      BIGINT UNSIGNED NOT NULL,
    sender_id       BIGINT UNSIGNED NOT NULL,
    client_msg_id   VARBINARY(64)   NOT NULL,
    content         VARCHAR(5000)   NOT NULL,
    content_hash    BIGINT UNSIGNED NOT NULL,
    message_type    VARCHAR(16)     NOT NULL,
    created_at      BIGINT UNSIGNED NOT NULL,
    trace_id        VARCHAR(64)     NOT NULL,
    PRIMARY KEY (conversation_id, seq_id),
    UNIQUE KEY by_client_id (conversation_id, sender_id, client_msg_id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Records that could not be stored, with the reason: nothing is dropped in silence. Their texts are
-- bytes, since a text may be what was refused.
CREATE TABLE dead_letters (
    id              BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `partition`     SMALLINT UNSIGNED NOT NULL,
    record_offset   BIGINT UNSIGNED   NOT NULL,
    conversation_id VARBINARY(64)     NOT NULL,
    sender_id       BIGINT UNSIGNED   NOT NULL,
    client_msg_id   BLOB              NOT NULL,
    content         MEDIUMBLOB        NOT NULL,
    reason          TEXT              NOT NULL,
    created_at      BIGINT UNSIGNED   NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
