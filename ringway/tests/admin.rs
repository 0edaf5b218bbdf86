//! `docs/metrics.md` against what a running `ringway dev` serves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A `ringway dev` of its own; killed when dropped.
struct Server {
    process: Child,
    admin: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let any = "127.0.0.1:0";
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["dev", "--shards", "2", "--listen", any, "--http", any, "--admin", any, "--data"]);
        command.arg(data.path());
        Self::run(command, data)
    }

    /// A `ringway gateway` over the services of the tests.
    fn gateway() -> Self {
        let service = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} says where the tests find it: scripts/services up"))
        };
        let prefix = format!("admin-{}-", std::process::id());
        let any = "127.0.0.1:0";
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["gateway", "--shards", "2", "--listen", any, "--admin", any]);
        command
            .env("RINGWAY_KAFKA__BROKERS", service("TEST_KAFKA"))
            .env("RINGWAY_REDIS__URL", service("TEST_REDIS"));
        command.env("RINGWAY_KAFKA__TOPIC_PREFIX", &prefix).env("RINGWAY_REDIS__KEY_PREFIX", &prefix);
        command.env("RINGWAY_KAFKA__REPLICATION_FACTOR", "1").env("RINGWAY_KAFKA__UPSTREAM_PARTITIONS", "2");
        Self::run(command, tempfile::tempdir().expect("a directory"))
    }

    fn run(mut command: Command, data: tempfile::TempDir) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it runs");
        let told = BufReader::new(process.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let admin = told.filter_map(|line| {
            let rest = line.trim_start().strip_prefix("admin")?.trim_start().strip_prefix("http://")?;
            Some(rest.split('/').next()?.to_owned())
        });
        let admin = admin.take(1).next().expect("it starts, and says where the admin port is");
        Self { process, admin, _data: data }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).expect("the admin port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What there is to know of a metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    unit: String,
    help: String,
}

/// What the page says: the cells of its rows.
fn told(page: &str) -> BTreeMap<String, Metric> {
    let rows = page.lines().filter(|line| line.starts_with("| `ringway_"));
    let metric = |row: &str| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, labels, unit, help, advice] = cells[..] else { panic!("six cells: {row}") };
        assert!(!advice.is_empty(), "{name} has no advice");
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let unit = if unit == "–" { String::new() } else { unit.to_owned() };
        (
            name.trim_matches('`').to_owned(),
            Metric { kind: kind.to_owned(), labels, unit, help: help.to_owned() },
        )
    };
    let metrics: Vec<_> = rows.map(metric).collect();
    let count = metrics.len();
    let metrics: BTreeMap<_, _> = metrics.into_iter().collect();
    assert_eq!(metrics.len(), count, "each has one row");
    metrics
}

/// What the text says: comments and samples of each family, which is named as in queries.
fn served(text: &str) -> BTreeMap<String, Metric> {
    let mut families: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (about, name, value) = (words.next(), words.next(), words.next());
            let (Some(about), Some(name), Some(value)) = (about, name, value) else { continue };
            let family = families.entry(name.to_owned()).or_default();
            let field = match about {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                other => panic!("what is {other}?"),
            };
            value.clone_into(field);
        } else {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let endings = ["_total", "_bucket", "_count", "_sum"];
            let base = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
            let family = families.get_mut(base).unwrap_or_else(|| panic!("{name} belongs to no family"));
            let keys = labels.split(',').filter_map(|label| label.split_once('=')).map(|(key, _)| key);
            family.labels.extend(keys.filter(|key| *key != "le").map(str::to_owned));
        }
    }
    let named = |(name, metric): (String, Metric)| {
        let ending = if metric.kind == "counter" { "_total" } else { "" };
        (name + ending, Metric { help: metric.help.trim_end_matches('.').to_owned(), ..metric })
    };
    families.into_iter().map(named).collect()
}

/// The page, and the part of it that is about a gateway of separate processes.
fn page() -> (BTreeMap<String, Metric>, BTreeMap<String, Metric>) {
    let page = include_str!("../../docs/metrics.md");
    let (page, road) = page.split_once("## A gateway's road").expect("it has that part");
    (told(page), told(road))
}

fn figures(server: &Server) -> BTreeMap<String, Metric> {
    let (status, text) = server.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    served(&text)
}

fn are_as_told(told: &BTreeMap<String, Metric>, served: &BTreeMap<String, Metric>) {
    for (name, metric) in served {
        assert_eq!(told.get(name), Some(metric), "{name}");
    }
}

#[test]
fn the_page_has_every_metric_that_is_served_and_no_other() {
    let (told, _) = page();
    let served = figures(&Server::start());
    let names = |metrics: &BTreeMap<String, Metric>| metrics.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&told), names(&served));
    are_as_told(&told, &served);
}

#[test]
fn a_gateway_of_its_own_serves_the_figures_of_its_road_and_none_of_a_worker() {
    let (mut told, road) = page();
    let served = figures(&Server::gateway());
    let missing: Vec<_> = road.keys().filter(|name| !served.contains_key(*name)).collect();
    assert!(missing.is_empty(), "told, and not served: {missing:?}");
    assert!(served.keys().all(|name| !name.starts_with("ringway_worker_")));
    told.extend(road);
    are_as_told(&told, &served);
}

#[test]
fn probes_name_every_part() {
    let server = Server::start();
    for probe in ["livez", "readyz"] {
        assert_eq!(server.get(&format!("/{probe}")), (200, "ok\n".into()));
        let (status, lines) = server.get(&format!("/{probe}?verbose"));
        assert_eq!(status, 200);
        for part in ["shard-0", "shard-1", "persister", "distributor", "fanout", "query", "http"] {
            assert!(lines.contains(&format!("[+]{part} ok\n")), "{probe}: {lines}");
        }
        assert!(lines.ends_with(&format!("{probe} check passed\n")), "{lines}");
        let more = ["[+]phase ok\n", "[+]store ok\n"];
        assert!(more.iter().all(|line| lines.contains(line) == (probe == "readyz")), "{lines}");
    }
    assert_eq!(server.get("/nothing").0, 404);
}
