//! The mirror's batches where the database refuses one of their rows: the others go in without it.

use super::error::CatalogError;
use super::handle::Catalog;
use super::request::{Heartbeat, MirrorUpdate};
use crate::database::{may_be_of_one_row, refusal};

/// An update that the database refuses, with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmirrored {
    /// The object.
    pub idx: u64,
    /// Why.
    pub why: String,
}

impl Catalog {
    /// [`mirror`](Self::mirror), but what the database refuses is left out and returned, and then the
    /// head stays where it is: at `held`, up to which the mirror has everything. So a resume finds in
    /// the journal what the mirror lacks.
    ///
    /// # Errors
    /// Those of `mirror`; also where it takes none of several updates: then it is not about a row.
    pub async fn mirror_apart(
        &self,
        heartbeat: &Heartbeat,
        held: &Heartbeat,
        updates: &[MirrorUpdate],
    ) -> Result<Vec<Unmirrored>, CatalogError> {
        let mut parts = match self.mirror(heartbeat, updates).await {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if is_of_one_row(&error) && !updates.is_empty() => vec![updates],
            Err(error) => return Err(error),
        };
        let mut unmirrored = Vec::new();
        while let Some(part) = parts.pop() {
            let error = match self.mirror(held, part).await {
                Ok(()) => continue,
                Err(error) if is_of_one_row(&error) => error,
                Err(error) => return Err(error),
            };
            match (part, &error) {
                ([update], CatalogError::Statement { source, .. }) => unmirrored.push(Unmirrored {
                    idx: update.idx,
                    why: refusal(source),
                }),
                (several, _) => {
                    let (first, second) = several.split_at(several.len() / 2);
                    parts.extend([second, first]);
                }
            }
            if unmirrored.len() == updates.len() && updates.len() > 1 {
                return Err(error);
            }
        }
        if unmirrored.is_empty() {
            self.mirror(heartbeat, &[]).await?;
        }
        Ok(unmirrored)
    }
}

fn is_of_one_row(error: &CatalogError) -> bool {
    matches!(error, CatalogError::Statement { source, .. } if may_be_of_one_row(source))
}
