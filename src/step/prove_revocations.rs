//! `prove_revocations`: nothing that was revoked on blue has access on green. The gate before a switch.

use async_trait::async_trait;
use serde::Deserialize;

use super::follow::as_stop;
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Fault, Forecast, Reversal, Step, Stop, Summary, Touched, from_table};
use crate::capture::Outbox;
use crate::follow::lock;
use crate::pg::{Session, Snapshot};
use crate::revocation::{Proof, Restored, Rules, ahead, load, prove, stored_rules};
use crate::sql::Literal;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "prove_revocations",
    about: "stop unless everything revoked on blue is without access on green",
    parse,
    keys: keys_of::<ProveKeys>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProveKeys {
    revocations: String,
}

struct ProveRevocations {
    rules: Rules,
}

/// Reads the file that a plan names under `revocations`.
pub(super) fn rules(name: &str, around: &Surroundings) -> Result<Rules, Vec<Fault>> {
    let faults = |flaws: Vec<crate::revocation::Flaw>| flaws.into_iter().map(|flaw| Fault::file(flaw.file, flaw.line, flaw.what));
    load(&around.base.join(name)).map_err(|flaws| faults(flaws).collect())
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let keys: ProveKeys = from_table(table)?;
    let rules = rules(&keys.revocations, around)?;
    let text = rules.text.clone().into_bytes();
    Ok((Box::new(ProveRevocations { rules }), vec![text]))
}

#[async_trait]
impl Step for ProveRevocations {
    fn describe(&self) -> Summary {
        let kinds: Vec<&str> = self.rules.kinds.iter().map(|kind| kind.what.as_str()).collect();
        Summary {
            effect: format!("ask green for everything revoked on blue ({}) whether it has access left", kinds.join(", ")),
            lock: "none that anybody waits for".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn notes(&self) -> Vec<Side> {
        vec![Side::Green]
    }

    fn touches(&self) -> Vec<Touched> {
        let kinds = self.rules.kinds.iter();
        kinds
            .flat_map(|kind| {
                let green = kind.replay.iter().chain([&kind.proof]).flat_map(|text| Touched::by_text(Side::Green, text));
                green.chain(kind.granted.iter().flat_map(|text| Touched::by_text(Side::Blue, text)))
            })
            .collect()
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("what is revoked stays revoked".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    async fn forecast(&self, _: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let line = |what: &str| Forecast {
            object: format!("revocations of kind {what}"),
            what: "taken away on green where they are not yet, then asked for one by one".to_owned(),
            rows: None,
            lock: "rows, for an instant".to_owned(),
        };
        Ok(self.rules.kinds.iter().map(|kind| line(&kind.what)).collect())
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let mut findings = self.rules.check(Some(&blue), Some(&green)).await?;
        match stored_rules(&blue, &cx.run).await? {
            None => findings.push(Finding {
                severity: Severity::Blocks,
                object: "revocations".to_owned(),
                what: "are not captured by this run: what was revoked is not known, so nothing can be proved".to_owned(),
                next: "name the rules file in `revocations` of the start_capture step, and begin a new run".to_owned(),
            }),
            Some(kept) if kept.text != self.rules.text => {
                cx.remark("the rules file is not the one that capture began with; this step goes by the file");
            }
            Some(_) => {}
        }
        if watermark(&green, cx).await?.is_none() {
            findings.push(Finding {
                severity: Severity::Blocks,
                object: "green".to_owned(),
                what: "has no watermark: nothing was copied to it by this run, so there is nothing to prove".to_owned(),
                next: "put this step after the copy, best after the last follow step".to_owned(),
            });
        }
        Ok(findings)
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let mut green = cx.connect(Side::Green).await?;
        // A batch of an older snapshot that ended after the proof would bring back what it proved away.
        lock(&green, &cx.run).await.map_err(as_stop)?;
        let watermark = watermark(&green, cx).await?.ok_or_else(|| anyhow::anyhow!("green lost its watermark"))?;
        let at = Snapshot::export(cx.opener(Side::Blue)?).await?;
        if let Some(outbox) = Outbox::open(cx.opener(Side::Blue)?, cx.opener(Side::Green)?, &cx.run).await? {
            outbox.arrive(&at).await.map_err(as_stop)?;
        }
        ahead(&at, &mut green, &cx.run, &self.rules, &watermark, |moment| cx.crash_point(moment.place())).await?;
        let proof = prove(at.session(), &green, &cx.run, &self.rules).await?;
        cx.crash_point("proved");
        for (name, count) in [
            ("captured", proof.captured),
            ("replayed", proof.replayed),
            ("proved", proof.proved),
            ("granted_anew", proof.granted_anew),
            ("restored_access", proof.restored_access),
        ] {
            cx.figure(name, count);
        }
        cx.remark(format!(
            "revocations captured {}, replayed {}, proved {}, granted anew on blue {}; access restored: {}",
            proof.captured, proof.replayed, proof.proved, proof.granted_anew, proof.restored_access
        ));
        let findings = restored(cx, &proof);
        if findings.is_empty() { Ok(()) } else { Err(Stop::Divergence(findings).into()) }
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The blue snapshot that green equals.
async fn watermark(green: &Session, cx: &Cx) -> anyhow::Result<Option<String>> {
    let sql = "SELECT snapshot::text FROM crossfade.watermark WHERE run = $1";
    Ok(green.query_opt(sql, &[&cx.run.as_str()]).await?.map(|row| row.get(0)))
}

/// One finding per kind of which access came back.
fn restored(cx: &Cx, proof: &Proof) -> Vec<Finding> {
    let finding = |back: &Restored| Finding {
        severity: Severity::Blocks,
        object: format!("revocations of kind {}", back.what),
        what: format!("{} have access on green that blue does not give (digests: {})", back.count, back.digests.join(", ")),
        next: format!(
            "on green: SELECT id FROM crossfade.revocation WHERE run = {} AND what = {} AND proved_at IS NULL; find out who brought \
             the access back, take it away, and run this again",
            Literal::new(cx.run.as_str()),
            Literal::new(&back.what)
        ),
    };
    proof.restored.iter().map(finding).collect()
}
