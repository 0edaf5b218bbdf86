# shellcheck shell=bash
# MariaDB, with every commit on disk: user root without a password, on this machine only.

mysql_port() { echo "${SERVICES_MYSQL_PORT:-13306}"; }
mysql_address() { echo "mysql://root@127.0.0.1:$1/ringway"; }

mysql_needs() {
    # The server lies in /usr/sbin, which is not on everybody's path.
    PATH=$PATH:/usr/sbin
    if ! command -v mariadbd >/dev/null || ! command -v mariadb-install-db >/dev/null || ! command -v mariadb >/dev/null; then
        fail "MariaDB is missing: apt-get install mariadb-server"
    fi
}

# Only root may name a user, and must.
mysql_user() { [ "$(id -u)" != 0 ] || echo --user=root; }

mysql_prepare() {
    [ -f "$1/prepared" ] && return
    rm -rf "$1/data"
    # shellcheck disable=SC2046 # no word for everybody but root
    mariadb-install-db --no-defaults $(mysql_user) --datadir="$1/data" \
        --auth-root-authentication-method=normal --skip-test-db &&
        touch "$1/prepared"
}

# The socket's name is relative to the data: a path may be too long for an address.
mysql_run() {
    # shellcheck disable=SC2046 # no word for everybody but root
    exec setsid mariadbd --no-defaults $(mysql_user) --datadir="$1/data" --socket=mysql.sock --pid-file=mysql.pid \
        --port="$(mysql_port)" --bind-address=127.0.0.1 --skip-name-resolve --character-set-server=utf8mb4 \
        --innodb-flush-log-at-trx-commit=1
}

mysql_client() { mariadb --no-defaults --protocol=tcp --host=127.0.0.1 --user=root --port="$1" --connect-timeout=2 --execute="$2"; }

mysql_answers() { mysql_client "$1" 'SELECT 1' >/dev/null 2>&1; }

mysql_ready() { mysql_client "$1" 'CREATE DATABASE IF NOT EXISTS ringway'; }
