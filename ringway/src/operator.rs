//! What an operator asks of the real road: dead letters, and a new epoch after a loss of the log.

use crate::cli::{DeadLetterCall, LogicCall};
use crate::worker::Config;
use anyhow::{Context, Result, bail};
use bus::kafka::admin::{ensure_shared, next_offsets};
use bus::kafka::{DeadLetter, DeadLetters};
use logic::store::Backend;
use logic::store::mysql::MySqlConfig;
use protocol::limits::DEAD_LETTERS_LIST_MAX;
use std::io::{self, Write};
use tokio::runtime::Builder;

/// Characters of a value that a list shows.
const SHOWN_CHARS: usize = 120;

/// Does what was asked, and prints it.
pub(crate) fn run(call: &LogicCall, config: &Config) -> Result<()> {
    match call {
        LogicCall::NewEpoch { yes } => new_epoch(config, *yes),
        LogicCall::DeadLetters(call) => dead_letters(call, config),
    }
}

/// Raises every partition's epoch, and has it go on at the end of the log there is now.
fn new_epoch(config: &Config, yes: bool) -> Result<()> {
    let kafka = &config.kafka.0;
    let store = MySqlConfig::new(&config.mysql)?;
    let partitions = ensure_shared(kafka)?;
    let offsets = next_offsets(kafka, partitions)?;
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    runtime.block_on(async {
        store.prepare(partitions.upstream).await?;
        let before = store.open_store().await?.partitions().await?;
        let epoch = before.iter().map(|partition| partition.epoch).max().unwrap_or(0);
        let recorded: u64 = before.iter().map(|partition| partition.next_offset).sum();
        println!(
            "{} partitions, epoch {epoch}, {recorded} records persisted from the log so far",
            before.len()
        );
        println!("the log there is now holds {} to come after", offsets.iter().sum::<u64>());
        if !yes {
            bail!(
                "nothing was changed. Stop all workers, see that the log is really lost (or the topic is a \
                 new one), then run it again with --yes: every partition goes on from the end of this log"
            );
        }
        store.new_epoch(&offsets).await?;
        println!("epoch {} begins; start the workers", u32::from(epoch) + 1);
        Ok(())
    })
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
