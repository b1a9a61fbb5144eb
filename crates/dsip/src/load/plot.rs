//! Line plots as SVG, just as much as the report needs.

use std::fmt::Write as _;

/// Size of a plot, and of the room for its labels, in SVG's own units.
const SIZE: (f64, f64) = (860.0, 300.0);
const ROOM: Room = Room { left: 64.0, right: 14.0, top: 12.0, bottom: 44.0 };

struct Room {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// Each power of ten is as wide as the next.
    Log,
    /// A quantile: 90 %, 99 %, 99.9 % are equally far from each other.
    Quantile,
}

/// A line.
pub(super) struct Series {
    pub(super) name: String,
    /// One of the page's colours, `c0` to `c9`.
    pub(super) colour: usize,
    pub(super) dashed: bool,
    /// Its pieces: where there is no value, a line has a gap.
    pub(super) pieces: Vec<Vec<(f64, f64)>>,
}

/// Lines over two axes.
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) x: (Scale, &'static str),
    pub(super) y: (Scale, &'static str),
    pub(super) series: Vec<Series>,
}

/// One axis: its scale, and the span it shows.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (0.1, 1.0);
        }
        let (low, high) = match scale {
            Scale::Linear => (0.0, if most > 0.0 { most * 1.04 } else { 1.0 }),
            Scale::Log => {
                let (low, high) = (least.max(1e-3).log10().floor(), most.max(1e-3).log10().ceil());
                (10_f64.powf(low), 10_f64.powf(high.max(low + 1.0)))
            }
            Scale::Quantile => (0.0, most.clamp(0.9, 0.999_999)),
        };
        Self { scale, low, high }
    }

    /// Where between 0 and 1 a value lies.
    fn place(&self, value: f64) -> f64 {
        let place = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.low).log10(),
            Scale::Quantile => -(1.0 - value.clamp(0.0, self.high)).log10(),
        };
        (place(value) - place(self.low)) / (place(self.high) - place(self.low))
    }

    /// Values worth a line, with their names.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low) / 6.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
                let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
                let decimals = (-step.log10().floor()).max(0.0) as usize;
                let count = (self.high / step).floor() as u32;
                (0..=count).map(|n| f64::from(n) * step).map(|value| (value, format!("{value:.decimals$}"))).collect()
            }
            Scale::Log => {
                let (low, high) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
                let value = |power: i32| 10_f64.powi(power);
                (low..=high)
                    .map(|power| (value(power), format!("{:.*}", usize::try_from(-power).unwrap_or(0), value(power))))
                    .collect()
            }
            Scale::Quantile => ["0", "50", "90", "99", "99.9", "99.99", "99.999"]
                .into_iter()
                .filter_map(|name| Some((name.parse::<f64>().ok()? / 100.0, format!("{name} %"))))
                .filter(|(value, _)| *value <= self.high)
                .collect(),
        }
    }
}

impl Plot {
    /// The plot with its title and its key, as a `figure`.
    pub(super) fn figure(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.pieces.iter().flatten());
        let x = Axis::over(self.x.0, points().map(|point| point.0));
        let y = Axis::over(self.y.0, points().map(|point| point.1));
        let (width, height) = (SIZE.0 - ROOM.left - ROOM.right, SIZE.1 - ROOM.top - ROOM.bottom);
        let across = |value: f64| ROOM.left + x.place(value) * width;
        let down = |value: f64| ROOM.top + (1.0 - y.place(value)) * height;
        let (left, right, top, bottom) = (ROOM.left, ROOM.left + width, ROOM.top, ROOM.top + height);

        let mut svg = String::new();
        // Writing to a string cannot fail.
        let mut put = |text: std::fmt::Arguments<'_>| {
            let _ = svg.write_fmt(text);
        };
        put(format_args!("<figure><figcaption>{}<span class=\"key\">", self.title));
        for Series { name, colour, dashed, .. } in &self.series {
            let dash = if *dashed { " dashed" } else { "" };
            put(format_args!("<span><i class=\"c{colour}{dash}\"></i>{name}</span>"));
        }
        put(format_args!("</span></figcaption>"));
        put(format_args!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", SIZE.0, SIZE.1, self.title));
        for (value, name) in y.ticks() {
            let at = down(value);
            put(format_args!("<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
            put(format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", left - 8.0, at + 4.0));
        }
        for (value, name) in x.ticks() {
            let at = across(value);
            put(format_args!("<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"));
            put(format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>", bottom + 16.0));
        }
        let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
        put(format_args!(
            "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            middle.0,
            SIZE.1 - 6.0,
            self.x.1
        ));
        put(format_args!(
            "<text class=\"axis\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            middle.1, self.y.1
        ));
        for Series { colour, dashed, pieces, .. } in &self.series {
            let dash = if *dashed { " dashed" } else { "" };
            for piece in pieces {
                match piece.as_slice() {
                    [] => {}
                    // A line of one point is invisible.
                    [point] => {
                        let (x, y) = (across(point.0), down(point.1));
                        put(format_args!("<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>"));
                    }
                    points => {
                        put(format_args!("<polyline class=\"c{colour}{dash}\" points=\""));
                        for point in points {
                            put(format_args!("{:.1},{:.1} ", across(point.0), down(point.1)));
                        }
                        put(format_args!("\"/>"));
                    }
                }
            }
        }
        put(format_args!("</svg></figure>"));
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let names = |axis: &Axis| axis.ticks().into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ");
        let axis = Axis::over(Scale::Linear, [0.0, 47.0].into_iter());
        assert_eq!(names(&axis), "0 10 20 30 40");
        let axis = Axis::over(Scale::Linear, [0.1, 0.42].into_iter());
        assert_eq!(names(&axis), "0.0 0.1 0.2 0.3 0.4");
        let axis = Axis::over(Scale::Log, [0.07, 30.0].into_iter());
        assert_eq!(names(&axis), "0.01 0.1 1 10 100");
        let axis = Axis::over(Scale::Quantile, [0.5, 0.9995].into_iter());
        assert_eq!(names(&axis), "0 % 50 % 90 % 99 % 99.9 %");
        for axis in [Axis::over(Scale::Log, std::iter::empty()), Axis::over(Scale::Linear, [0.0].into_iter())] {
            assert!(axis.ticks().iter().all(|(value, _)| (-0.001..=1.001).contains(&axis.place(*value))));
        }
    }

    #[test]
    fn every_point_lies_inside_the_picture() {
        let points = vec![(0.0, 0.0), (10.0, 1e9), (20.0, 1e-9)];
        for scale in [Scale::Linear, Scale::Log] {
            let series = Series { name: "all".into(), colour: 0, dashed: false, pieces: vec![points.clone()] };
            let figure = Plot { title: "t", x: (Scale::Linear, "x"), y: (scale, "y"), series: vec![series] }.figure();
            let line = figure.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
            for point in line.split_whitespace() {
                let (x, y) = point.split_once(',').expect("two numbers");
                let [x, y] = [x, y].map(|text| text.parse::<f64>().expect("a number"));
                assert!((0.0..=SIZE.0).contains(&x) && (0.0..=SIZE.1).contains(&y), "{point}");
            }
        }
    }
}
