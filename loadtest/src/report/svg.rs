//! Curves over time and over percentiles, as SVG that stands in a page.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;

/// One curve: its name, its class of colour, and its points; a value that is not finite is a gap.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// A figure of several curves.
pub(super) struct Figure<'a> {
    pub(super) unit: &'a str,
    pub(super) curves: Vec<Curve>,
    /// Whether values are spread by their logarithm.
    pub(super) logarithmic: bool,
    /// Where the horizontal axis has marks, and what they say.
    pub(super) marks: Vec<(f64, String)>,
}

/// The colours of curves, for a page in light and in dark.
pub(super) const COLOURS: [&str; 6] = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#64748b"];

impl Figure<'_> {
    pub(super) fn draw(&self) -> String {
        let values = || self.curves.iter().flat_map(|curve| &curve.points).filter(|(_, y)| y.is_finite());
        let most = values().map(|(_, y)| *y).fold(0.0, f64::max);
        let positive = values().map(|(_, y)| *y).filter(|y| *y > 0.0);
        let least = positive.fold(f64::INFINITY, f64::min).min(most);
        let x_most = self.marks.iter().map(|(x, _)| *x).chain(values().map(|(x, _)| *x)).fold(0.0, f64::max);
        let x_least = values().map(|(x, _)| *x).fold(x_most, f64::min);
        if most <= 0.0 || x_most <= x_least {
            return "<p class=\"none\">nothing was measured</p>".to_owned();
        }
        let scale = if self.logarithmic { Scale::logarithmic(least, most) } else { Scale::linear(most) };
        let x_of = |x: f64| LEFT + (x - x_least) / (x_most - x_least) * (WIDTH - LEFT - RIGHT);
        let y_of = |y: f64| TOP + (1.0 - scale.share(y)) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        for tick in scale.ticks() {
            let y = y_of(tick);
            put(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                    WIDTH - RIGHT
                ),
            );
            put(
                &mut svg,
                format_args!(
                    "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    LEFT - 6.0,
                    y + 4.0,
                    short(tick)
                ),
            );
        }
        for (x, says) in self.marks.iter().filter(|(x, _)| *x >= x_least) {
            put(
                &mut svg,
                format_args!(
                    "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{says}</text>",
                    x_of(*x),
                    HEIGHT - 10.0
                ),
            );
        }
        for curve in &self.curves {
            let mut path = String::new();
            let mut broken = true;
            for (x, y) in &curve.points {
                if y.is_finite() && (!self.logarithmic || *y > 0.0) {
                    put(
                        &mut path,
                        format_args!("{}{:.1} {:.1}", if broken { 'M' } else { 'L' }, x_of(*x), y_of(*y)),
                    );
                }
                broken = !y.is_finite() || (self.logarithmic && *y <= 0.0);
            }
            put(
                &mut svg,
                format_args!(
                    "<path class=\"c{}\" d=\"{path}\"><title>{}</title></path>",
                    curve.colour, curve.name
                ),
            );
        }
        svg.push_str("</svg>");
        svg + &self.legend()
    }

    fn legend(&self) -> String {
        let mut legend = format!("<p class=\"legend\">{}", self.unit);
        for curve in &self.curves {
            put(&mut legend, format_args!(" <span class=\"k{}\">{}</span>", curve.colour, curve.name));
        }
        legend + "</p>"
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}

/// Where values lie between bottom and top.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn linear(most: f64) -> Self {
        let step = step(most);
        Self { low: 0.0, high: (most / step).ceil() * step, logarithmic: false }
    }

    fn logarithmic(least: f64, most: f64) -> Self {
        let (low, high) = (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()));
        Self { low, high: if high > low { high } else { low * 10.0 }, logarithmic: true }
    }

    fn share(&self, y: f64) -> f64 {
        if self.logarithmic {
            return (y.max(self.low) / self.low).log10() / (self.high / self.low).log10();
        }
        y / self.high
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let tens = (self.high / self.low).log10().round() as i32;
            return (0..=tens).map(|ten| self.low * 10f64.powi(ten)).collect();
        }
        let step = step(self.high);
        let count = (self.high / step).round() as u32;
        (0..=count).map(|n| f64::from(n) * step).collect()
    }
}

/// A round step of which four to ten fit.
fn step(most: f64) -> f64 {
    let ten = 10f64.powf(most.log10().floor());
    match most / ten {
        part if part < 2.0 => ten / 4.0,
        part if part < 5.0 => ten / 2.0,
        _ => ten,
    }
}

/// A value in few characters.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 1e4 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Curve, Figure, Scale, short};

    #[test]
    fn axes_have_round_marks() {
        assert_eq!(Scale::linear(950.0).ticks().last(), Some(&1_000.0));
        assert_eq!(Scale::linear(1.3).ticks(), [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]);
        assert_eq!(Scale::logarithmic(0.3, 42.0).ticks().len(), 4);
        let texts = [0.25, 1_000.0, 25_000.0, 2_500_000.0].map(short);
        assert_eq!(texts, ["0.25", "1000", "25k", "2.5M"]);
    }

    #[test]
    fn a_gap_breaks_the_curve_and_nothing_is_said_to_be_nothing() {
        let figure = |points: Vec<(f64, f64)>| Figure {
            unit: "ms",
            curves: vec![Curve { name: "p50", colour: 0, points }],
            logarithmic: false,
            marks: vec![],
        };
        let svg = figure(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0)]).draw();
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert!(!svg.contains("NaN") && svg.contains("p50"));
        assert!(figure(vec![]).draw().contains("nothing was measured"));
    }
}
