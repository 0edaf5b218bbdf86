//! The door: workers are waited for, let in, or told why not.

use super::frame::{self, FrameError};
use super::link::{Event, Link};
use super::message::{Answer, Hello};
use super::{Coordinator, EVENTS_MAX, HELLO, HELLO_BYTES_MAX, HELLOS_MAX, PROTOCOL, Secret, VERSION, secret};
use crate::run::RunError;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

/// How often the door is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A worker that was let in.
#[derive(Debug)]
struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    pid: u32,
}

/// What the threads at the door share.
#[derive(Debug)]
struct Places {
    all: u32,
    taken: AtomicU32,
    hellos: AtomicUsize,
    closed: AtomicBool,
    secret: Option<Secret>,
}

/// The door, open as long as this lives: who comes too late is told so.
#[derive(Debug)]
pub(super) struct Door(Arc<Places>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.closed.store(true, Release);
    }
}

/// Those who were let in, what they say, and the door.
pub(super) type Gathered = (Vec<Link>, Receiver<(u32, Event)>, Door);

/// Opens the door, and waits until all workers are there.
pub(super) fn gather(how: &Coordinator, interrupts: &AtomicU64) -> Result<Gathered, RunError> {
    let listener = TcpListener::bind(how.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| {
            RunError::Unavailable(format!("cannot listen on {} ({error}): --listen", how.listen))
        })?;
    let address = listener.local_addr().unwrap_or(how.listen);
    eprintln!("waiting for {} workers: ringway load worker --join {address}", how.workers);
    let places = Arc::new(Places {
        all: how.workers,
        taken: AtomicU32::new(0),
        hellos: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
        secret: how.secret.clone(),
    });
    let (arrived, arrivals) = channel();
    let door = Door(Arc::clone(&places));
    let (events, said) = sync_channel(EVENTS_MAX);
    let open = move || stand(&listener, &places, &arrived);
    let start = |error: io::Error| RunError::Start(error.to_string());
    std::thread::Builder::new().name("door".into()).spawn(open).map_err(start)?;
    let mut links = vec![];
    match wait(how, interrupts, &door, (&arrivals, events, &said), &mut links) {
        Ok(()) => Ok((links, said, door)),
        Err(error) => {
            super::crowd::dismiss(&mut links, &error);
            Err(error)
        }
    }
}

type Channels<'a> = (&'a Receiver<Arrival>, SyncSender<(u32, Event)>, &'a Receiver<(u32, Event)>);

fn wait(
    how: &Coordinator,
    interrupts: &AtomicU64,
    door: &Door,
    (arrivals, events, said): Channels<'_>,
    links: &mut Vec<Link>,
) -> Result<(), RunError> {
    let until = Instant::now() + how.wait;
    let mut ids = 0..;
    loop {
        for Arrival { stream, peer, pid } in arrivals.try_iter() {
            let id = ids.next().unwrap_or(u32::MAX);
            let link = Link::new(id, stream, peer, pid, events.clone());
            links.push(link.map_err(|error| RunError::Start(error.to_string()))?);
            eprintln!("worker {} of {} has joined from {peer}, pid {pid}", links.len(), how.workers);
        }
        for (id, event) in said.try_iter() {
            if let Some(link) = links.iter_mut().find(|link| link.id == id) {
                link.hear(event);
            }
        }
        links.retain(|link| {
            if let Some(why) = &link.gone {
                eprintln!("the worker at {}, pid {}, has left: {why}", link.peer, link.pid);
                door.0.taken.fetch_sub(1, AcqRel);
            }
            link.gone.is_none()
        });
        if links.len() == how.workers as usize {
            return Ok(());
        }
        if interrupts.load(Acquire) > 0 {
            return Err(RunError::Interrupted);
        }
        if Instant::now() >= until {
            let (there, all, wait) = (links.len(), how.workers, how.wait.as_secs());
            return Err(RunError::Lost(format!(
                "only {there} of {all} workers joined within {wait} s: start `ringway load worker --join`, or wait longer with --wait"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

/// Stands at the door until it is closed: each who comes is heard on a thread of its own.
fn stand(listener: &TcpListener, places: &Arc<Places>, arrived: &Sender<Arrival>) {
    while !places.closed.load(Acquire) {
        let Ok((stream, peer)) = listener.accept() else {
            // Nobody there, or no file left for it: either may be otherwise in a while.
            std::thread::sleep(LOOK);
            continue;
        };
        if places.hellos.fetch_add(1, AcqRel) >= HELLOS_MAX {
            places.hellos.fetch_sub(1, AcqRel);
            continue;
        }
        let (own, arrived) = (Arc::clone(places), arrived.clone());
        let greet = move || {
            let greeted = greet(&stream, &own);
            own.hellos.fetch_sub(1, AcqRel);
            match greeted {
                // The coordinator may have given up meanwhile.
                Ok(pid) => drop(arrived.send(Arrival { stream, peer, pid })),
                Err(why) => eprintln!("{peer} was not let in: {why}"),
            }
        };
        if std::thread::Builder::new().name("hello".into()).spawn(greet).is_err() {
            places.hellos.fetch_sub(1, AcqRel);
        }
    }
}

/// Hears who it is; its process id, or why it is not let in.
fn greet(mut stream: &TcpStream, places: &Places) -> Result<u32, String> {
    let text = |error: FrameError| error.to_string();
    let io = |error: io::Error| error.to_string();
    stream.set_nonblocking(false).map_err(io)?;
    stream.set_read_timeout(Some(HELLO)).map_err(io)?;
    stream.set_write_timeout(Some(HELLO)).map_err(io)?;
    let nonce = secret::nonce().map_err(io)?;
    let own = Hello {
        protocol: PROTOCOL,
        version: VERSION.to_owned(),
        nonce: nonce.clone(),
        proof: None,
        pid: std::process::id(),
    };
    frame::write(&mut stream, &own, HELLO_BYTES_MAX).map_err(text)?;
    let hello: Hello = frame::read(&mut stream, HELLO_BYTES_MAX).map_err(text)?;
    if let Err(why) = admit(&hello, &nonce, places) {
        // It may not wait for the answer.
        let _ = frame::write(&mut stream, &Answer::Refused { why: why.clone() }, HELLO_BYTES_MAX);
        return Err(why);
    }
    let proof = places.secret.as_ref();
    let proof = proof.map(|secret| secret.prove("coordinator", [&hello.nonce, &nonce]));
    frame::write(&mut stream, &Answer::Accepted { proof }, HELLO_BYTES_MAX).map_err(|error| {
        places.taken.fetch_sub(1, AcqRel);
        text(error)
    })?;
    Ok(hello.pid)
}

/// Gives a worker a place, or says why not.
fn admit(hello: &Hello, nonce: &str, places: &Places) -> Result<(), String> {
    if (hello.protocol, hello.version.as_str()) != (PROTOCOL, VERSION) {
        return Err(format!(
            "the coordinator is ringway {VERSION} with protocol {PROTOCOL}, the worker is {:.40} with {}: use one version on both sides",
            hello.version, hello.protocol
        ));
    }
    let nonces = [nonce, hello.nonce.as_str()];
    secret::check(places.secret.as_ref(), "worker", nonces, hello.proof.as_deref())?;
    let free = |taken: u32| (taken < places.all).then_some(taken + 1);
    let place = places.taken.fetch_update(AcqRel, Acquire, free);
    place.map(drop).map_err(|_| format!("the run has its {} workers already", places.all))
}
