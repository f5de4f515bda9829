//! a constraint added to a domain.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "domain-constraint",
    level: Level::Error,
    title: "a constraint added to a domain",
    effect: "Every table with a column of the domain is read, under SHARE, in one transaction; SET NOT NULL likewise.",
    safe: "ALTER DOMAIN ... ADD CONSTRAINT ... NOT VALID; ALTER DOMAIN ... VALIDATE CONSTRAINT later; or CHECK constraints on the tables",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk ban-alter-domain-with-add-constraint", "pgfence alter-domain-add-constraint"],
    bad: Example {
        before: "CREATE DOMAIN email AS text;",
        sql: r"SET lock_timeout = '2s';
ALTER DOMAIN email ADD CONSTRAINT email_at CHECK (VALUE ~ '@');",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE DOMAIN email AS text;",
        sql: r"ALTER DOMAIN email ADD CONSTRAINT email_at CHECK (VALUE ~ '@') NOT VALID;
-- next file
ALTER DOMAIN email VALIDATE CONSTRAINT email_at;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AlterDomain { name, checked: true } = what {
            hits.at(at, format!("all tables with columns of domain {} are read while nobody can write to them", name.plain()));
        }
    }
}
