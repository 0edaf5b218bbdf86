//! What an operator asks of the real road: dead letters; `new_epoch.rs` has the other.

use crate::cli::{DeadLetterCall, LogicCall};
use crate::new_epoch;
use crate::worker::Config;
use anyhow::{Context, Result};
use bus::kafka::admin::ensure_shared;
use bus::kafka::{DeadLetter, DeadLetters};
use protocol::limits::DEAD_LETTERS_LIST_MAX;
use std::io::{self, Write};

/// Characters of a value that a list shows.
const SHOWN_CHARS: usize = 120;

/// Does what was asked, and prints it.
pub(crate) fn run(call: &LogicCall, config: &Config) -> Result<()> {
    match call {
        LogicCall::NewEpoch { yes } => new_epoch::run(config, *yes),
        LogicCall::DeadLetters(call) => dead_letters(call, config),
    }
}

fn dead_letters(call: &DeadLetterCall, config: &Config) -> Result<()> {
    let kafka = &config.kafka.0;
    let partitions = ensure_shared(kafka)?;
    let letters = DeadLetters::new(kafka)?;
    let all = letters.list(DEAD_LETTERS_LIST_MAX)?;
    let named = |offset: i64| {
        let found = all.iter().find(|letter| letter.offset == offset);
        found.with_context(|| format!("there is no dead letter {offset}: `dead-letters list` shows them"))
    };
    match call {
        DeadLetterCall::List => list(&all),
        DeadLetterCall::Show { offset } => show(named(*offset)?),
        DeadLetterCall::Replay { offset } => {
            let letter = named(*offset)?;
            let partition = letters.replay(letter, partitions)?;
            println!("{} is in {} again, partition {partition}", letter.offset, letter.source_topic);
            Ok(())
        }
    }
}

fn list(all: &[DeadLetter]) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "offset  from                              reason")?;
    for letter in all {
        let from = format!("{}/{}@{}", letter.source_topic, letter.source_partition, letter.source_offset);
        let reason: String = letter.reason.chars().take(SHOWN_CHARS).collect();
        writeln!(out, "{:6}  {from:32}  {reason}", letter.offset)?;
    }
    if all.len() == DEAD_LETTERS_LIST_MAX {
        writeln!(out, "these are the oldest {DEAD_LETTERS_LIST_MAX}; there may be more")?;
    }
    Ok(())
}

fn show(letter: &DeadLetter) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "offset   {}", letter.offset)?;
    writeln!(
        out,
        "from     {}, partition {}, offset {}",
        letter.source_topic, letter.source_partition, letter.source_offset
    )?;
    writeln!(out, "reason   {}", letter.reason)?;
    for (name, value) in &letter.headers {
        writeln!(out, "header   {name}: {}", value.as_deref().map_or("-".into(), String::from_utf8_lossy))?;
    }
    let text =
        |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |b| String::from_utf8_lossy(b).into_owned());
    writeln!(out, "key      {}", text(letter.key.as_deref()))?;
    writeln!(out, "value    {}", text(letter.value.as_deref()))?;
    Ok(())
}
