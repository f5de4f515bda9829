//! Taking back what an earlier pass did and what blue no longer says.

use super::file::{Mend, Right};
use super::make::unmake;
use super::stage::Staged;
use crate::step::rows::batches::Batches;
use crate::step::rows::keyed_table::KeyedTable;
use crate::step::rows::set_aside::Back;
use crate::step::{Cx, SetAside};
use crate::terms::Side;

/// Puts changed rows back and removes made ones where the right rows, staged anew, have other values or are gone: revoked on blue
/// after they were staged before. Rows that somebody changed since are left alone. Returns how many.
///
/// # Errors
/// The server's errors; what is committed stays.
pub(super) async fn withdraw(
    cx: &Cx,
    batches: &mut Batches<'_>,
    mend: &Mend,
    table: &KeyedTable,
    staged: &Staged,
) -> anyhow::Result<u64> {
    if !matches!(mend.right, Right::Projected { .. }) {
        return Ok(0); // what was saved does not change
    }
    let mut taken = 0;
    if let Some(wrong) = staged.changed_wrongly(mend, table) {
        let set_aside = SetAside::new(Side::Green, table.clone(), Back::Update(mend.update.clone()));
        taken += set_aside.put_back_in(cx, batches, &wrong).await?.0;
    }
    if let Some(wrong) = staged.made_wrongly(table) {
        taken += unmake(cx, batches, table, &wrong).await?.0;
    }
    Ok(taken)
}
