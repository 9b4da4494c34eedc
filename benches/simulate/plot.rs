//! Lines over a logarithmic axis, as SVG that every browser shows.

use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 60.0;
/// Told apart by the colour-blind, too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"];

pub struct Panel<'a> {
    pub title: &'a str,
    pub x_title: &'a str,
    /// Of both axes; the vertical one is linear where it is false.
    pub logarithmic: bool,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Writing into a String can not fail.
macro_rules! line {
    ($out:ident, $($part:tt)*) => {{ let _ = writeln!($out, $($part)*); }};
}

/// The panels beside each other.
pub fn svg(panels: &[Panel]) -> String {
    let mut out = String::new();
    let width = panels.len() as f64 * (WIDTH + 2.0 * MARGIN);
    let height = HEIGHT + 2.0 * MARGIN;
    line!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}""#);
    line!(out, r#"  font-family="sans-serif" font-size="12">"#);
    line!(out, r#"<rect width="{width}" height="{height}" fill="white"/>"#);
    for (index, panel) in panels.iter().enumerate() {
        let left = index as f64 * (WIDTH + 2.0 * MARGIN) + MARGIN;
        line!(out, r#"<g transform="translate({left} {MARGIN})">"#);
        write(&mut out, panel);
        line!(out, "</g>");
    }
    line!(out, "</svg>");
    out
}

fn write(out: &mut String, panel: &Panel) {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let (x_low, x_high) = range(points().map(|point| point.0));
    let (mut y_low, mut y_high) = range(points().map(|point| point.1));
    if panel.logarithmic {
        y_low = 10f64.powf(y_low.log10().floor());
        y_high = 10f64.powf(y_high.log10().ceil());
    } else {
        (y_low, y_high) = (0.0, y_high.max(1.0));
    }
    let x = |value: f64| share(value.ln(), x_low.ln(), x_high.ln()) * WIDTH;
    let y = |value: f64| {
        let share = if panel.logarithmic {
            share(value.ln(), y_low.ln(), y_high.ln())
        } else {
            share(value, y_low, y_high)
        };
        HEIGHT - share * HEIGHT
    };
    line!(out, r#"<text x="0" y="-20" font-size="14">{}</text>"#, panel.title);
    let (middle, below) = (WIDTH / 2.0, HEIGHT + 40.0);
    line!(out, r#"<text x="{middle}" y="{below}" text-anchor="middle">{}</text>"#, panel.x_title);
    for value in ticks(y_low, y_high, panel.logarithmic) {
        let at = y(value);
        line!(out, r##"<path d="M0 {at:.1}H{WIDTH}" stroke="#ddd"/>"##);
        line!(out, r#"<text x="-6" y="{:.1}" text-anchor="end">{value}</text>"#, at + 4.0);
    }
    let mut seen: Vec<f64> = points().map(|point| point.0).collect();
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    for value in seen {
        let (at, under) = (x(value), HEIGHT + 18.0);
        line!(out, r#"<text x="{at:.1}" y="{under}" text-anchor="middle">{value}</text>"#);
    }
    for (index, (line, colour)) in panel.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let path = line.points.iter().map(|&(px, py)| format!("{:.1},{:.1}", x(px), y(py)));
        let path: Vec<String> = path.collect();
        let path = path.join(" ");
        line!(out, r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
        let at = 14.0 + 16.0 * index as f64;
        line!(out, r#"<text x="8" y="{at}" fill="{colour}">{}</text>"#, line.name);
    }
}

fn share(value: f64, low: f64, high: f64) -> f64 {
    if high > low { (value - low) / (high - low) } else { 0.5 }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), high.max(value)))
}

fn ticks(low: f64, high: f64, logarithmic: bool) -> Vec<f64> {
    if !logarithmic {
        return (0..=5).map(|part| low + (high - low) * f64::from(part) / 5.0).collect();
    }
    let (from, to) = (low.log10().round() as i32, high.log10().round() as i32);
    (from..=to).map(|power| 10f64.powi(power)).collect()
}
