//! Dealing pairs of (group of rows, chunk of columns) over the workers.

use std::ops::Range;

/// Rectangles of rows × columns.
pub(in crate::ops) type Span = (Range<usize>, Range<usize>);

/// A stretch `units` of the pairs (task of rows, chunk of columns), numbered chunk first, as few rectangles: tasks cut at
/// the stretch's ends come by themselves. A worker so unpacks a task's rows once, or twice at most. With rows and columns
/// exchanged it takes a chunk's columns once.
pub(in crate::ops) fn spans(
    units: Range<usize>,
    [rows, task]: [usize; 2],
    [columns, chunk]: [usize; 2],
) -> impl Iterator<Item = Span> {
    let per_task = columns.div_ceil(chunk).max(1);
    let mut at = units.start;
    std::iter::from_fn(move || {
        if at >= units.end {
            return None;
        }
        let (first, from) = (at / per_task, at % per_task);
        let whole = (units.end - at) / per_task;
        let (tasks, to) =
            if from == 0 && whole > 0 { (whole, per_task) } else { (1, per_task.min(from + units.end - at)) };
        at += (tasks - 1) * per_task + to - from;
        let cut = |from: usize, to: usize, size: usize, end: usize| (from * size).min(end)..(to * size).min(end);
        Some((cut(first, first + tasks, task, rows), cut(from, to, chunk, columns)))
    })
}

#[cfg(test)]
mod tests {
    use super::spans;
    use crate::variant::share;

    #[test]
    fn every_pair_comes_once_whatever_the_number_of_workers() {
        for (rows, task, columns, chunk) in [(1, 8, 1, 128), (50, 8, 7, 3), (64, 16, 512, 128), (33, 16, 130, 64)] {
            let units = usize::div_ceil(rows, task) * usize::div_ceil(columns, chunk);
            for nth in 1..12 {
                let mut seen = vec![0; rows * columns];
                for ith in 0..nth {
                    for (r, c) in spans(share(units, ith, nth), [rows, task], [columns, chunk]) {
                        for row in r {
                            for column in c.clone() {
                                seen[row * columns + column] += 1;
                            }
                        }
                    }
                }
                assert!(seen.iter().all(|&n| n == 1), "{rows} {task} {columns} {chunk} {nth}");
            }
        }
    }
}
