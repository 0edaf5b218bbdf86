# shellcheck shell=bash
# Redis, as a cache of what can be rebuilt: nothing is written to disk, nothing is evicted.

redis_port() { echo "${SERVICES_REDIS_PORT:-16380}"; }
redis_address() { echo "redis://127.0.0.1:$1"; }
redis_ready() { :; }
redis_prepare() { :; }

redis_needs() {
    if ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null; then
        fail "redis-server is missing: apt-get install redis-server"
    fi
}

redis_run() {
    exec setsid redis-server --port "$(redis_port)" --bind 127.0.0.1 --dir "$1" --save '' --appendonly no \
        --maxmemory-policy noeviction
}

redis_answers() { [ "$(redis-cli -h 127.0.0.1 -p "$1" ping 2>/dev/null)" = PONG ]; }
