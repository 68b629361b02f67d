//! Charts as SVG text: lines over two axes, and bars. They are drawn in the colours of a light page; `style` has
//! what a page needs to show them in the dark too. Not the page, and not what is in the charts.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub const WIDTH: u32 = 520;
/// Of a chart that has a row for itself.
pub const WIDE: u32 = 1060;
const HEIGHT: u32 = 240;
const BAR_STEP: u32 = 24;
const BAR_HEIGHT: i32 = 14;
const BAR_LABEL_WIDTH: i32 = 190;
const BAR_VALUE_WIDTH: i32 = 110;
/// Points so few are shown one by one.
const MARKED_MAX: usize = 40;

const INK: RGBColor = RGBColor(0x5c, 0x68, 0x78);
const LINE: RGBColor = RGBColor(0xdd, 0xe2, 0xe9);
const CLEAR: RGBAColor = RGBAColor(0, 0, 0, 0.0);

/// The colours of what is shown, in the order in which they are given out.
pub const TONES: [Tone; 4] = [
    Tone { light: RGBColor(0x0b, 0x72, 0x85), dark: "#3bc9db" },
    Tone { light: RGBColor(0xd9, 0x6c, 0x0a), dark: "#f59f4a" },
    Tone { light: RGBColor(0x7a, 0x4f, 0xc9), dark: "#b197fc" },
    Tone { light: RGBColor(0xb4, 0x23, 0x18), dark: "#f87171" },
];

#[derive(Clone, Copy)]
pub struct Tone {
    light: RGBColor,
    dark: &'static str,
}

impl Tone {
    pub fn css(self) -> String {
        hex(self.light)
    }
}

/// One axis: from where to where, and what is written at which values.
pub struct Axis {
    pub from: f64,
    pub to: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to a round number that is at least `max`.
    pub fn from_zero(max: f64, n_ticks: usize, label: impl Fn(f64) -> String) -> Axis {
        let step = round_step(max / n_ticks as f64);
        let n = (max / step).ceil().max(1.0) as usize;
        let ticks = (0..=n).map(|k| k as f64 * step).map(|value| (value, label(value))).collect();
        Axis { from: 0.0, to: n as f64 * step, ticks }
    }

    fn label(&self, value: f64) -> String {
        let at = self.ticks.iter().find(|(tick, _)| (tick - value).abs() < 1e-9 * (1.0 + value.abs()));
        at.map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-12).log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= least * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

pub struct Series {
    pub tone: Tone,
    /// Lies broad under the others.
    pub is_broad: bool,
    pub points: Vec<(f64, f64)>,
}

pub struct Bar {
    pub label: String,
    pub value: f64,
    pub text: String,
}

/// Lines over two axes.
pub fn lines(width: u32, x: &Axis, y: &Axis, series: &[Series]) -> String {
    drawn((width, HEIGHT), |area| {
        let keyed = |axis: &Axis| {
            let points: Vec<f64> = axis.ticks.iter().map(|(value, _)| *value).collect();
            Keyed { from: axis.from, to: axis.to, points }
        };
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(20)
            .x_label_area_size(30)
            .y_label_area_size(62)
            .build_cartesian_2d(keyed(x), keyed(y))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(CLEAR)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .x_label_formatter(&|value| x.label(*value))
            .y_label_formatter(&|value| y.label(*value))
            .draw()?;
        for one in series {
            let (width, opacity) = if one.is_broad { (7, 0.35) } else { (2, 1.0) };
            let style = one.tone.light.mix(opacity).stroke_width(width);
            chart.draw_series(LineSeries::new(one.points.iter().copied(), style))?;
            if one.points.len() <= MARKED_MAX && !one.is_broad {
                let dots = one.points.iter().map(|point| Circle::new(*point, 3, one.tone.light.filled()));
                chart.draw_series(dots)?;
            }
        }
        Ok(())
    })
}

/// Horizontal bars from zero, with a label before and a text behind each.
pub fn bars(tone: Tone, bars: &[Bar]) -> String {
    let max = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    drawn((WIDTH, bars.len() as u32 * BAR_STEP + 8), |area| {
        let room = f64::from(WIDTH as i32 - BAR_LABEL_WIDTH - BAR_VALUE_WIDTH);
        let font = || ("sans-serif", 13).into_font().color(&INK);
        for (k, bar) in bars.iter().enumerate() {
            let top = (k as u32 * BAR_STEP) as i32 + 6;
            let middle = top + BAR_HEIGHT / 2;
            let end = BAR_LABEL_WIDTH + (bar.value / max * room).max(1.0) as i32;
            let corners = [(BAR_LABEL_WIDTH, top), (end, top + BAR_HEIGHT)];
            area.draw(&Rectangle::new(corners, tone.light.filled()))?;
            let before = font().pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(bar.label.clone(), (BAR_LABEL_WIDTH - 10, middle), before))?;
            let behind = font().pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(bar.text.clone(), (end + 8, middle), behind))?;
        }
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn drawn(size: (u32, u32), draw: impl for<'a> FnOnce(&Area<'a>) -> Result<(), Failed<'a>>) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&area).and_then(|()| area.present()).expect("a String takes all");
    drop(area);
    svg
}

/// A range that says itself where its labels are.
struct Keyed {
    from: f64,
    to: f64,
    points: Vec<f64>,
}

impl Ranged for Keyed {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from).max(f64::MIN_POSITIVE);
        limit.0 + (f64::from(limit.1 - limit.0) * share.clamp(0.0, 1.0)).round() as i32
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.points.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Keyed {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}

/// What turns the light colours into dark ones: a style wins over an attribute of SVG.
pub fn style() -> String {
    let mut dark = String::new();
    let pairs = TONES.iter().map(|tone| (tone.light, tone.dark));
    for (light, dark_colour) in pairs.chain([(INK, "#94a1b3"), (LINE, "#2d3643")]) {
        let light = hex(light);
        dark += &format!("svg [fill=\"{light}\"]{{fill:{dark_colour}}}");
        dark += &format!("svg [stroke=\"{light}\"]{{stroke:{dark_colour}}}");
        dark += &format!(".swatch[style*=\"{light}\"]{{background:{dark_colour} !important}}");
    }
    format!("@media (prefers-color-scheme: dark) {{ {dark} }}")
}

/// As plotters writes it.
fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_above_all() {
        let axis = Axis::from_zero(73.0, 5, |value| format!("{value}"));
        assert_eq!((axis.from, axis.to), (0.0, 80.0));
        let labels: Vec<_> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["0", "20", "40", "60", "80"]);
        assert!(
            Axis::from_zero(0.0, 5, |value| value.to_string()).to > 0.0,
            "an axis of nothing has a length"
        );
    }

    #[test]
    fn a_chart_has_its_labels_and_only_colours_that_the_dark_knows() {
        let axis = || Axis::from_zero(10.0, 2, |value| format!("{value} x"));
        let points = vec![(0.0, 1.0), (10.0, 9.0)];
        let svg = lines(WIDTH, &axis(), &axis(), &[Series { tone: TONES[0], is_broad: false, points }]);
        assert!(svg.starts_with("<svg") && svg.contains("10 x") && svg.contains("<polyline"));
        let style = style();
        for colour in svg.split('"').filter(|word| word.starts_with('#') && *word != "#000000") {
            assert!(style.contains(colour), "{colour}");
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |value: f64| Bar { label: format!("flow <{value}>"), value, text: value.to_string() };
        let svg = bars(TONES[3], &[bar(10.0), bar(5.0)]);
        let widths: Vec<u32> = svg
            .split("<rect ")
            .skip(1)
            .map(|rect| {
                rect.split("width=\"").nth(1).expect("it has one").split('"').next().expect("it ends")
            })
            .map(|width| width.parse().expect("it is a number"))
            .collect();
        assert_eq!(widths, [220, 110]);
        assert!(svg.contains("flow &lt;10&gt;"), "{svg}");
    }
}
