//! A few lines of a terminal, redrawn in place.

use super::{Left, Totals, counts, rates};
use crate::interval::Interval;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of what is done, and lines of figures below. NO_COLOR is kept by the library.
const TEMPLATE: &str = "{prefix} {wide_bar:.cyan/dim} {percent:>3}%\n{msg}";
/// Steps of the bar.
const STEPS: u64 = 1_000;

/// Lines that are redrawn in place, and wiped at the end, however it comes.
#[derive(Debug)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    /// Nothing where stderr is no terminal, or one that can't move its cursor.
    pub(super) fn new() -> Option<Self> {
        let target = ProgressDrawTarget::stderr();
        let style = ProgressStyle::with_template(TEMPLATE).ok().filter(|_| !target.is_hidden())?;
        Some(Self(ProgressBar::with_draw_target(Some(STEPS), target).with_style(style)))
    }

    pub(super) fn show(&self, what: &str, totals: Totals, interval: &Interval) {
        let share = match totals.left {
            Some(left) => left.gone,
            // Before the first message: who is there.
            None if totals.sent == 0 => interval.online as f64 / totals.users.max(1) as f64,
            None => 1.0,
        };
        self.draw(what, share, lines(totals, interval));
    }

    /// Draws a bar of what is done, 0 to 1, and what stands below it.
    pub(super) fn draw(&self, what: &str, share: f64, below: String) {
        self.0.set_prefix(what.to_owned());
        self.0.set_message(below);
        self.0.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The figures below the bar.
fn lines(totals: Totals, i: &Interval) -> String {
    let left = totals.left.map_or(String::new(), |Left { phase_s, all_s, .. }| {
        format!(", {phase_s:.0} s left of the phase, {all_s:.0} s of the sending")
    });
    let persisted = match totals.unacknowledged {
        true => String::new(),
        false => format!("p50 {:.1} p99 {:.1} ms persisted, ", i.persisted_ms.p50, i.persisted_ms.p99),
    };
    format!(
        "{} s gone{left}\n{}\n{persisted}p50 {:.1} p99 {:.1} ms delivered\n{}",
        totals.seconds,
        rates(totals, i),
        i.delivered_ms.p50,
        i.delivered_ms.p99,
        counts(totals, i)
    )
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::interval::Interval;
    use crate::progress::{Left, Totals};

    #[test]
    fn the_lines_have_the_time_left_of_the_phase_and_of_all() {
        let left = Some(Left { phase_s: 12.4, all_s: 47.8, gone: 0.3 });
        let totals = Totals {
            seconds: 21,
            users: 10,
            unacknowledged: false,
            sent: 9,
            persisted: 9,
            delivered: 8,
            errors: 1,
            left,
        };
        let interval = Interval { seconds: 1.0, online: 10, sent: 100, in_flight: 3, ..Interval::default() };
        let text = lines(totals, &interval);
        assert!(text.starts_with("21 s gone, 12 s left of the phase, 48 s of the sending\n"), "{text}");
        for part in ["10 of 10 online, 100/s sent", "3 in flight", "errors 1, lag 0.0 ms"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
