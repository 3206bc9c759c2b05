//! Attention of a batch.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{Block, Heads, Queries, Strip, Tiles, attend, strip_rows};
use crate::batch::TreeBatch;
use crate::kernels::SharedMut;
use crate::kernels::panel::{Matrix, Panels, steps};
use crate::kernels::tile::{COLUMNS, Format, ROWS};

thread_local! {
    /// One set a thread, so that nothing is allocated in a step.
    static TILES: RefCell<Box<Tiles>> = RefCell::new(Tiles::new());
}

/// Calls `work` with this thread's tiles.
pub fn with_tiles<R>(work: impl FnOnce(&mut Tiles) -> R) -> R {
    TILES.with_borrow_mut(|tiles| work(tiles))
}

/// `out[queries, q_width]` and `lse[queries, query heads]` from prepared `qkv[rows, qkv_width]`; `q` has the prepared
/// queries of the rows that `queries` names.
///
/// Keys and values enter in `format`; `panels` is working memory.
pub fn forward(
    (out, lse): (&mut [f32], &mut [f32]),
    (q, qkv): (Matrix<'_>, &[f32]),
    (batch, queries): (&TreeBatch, &Queries),
    (heads, format): (Heads, Format),
    panels: &mut Vec<[Panels; 2]>,
) {
    let (n, w, hd, ow) = (batch.rows(), heads.qkv_width(), heads.dim, heads.q_width());
    let rows = Matrix::new(qkv, w);
    panels.resize_with(heads.kv.max(panels.len()), Default::default);
    for (g, [keys, values]) in panels.iter_mut().enumerate().take(heads.kv) {
        keys.fill_transposed(rows.from(0, heads.key_column(g)), hd, n, format);
        values.fill(rows.from(0, heads.value_column(g)), n, hd, format);
    }
    let (out, lse, panels) = (SharedMut::new(out), SharedMut::new(lse), &*panels);
    let piece = |block: &Block, tiles: &mut Tiles| {
        for (g, [keys, values]) in panels.iter().enumerate().take(heads.kv) {
            for h in g * heads.group()..(g + 1) * heads.group() {
                for a in block.numbers.clone().step_by(ROWS) {
                    let rows = &queries.rows[a..block.numbers.end.min(a + ROWS)];
                    let end = rows[rows.len() - 1] as usize + 1;
                    let strips = strip_rows(batch, block.run, end).map(|(base, seen)| Strip {
                        keys: keys.panel(base / COLUMNS, 0).as_ptr(),
                        values: values.panel(0, steps(base, format)).as_ptr(),
                        value_panel: values.steps() * COLUMNS,
                        from: seen.start - base,
                        to: seen.end - base,
                        // A query sees its own row; ancestors lie before it anyway.
                        diagonal: 1 - base as isize,
                    });
                    // SAFETY: the panels cover all rows, and every (block, head) writes its own rows
                    // and columns of `out` and `lse`.
                    unsafe {
                        let q = q.from(a, heads.query_column(h));
                        attend(tiles, q, rows, (heads, format), strips, |i, sum, log_sum_exp| {
                            out.slice((a + i) * ow + h * hd, hd).copy_from_slice(sum);
                            *lse.at((a + i) * heads.query + h) = log_sum_exp;
                        });
                    }
                }
            }
        }
    };
    queries.blocks.par_iter().for_each(|block| with_tiles(|tiles| piece(block, tiles)));
}
