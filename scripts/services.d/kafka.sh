# shellcheck shell=bash
# shellcheck disable=SC2154 # root is set by scripts/services
# Apache Kafka, one node that is broker and controller. Its jars come from Maven, into .cache/kafka/lib.

kafka_port() { echo "${SERVICES_KAFKA_PORT:-19092}"; }
kafka_controller_port() { echo "${SERVICES_KAFKA_CONTROLLER_PORT:-$(($(kafka_port) + 1))}"; }
kafka_address() { echo "127.0.0.1:$1"; }
kafka_ready() { :; }

kafka_needs() {
    command -v java >/dev/null || fail "Java is missing: apt-get install default-jre-headless"
    [ -d "$root/.cache/kafka/lib" ] && return
    command -v mvn >/dev/null || fail "Maven is missing: apt-get install maven"
    say "Kafka's jars into .cache/kafka/lib"
    mkdir -p "$root/.cache/kafka"
    local fetched
    fetched=$(mktemp -d "$root/.cache/kafka/fetch.XXXXXX")
    mvn -B -q -f "$root/scripts/services.d/pom.xml" dependency:copy-dependencies -DoutputDirectory="$fetched" ||
        fail "Kafka's jars can't be fetched: see above"
    # Whoever fetched at the same time may have been first.
    mv -T "$fetched" "$root/.cache/kafka/lib" 2>/dev/null || rm -rf "$fetched"
}

kafka_java() { java -cp "$root/.cache/kafka/lib/*" "$@"; }

# The two settings of the broker's session let it come back at once after a SIGKILL: until then its old
# registration stands in its way.
kafka_prepare() {
    local client controller
    client=127.0.0.1:$(kafka_port) controller=127.0.0.1:$(kafka_controller_port)
    cat >"$1/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=$controller
listeners=PLAINTEXT://$client,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$client,CONTROLLER://$controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$1/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=10000
group.consumer.session.timeout.ms=10000
group.consumer.min.heartbeat.interval.ms=2000
group.consumer.heartbeat.interval.ms=2000
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=1
num.io.threads=2
END
    [ -f "$1/prepared" ] && return
    rm -rf "$1/data"
    kafka_java kafka.tools.StorageTool format --standalone -t "$(kafka_java kafka.tools.StorageTool random-uuid)" \
        -c "$1/server.properties" &&
        touch "$1/prepared"
}

kafka_run() {
    exec setsid java -Xms512M -Xmx512M -XX:+UseSerialGC -cp "$root/.cache/kafka/lib/*" kafka.Kafka "$1/server.properties"
}

# The port is open before the broker serves; the log tells when it does.
kafka_answers() { grep -q 'Kafka Server started' "$SERVICES_DIR/kafka/log" && listening "$1"; }
