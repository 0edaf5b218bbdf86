//! Leads the clients through a run: connect, phases, settle, read back, leave.

use super::field::Field;
use super::watch::{LOOK, Span, Watch};
use super::{RunError, load};
use crate::counters::Counters;
use crate::course::{Step, first_measured};
use crate::options::Options;
use crate::report::PhaseReport;
use crate::server::{Hops, Usage};
use crate::shard::World;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// After how long without any news what was sent counts as settled for better or worse, without and
/// with lost connections.
const QUIET: Duration = Duration::from_secs(10);
const QUIET_RECONNECT: Duration = Duration::from_secs(30);
/// How long a backlog may take that still moves.
const SETTLE: Duration = Duration::from_secs(300);
/// How long reading everything back may take, and how it is spread: one client each so many µs.
const READ_BACK: Duration = Duration::from_secs(120);
const READ_BACK_SPREAD_US: u64 = 200;
/// How long nobody may be connected before the server counts as gone.
const GONE: Duration = Duration::from_secs(60);

/// What is known when the last client has left.
pub(super) struct Led {
    pub(super) watch: Watch,
    pub(super) connect: Duration,
    /// When the first message was due, microseconds since the run began.
    pub(super) first_us: u64,
    /// From the first due time to the last ack, if all came.
    pub(super) sending: Duration,
    pub(super) drain: Duration,
    pub(super) settled: bool,
    /// Whether what is missing is lost.
    pub(super) quiet: bool,
    pub(super) interrupted: bool,
    pub(super) gone: Option<String>,
    /// Which worker went away, if one did.
    pub(super) lost: Option<String>,
    pub(super) phases: Vec<PhaseReport>,
    /// Once everybody was connected, and once everything had settled.
    pub(super) usage: (Option<Usage>, Option<Usage>),
    pub(super) hops_after: Option<Hops>,
}

/// How far what was sent had come when it was to be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// Everything was there.
    All,
    /// Something was missing, and nothing moved any more.
    Quiet,
    /// Something was still on its way, or may have been.
    Moving,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Reached,
    TimedOut,
    Interrupted,
    /// A part of those who make the run went away.
    Lost,
}

struct Lead<'a> {
    options: &'a Options,
    world: &'a World,
    field: &'a mut dyn Field,
    watch: Watch,
    gone: Option<String>,
    nobody_since: Option<Instant>,
    phases: Vec<PhaseReport>,
}

/// Leads the clients through a run.
pub(super) fn lead(
    options: &Options,
    world: &World,
    watch: Watch,
    field: &mut dyn Field,
) -> Result<Led, RunError> {
    let mut lead = Lead { options, world, field, watch, gone: None, nobody_since: None, phases: vec![] };
    let led = lead.live();
    // Whatever happened, the clients leave, and the ledger gets all they have seen.
    world.course.go_to(Step::Leave);
    let left = lead.field.leave();
    let (connect, first_us, sending, drain, settled, all_read, usage) = led?;
    left?;
    lead.watch.end(lead.field)?;
    // Ended by a second Ctrl-C, what is missing may have been on its way.
    let ended = lead.watch.interrupts() >= 2;
    let lost = lead.field.lost();
    let all = settled == Settled::All && !ended && lost.is_none();
    Ok(Led {
        connect,
        first_us,
        sending: sending + if all { drain } else { Duration::ZERO },
        drain,
        settled: all,
        quiet: settled != Settled::Moving && all_read && !ended && lost.is_none(),
        interrupted: lead.watch.interrupts() > 0 || lost.is_some(),
        gone: lead.gone,
        lost,
        phases: lead.phases,
        usage,
        hops_after: crate::server::hops(&options.admins).ok().filter(|_| !options.admins.is_empty()),
        watch: lead.watch,
    })
}

type Lived = (Duration, u64, Duration, Duration, Settled, bool, (Option<Usage>, Option<Usage>));

impl Lead<'_> {
    fn counters(&self) -> &Counters {
        &self.world.shared.counters
    }

    fn live(&mut self) -> Result<Lived, RunError> {
        let connecting = Instant::now();
        self.connect(self.options.scenario.connections)?;
        let connect = connecting.elapsed();
        let connected = self.watch.usage();
        let first_us = self.world.now_us() + self.field.breath_us();
        self.send(first_us)?;
        let sending = Duration::from_micros(self.world.now_us().saturating_sub(first_us));
        self.world.course.go_to(Step::Settle);
        let due = Instant::now();
        let settled = self.settle()?;
        let drain = due.elapsed();
        let usage = (connected, self.watch.usage());
        if self.gone.is_none() && self.field.lost().is_none() && load(&self.counters().online) == 0 {
            self.gone = Some(self.why_gone("nobody was connected at the end"));
        }
        let users = self.connected_max();
        let mut all_read = false;
        if self.watch.interrupts() < 2 {
            self.world.course.read_back(users * READ_BACK_SPREAD_US);
            let done = |c: &Counters| load(&c.read_back) + load(&c.gone) >= users;
            all_read = self.wait("reading back", READ_BACK, 2, done)? == Waited::Reached;
        }
        Ok((connect, first_us, sending, drain, settled, all_read, usage))
    }

    /// Connections that were asked for so far.
    fn connected_max(&self) -> u64 {
        match self.phases.len() {
            0 => self.options.scenario.connections,
            phases => self.world.course.users_after(phases - 1),
        }
    }

    fn why_gone(&self, what: &str) -> String {
        let first = self.counters().first_drop.get();
        let first = first.map_or(String::new(), |why| format!("; the first session that dropped: {why}"));
        format!("{what}{first}")
    }

    /// Waits for something, and shows how far it is; more Ctrl-C than were had end the wait.
    fn wait(
        &mut self,
        what: &str,
        at_most: Duration,
        interrupts: u64,
        reached: impl Fn(&Counters) -> bool,
    ) -> Result<Waited, RunError> {
        let until = Instant::now() + at_most;
        loop {
            self.field.tend()?;
            if self.field.lost().is_some() {
                return Ok(Waited::Lost);
            }
            if self.field.has_followed() && reached(self.counters()) {
                return Ok(Waited::Reached);
            }
            if let Some(why) = self.counters().fatal.get() {
                return Err(RunError::Unavailable(why.clone()));
            }
            if self.watch.interrupts() >= interrupts {
                return Ok(Waited::Interrupted);
            }
            if Instant::now() >= until {
                return Ok(Waited::TimedOut);
            }
            std::thread::sleep(LOOK);
            self.watch.look(what, self.field)?;
        }
    }

    /// Waits until so many clients know where each of their conversations stands.
    fn connect(&mut self, users: u64) -> Result<(), RunError> {
        let rate = self.options.scenario.connect.rate;
        let ramp = if rate > 0.0 { Duration::from_secs_f64(users as f64 / rate) } else { Duration::ZERO };
        let at_most = ramp + Duration::from_secs(60) + Duration::from_millis(users * 5);
        match self.wait("connecting", at_most, 1, |c| load(&c.ready) + load(&c.gone) >= users)? {
            Waited::Reached => Ok(()),
            Waited::Interrupted => Err(RunError::Interrupted),
            Waited::Lost => Err(RunError::Lost(self.field.lost().unwrap_or_default())),
            Waited::TimedOut => {
                let ready = load(&self.counters().ready);
                let what =
                    format!("only {ready} of {users} clients were ready after {} s", at_most.as_secs());
                Err(RunError::Unavailable(self.why_gone(&what)))
            }
        }
    }

    /// Goes through the phases, until the last is over, Ctrl-C is pressed, or the server is gone.
    fn send(&mut self, first_us: u64) -> Result<(), RunError> {
        let (scenario, curves) = (&self.options.scenario, self.options.scenario.curves());
        let measured = first_measured(scenario);
        self.world.shared.measured_from_us.store(u64::MAX, Relaxed);
        let begin = |phase: usize, start_us: u64| {
            if phase == measured {
                self.world.shared.measured_from_us.store(start_us, Relaxed);
            }
            self.world.course.begin(phase, start_us);
        };
        let mut start_us = first_us;
        for (phase, curve) in curves.iter().enumerate() {
            let kind = scenario.phases[phase].kind.name();
            begin(phase, start_us);
            self.watch.phase = phase + 1;
            let end_us = start_us + (curve.seconds * 1e6) as u64;
            let later: f64 = curves[phase + 1..].iter().map(|curve| curve.seconds).sum();
            let last_us = end_us + (later * 1e6) as u64;
            self.watch.span = Some(Span { first_us, phase_end_us: end_us, end_us: last_us });
            let grows = self.world.course.users_after(phase) > self.world.course.users(phase);
            if !grows && phase + 1 < curves.len() {
                // Said beforehand, so that its first messages go out in time.
                begin(phase + 1, end_us);
            }
            let what = format!("{kind} {}/{}", phase + 1, curves.len());
            let waited = self.until(&what, end_us)?;
            let seconds = (self.world.now_us().min(end_us).saturating_sub(start_us)) as f64 / 1e6;
            let start_s = (start_us - first_us) as f64 / 1e6;
            self.phases.push(PhaseReport {
                kind: kind.to_owned(),
                start_s,
                seconds,
                rate: (curve.from, curve.to),
            });
            if waited != Waited::Reached {
                break;
            }
            start_us = end_us;
            if grows {
                // Those that have joined may send from now on.
                match self.connect(self.world.course.users_after(phase)) {
                    Err(RunError::Interrupted | RunError::Lost(_)) => break,
                    other => other?,
                }
                start_us = start_us.max(self.world.now_us() + self.field.breath_us());
            }
        }
        (self.watch.phase, self.watch.span) = (0, None);
        Ok(())
    }

    /// Waits until a time; `TimedOut` if the server is gone.
    fn until(&mut self, what: &str, end_us: u64) -> Result<Waited, RunError> {
        loop {
            let left = Duration::from_micros(end_us.saturating_sub(self.world.now_us()));
            // In short steps, so that a server that is gone shows.
            let step = left.min(Duration::from_millis(500));
            match self.wait(what, step, 1, |_| false)? {
                Waited::TimedOut if left <= step => return Ok(Waited::Reached),
                Waited::TimedOut if self.is_gone() => return Ok(Waited::TimedOut),
                Waited::TimedOut => {}
                other => return Ok(other),
            }
        }
    }

    /// Whether everybody has lost the server for good.
    fn is_gone(&mut self) -> bool {
        if load(&self.counters().online) > 0 {
            self.nobody_since = None;
            return false;
        }
        let since = *self.nobody_since.get_or_insert_with(Instant::now);
        let all = load(&self.counters().gone) >= self.connected_max();
        if all || since.elapsed() >= GONE {
            let what = if all { "every session was lost" } else { "nobody has been connected for a minute" };
            let at = Duration::from_micros(self.world.now_us()).as_secs();
            self.gone = Some(self.why_gone(&format!("{what}, {at} s after the start")));
        }
        self.gone.is_some()
    }

    /// Waits until everything has come, or for as long as there is news.
    fn settle(&mut self) -> Result<Settled, RunError> {
        let reconnect = self.options.scenario.clients.reconnect;
        let quiet = if reconnect { QUIET_RECONNECT } else { QUIET };
        let until = Instant::now() + SETTLE;
        while Instant::now() < until {
            let heard = self.counters().heard();
            let shards = self.field.shards();
            let done = |c: &Counters| load(&c.finished) >= shards && c.have_settled();
            match self.wait("settling", quiet, 2, done)? {
                Waited::Reached => return Ok(Settled::All),
                Waited::Interrupted | Waited::Lost => break,
                Waited::TimedOut if self.counters().heard() == heard => return Ok(Settled::Quiet),
                Waited::TimedOut => {}
            }
        }
        Ok(Settled::Moving)
    }
}
