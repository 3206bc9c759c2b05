//! Learning curves as a picture (SVG): one panel for each measure, one line for each cell.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::plan::Plan;
use super::report::describe;
use super::results::Results;
use super::statistics::{mean, trailing_mean};
use crate::evaluate::Way;
use crate::log::{Log, StepLine};

/// Training curves are means over this many steps.
const SMOOTHED: usize = 5;

/// Width of the picture and height of a row of panels, in pixels.
const WIDTH: u32 = 1120;
const ROW: u32 = 340;

/// Height of a line of the legend, and width of a letter in it.
const LEGEND_LINE: u32 = 24;
const LETTER: u32 = 7;

/// The colours of Okabe and Ito (Color Universal Design, 2008) that are dark enough for lines; they can be told apart
/// with any kind of colour vision.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

const FONT: &str = "sans-serif";

/// The values of one seed, as points of step and value.
type Curve = Vec<(f64, f64)>;

/// What a panel shows.
struct Panel {
    title: String,
    /// The values that are shown; none for those that the curves have.
    range: Option<Range<f64>>,
    /// Whether every point is marked, where there are few.
    marked: bool,
    /// For every cell the curves of its seeds.
    cells: Vec<Vec<Curve>>,
}

/// Draws the learning curves of all cells with finished runs.
///
/// A line is the mean over the seeds that have a value at the step; the band around it goes from the lowest to the
/// highest of them.
pub fn draw(plan: &Plan, results: &Results<'_>) -> String {
    let mut panels = vec![
        training("Success in training", Some(0.0..1.0), results, |s| s.success),
        training("Turns per training episode", None, results, |s| s.turns),
    ];
    panels.extend(results.ways.iter().map(|way| evaluation(*way, results)));
    let rows = panels.len().div_ceil(2);
    let legend = Legend::new(plan);
    let mut svg = String::new();
    {
        let height = legend.height() + ROW * rows as u32;
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let drawn = root.fill(&WHITE).and_then(|()| {
            let (top, rest) = root.split_vertically(legend.height());
            legend.draw(&top)?;
            let areas = rest.split_evenly((rows, 2));
            areas.iter().zip(&panels).try_for_each(|(area, panel)| panel.draw(area, plan))
        });
        drawn.and_then(|()| root.present()).expect("a picture in memory can always be written");
    }
    svg
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// A panel of something measured at every training step.
fn training(
    title: &str,
    range: Option<Range<f64>>,
    results: &Results<'_>,
    of: fn(&StepLine) -> f64,
) -> Panel {
    let curve = |log: &Log| -> Curve {
        let values: Vec<f64> = log.steps.iter().map(of).collect();
        log.steps.iter().map(|s| s.step as f64).zip(trailing_mean(&values, SMOOTHED)).collect()
    };
    Panel {
        title: format!("{title}, mean of the last {SMOOTHED} steps"),
        range,
        marked: false,
        cells: results.cells.iter().map(|cell| cell.runs.values().map(curve).collect()).collect(),
    }
}

/// A panel of success in one way of evaluating.
fn evaluation(way: Way, results: &Results<'_>) -> Panel {
    let curve = |log: &Log| -> Curve {
        let evaluations = log.evaluations.iter().filter(|e| e.way() == way);
        evaluations.map(|e| (e.step as f64, e.report.overall.success)).collect()
    };
    Panel {
        title: format!("Success in evaluation, {}", describe(way)),
        range: Some(0.0..1.0),
        marked: true,
        cells: results.cells.iter().map(|cell| cell.runs.values().map(curve).collect()).collect(),
    }
}

/// The colour of a cell; further ones have the same colours with broken lines.
fn colour(cell: usize) -> RGBColor {
    COLOURS[cell % COLOURS.len()]
}

/// Length and gap of a cell's line, if it is broken.
fn dashes(cell: usize) -> Option<(u32, u32)> {
    match cell / COLOURS.len() {
        0 => None,
        1 => Some((7, 4)),
        _ => Some((2, 4)),
    }
}

impl Panel {
    /// Draws the panel with all cells that have curves.
    fn draw<'a>(&self, area: &Area<'a>, plan: &Plan) -> Drawn<'a> {
        let steps = plan.cells.iter().map(|cell| cell.recipe.steps).max().unwrap_or(0).max(1) as f64;
        let values = || self.cells.iter().flatten().flatten().map(|(_, value)| *value);
        let range = self.range.clone().unwrap_or_else(|| around(values()));
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 17))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..steps, range.clone())?;
        let whole = range.end - range.start >= 5.0;
        let tick = |value: &f64| if whole { format!("{value:.0}") } else { format!("{value:.1}") };
        chart
            .configure_mesh()
            .x_desc("training step")
            .x_labels(11)
            .y_labels(6)
            .max_light_lines(0)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(RGBColor(90, 90, 90))
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&tick)
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 14))
            .draw()?;
        for (index, curves) in self.cells.iter().enumerate() {
            if curves.len() > 1 {
                let band = Band::of(curves);
                let edge = band.low.iter().chain(band.high.iter().rev()).copied();
                chart.draw_series([Polygon::new(edge.collect::<Vec<_>>(), colour(index).mix(0.12))])?;
            }
        }
        // Lines over the bands of all cells.
        for (index, curves) in self.cells.iter().enumerate() {
            let (band, style) = (Band::of(curves), line(index));
            match dashes(index) {
                None => chart.draw_series(LineSeries::new(band.mean.clone(), style))?,
                Some((dash, gap)) => {
                    chart.draw_series(DashedLineSeries::new(band.mean.iter().copied(), dash, gap, style))?
                }
            };
            if self.marked {
                chart.draw_series(
                    band.mean.iter().map(|point| Circle::new(*point, 3, colour(index).filled())),
                )?;
            }
        }
        Ok(())
    }
}

/// A range that holds all values with some room, at least 1 wide.
fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = (0.05 * (high - low)).max(0.5);
    (low - room).max(0.0)..high + room
}

/// Mean, lowest and highest value at every step.
#[derive(Default)]
struct Band {
    mean: Curve,
    low: Curve,
    high: Curve,
}

impl Band {
    /// Of the curves of a cell's seeds.
    fn of(curves: &[Curve]) -> Band {
        let mut steps: Vec<f64> = curves.iter().flatten().map(|(step, _)| *step).collect();
        steps.sort_unstable_by(f64::total_cmp);
        steps.dedup();
        let mut band = Band::default();
        for step in steps {
            let at = curves.iter().flatten().filter(|(s, _)| *s == step).map(|(_, value)| *value);
            let values: Vec<f64> = at.collect();
            band.mean.push((step, mean(&values)));
            band.low.push((step, values.iter().copied().fold(f64::INFINITY, f64::min)));
            band.high.push((step, values.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
        }
        band
    }
}

/// The names of all cells beside their lines, in as many rows as they need, above the panels.
struct Legend {
    /// Left end and row of every cell, and its name.
    entries: Vec<(u32, u32, String)>,
    rows: u32,
    title: String,
}

impl Legend {
    fn new(plan: &Plan) -> Legend {
        let (mut x, mut row) = (24, 0);
        let mut entries = Vec::new();
        for cell in &plan.cells {
            let width = 64 + LETTER * cell.name.chars().count() as u32;
            if x + width > WIDTH && x > 24 {
                (x, row) = (24, row + 1);
            }
            entries.push((x, row, cell.name.clone()));
            x += width;
        }
        let title = match plan.seeds[..] {
            [seed] => format!("{}: seed {seed}", plan.name),
            _ => format!("{}: mean over seeds; band: lowest to highest seed", plan.name),
        };
        Legend { entries, rows: row + 1, title }
    }

    /// Pixels, the title included.
    fn height(&self) -> u32 {
        46 + LEGEND_LINE * self.rows
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        area.draw(&Text::new(self.title.clone(), (24, 14), (FONT, 18)))?;
        for (index, (x, row, name)) in self.entries.iter().enumerate() {
            let (x, y) = (*x as i32, (46 + LEGEND_LINE * row + LEGEND_LINE / 2) as i32);
            let ends = [(x, y), (x + 28, y)];
            match dashes(index) {
                None => area.draw(&PathElement::new(ends, line(index)))?,
                Some((dash, gap)) => area.draw(&DashedPathElement::new(ends, dash, gap, line(index)))?,
            }
            area.draw(&Text::new(name.clone(), (x + 36, y - 7), (FONT, 15)))?;
        }
        Ok(())
    }
}

/// How the line of a cell is drawn.
fn line(cell: usize) -> ShapeStyle {
    colour(cell).stroke_width(2)
}
