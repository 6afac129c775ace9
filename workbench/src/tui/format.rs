//! Numbers as the screen writes them.

use std::time::Duration;

/// Microseconds in at most six characters: `812`, `12.3`, `0.45`, `1.25s`.
pub fn micros(us: f64) -> String {
    match us {
        u if !u.is_finite() => "—".into(),
        u if u.abs() >= 999_950.0 => format!("{:.2}s", u / 1e6),
        u if u.abs() >= 99.95 => format!("{u:.0}"),
        u if u.abs() >= 9.995 => format!("{u:.1}"),
        u => format!("{u:.2}"),
    }
}

/// How long ago, in at most three characters: `9s`, `12m`, `3h`.
pub fn age(since: Duration) -> String {
    match since.as_secs() {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m", s / 60),
        s => format!("{}h", (s / 3600).min(99)),
    }
}

/// A share as percent in at most five characters: `17.4%`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if !p.is_finite() => "—".into(),
        p if p.abs() >= 99.95 => format!("{p:.0}%"),
        p => format!("{p:.1}%"),
    }
}

/// A relative change with its sign: `−61.0%`, `+2.1%`, `×5.7` from three times on.
pub fn change(relative: f64) -> String {
    match relative {
        r if !r.is_finite() => "—".into(),
        r if r >= 2.0 => format!("×{:.1}", r + 1.0),
        r if r < 0.0 => format!("−{:.1}%", -r * 100.0),
        r => format!("+{:.1}%", r * 100.0),
    }
}

/// A rate or size in at most five characters.
pub fn short(x: f64) -> String {
    match x {
        x if !x.is_finite() => "—".into(),
        x if x >= 999.5 => format!("{:.1}k", x / 1e3),
        x if x >= 99.95 => format!("{x:.0}"),
        x => format!("{x:.1}"),
    }
}

/// A small number: `2e-7`, `0` for none.
pub fn tiny(x: f64) -> String {
    match x {
        0.0 => "0".into(),
        x if !x.is_finite() => "inf".into(),
        x => format!("{x:.0e}"),
    }
}

/// A horizontal bar of `width` cells in eighths.
pub fn bar(share: f64, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(PARTS[eighths % 8]);
    }
    text
}

/// Columns of eighths over `rows` lines, from the top line down; values are scaled to the largest.
pub fn columns(values: &[f64], rows: usize) -> Vec<String> {
    const PARTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let top = values.iter().copied().fold(0.0, f64::max);
    let height = |v: f64| {
        let eighths = if top > 0.0 { (v / top * (rows * 8) as f64).round() as usize } else { 0 };
        if v > 0.0 { eighths.max(1) } else { 0 }
    };
    let part = |v: f64, row: usize| PARTS[height(v).saturating_sub((rows - 1 - row) * 8).min(8)];
    (0..rows).map(|row| values.iter().map(|&v| part(v, row)).collect()).collect()
}

/// The last `width` points of a history, from the lowest to the highest of them.
pub fn sparkline(history: &[f32], width: usize) -> String {
    const PARTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &history[history.len().saturating_sub(width)..];
    let (lo, hi) = shown.iter().fold((f32::MAX, f32::MIN), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    // Differences below a tenth are noise, not a mountain range.
    let span = (hi - lo).max(hi * 0.1);
    let part = |v: f32| if span > 0.0 { (((v - lo) / span) * 7.0).round() as usize } else { 3 };
    shown.iter().map(|&v| PARTS[part(v).min(7)]).collect()
}

/// How many samples lie in each of `bins` equal parts between the lowest and the 98th percentile; what lies beyond
/// counts to the last. And both ends.
pub fn histogram(samples: &[f32], bins: usize) -> Option<(Vec<f64>, f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f32::total_cmp);
    let (&lo, &hi) = (sorted.first()?, sorted.get((sorted.len() - 1) * 98 / 100)?);
    let mut counts = vec![0.0; bins.max(1)];
    let width = ((hi - lo) / counts.len() as f32).max(f32::MIN_POSITIVE);
    let last = counts.len() - 1;
    for v in sorted {
        counts[(((v - lo) / width) as usize).min(last)] += 1.0;
    }
    Some((counts, f64::from(lo), f64::from(hi)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.456, 12.34, 812.4, 25e5].map(micros), ["0.46", "12.3", "812", "2.50s"]);
        assert_eq!([0.1744, 1.234].map(percent), ["17.4%", "123%"]);
        assert_eq!([-0.61, 0.021, 4.7].map(change), ["−61.0%", "+2.1%", "×5.7"]);
        assert_eq!([0.0, 2.1e-7].map(tiny), ["0", "2e-7"]);
        assert_eq!(
            [0, 59, 60, 3599, 7200, 900_000].map(|s| age(Duration::from_secs(s))),
            ["0s", "59s", "1m", "59m", "2h", "99h"]
        );
    }

    #[test]
    fn bars_and_columns() {
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.28125, 4), "█▏");
        assert_eq!(bar(9.0, 2), "██");
        assert_eq!(columns(&[0.0, 1.0, 2.0], 2), ["  █", " ██"]);
        assert_eq!(sparkline(&[1.0, 1.0, 2.0], 2), "▁█");
    }

    #[test]
    fn histograms_count_every_sample() {
        let samples: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let (counts, lo, hi) = histogram(&samples, 7).unwrap();
        assert_eq!((counts.iter().sum::<f64>(), lo, hi), (100.0, 0.0, 97.0));
        assert!(histogram(&[], 3).is_none());
        assert_eq!(histogram(&[2.0, 2.0], 3).unwrap().0.iter().sum::<f64>(), 2.0);
    }
}
