//! How far the judgement of a run is, on stderr, once it takes longer than one waits without a word.

use super::Progress;
use super::screen::Screen;
use crate::judge::{Far, Pace, Stage};
use crate::report::grouped;
use std::io::Write;
use std::time::{Duration, Instant};

/// What is over by then is not shown.
const PATIENCE: Duration = Duration::from_secs(2);
/// From line to line, where there is no terminal.
const EVERY: Duration = Duration::from_secs(3);

/// A pace that is shown like that; what stands on a terminal is wiped with it.
pub fn judging(how: Progress) -> Pace<'static> {
    let (began, mut shown) = (Instant::now(), Judging::new(how));
    Pace::new(move |far| {
        if let Some(line) = shown.show(far, began.elapsed()) {
            // Who closes stderr doesn't want to know.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    })
}

#[derive(Debug)]
enum Judging {
    /// Nothing yet; on a terminal, if there is one, or anyhow as lines.
    Waiting(Progress),
    Screen(Screen),
    /// As lines, the next of which is due then.
    Plain(Duration),
    Nothing,
}

impl Judging {
    fn new(how: Progress) -> Self {
        if how == Progress::None { Self::Nothing } else { Self::Waiting(how) }
    }

    /// Draws how far it is after that time, or says the line that is due.
    fn show(&mut self, far: Far, since: Duration) -> Option<String> {
        if let Self::Waiting(how) = *self
            && since >= PATIENCE
        {
            let screen = (how == Progress::Auto).then(Screen::new).flatten();
            *self = screen.map_or(Self::Plain(since), Self::Screen);
        }
        match self {
            Self::Screen(screen) => screen.draw("judging", share(far), text(far)),
            Self::Plain(due) if since >= *due => {
                *due = since + EVERY;
                return Some(format!("judging: {}", text(far)));
            }
            Self::Plain(_) | Self::Waiting(_) | Self::Nothing => {}
        }
        None
    }
}

/// The share of the stage that is done, 0 to 1.
fn share(far: Far) -> f64 {
    far.all.map_or(0.0, |all| far.done as f64 / all.max(1) as f64)
}

fn text(far: Far) -> String {
    let (about, what) = match far.stage {
        Stage::Records => ("", "records"),
        // Nobody has counted them.
        Stage::Rows => ("about ", "rows of the store"),
        Stage::Messages => ("", "messages"),
    };
    let all = far.all.map_or(String::new(), |all| format!(" of {about}{}", grouped(all)));
    format!("{}{all} {what}", grouped(far.done))
}

#[cfg(test)]
mod tests {
    use super::{Judging, text};
    use crate::judge::{Far, Stage};
    use crate::progress::Progress;
    use std::time::Duration;

    fn far(stage: Stage, all: Option<u64>) -> Far {
        Far { stage, done: 12_400_000, all }
    }

    #[test]
    fn it_says_what_is_gone_through_and_of_how_many() {
        assert_eq!(text(far(Stage::Records, Some(30_000_000))), "12,400,000 of 30,000,000 records");
        assert_eq!(text(far(Stage::Records, None)), "12,400,000 records");
        let rows = text(far(Stage::Rows, Some(20_000_000)));
        assert_eq!(rows, "12,400,000 of about 20,000,000 rows of the store");
    }

    #[test]
    fn what_is_soon_over_is_not_shown_and_lines_come_seconds_apart() {
        let mut judging = Judging::new(Progress::Plain);
        let mut line = |ms| judging.show(far(Stage::Messages, None), Duration::from_millis(ms));
        assert_eq!([1, 1_999].map(&mut line), [None, None]);
        let told = Some("judging: 12,400,000 messages".to_owned());
        assert_eq!([2_000, 4_999, 5_001].map(&mut line), [told.clone(), None, told]);
    }

    #[test]
    fn nothing_is_shown_to_who_wants_no_progress() {
        let mut judging = Judging::new(Progress::None);
        assert_eq!(judging.show(far(Stage::Rows, None), Duration::from_secs(60)), None);
        assert!(matches!(judging, Judging::Nothing));
    }
}
