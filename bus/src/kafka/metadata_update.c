/* librdkafka takes the leaders that a broker names in an answer (KIP-951) by this function. Where the
 * broker knows no leader yet, which is so for a while after its start, librdkafka (2.12 to 2.14, its issue
 * 5280) hands over memory that it never wrote: a partition may get an epoch from the future by it, after
 * which it is never fetched from again. So what is handed over is dropped. Nothing is lost by that: each
 * error that has such names makes it ask for all metadata anyway (`rd_kafka_toppar_leader_unavailable`).
 *
 * The linker puts this in its place (`--wrap`, see build.rs and link.rs). */

/* RD_KAFKA_OP_RES_HANDLED of rdkafka_op.h: what was handed over is freed by the caller. */
enum { RES_HANDLED = 1 };

int __wrap_rd_kafka_metadata_update_op(void *client, void *metadata) {
        (void)client;
        (void)metadata;
        return RES_HANDLED;
}

/* A binary that is linked without `--wrap` would have the fault: it does not link. */
int __real_rd_kafka_metadata_update_op(void *client, void *metadata);
__attribute__((used, retain)) int (*const ringway_metadata_update_op)(void *, void *) =
    __real_rd_kafka_metadata_update_op;
