//! Programs of yours that switch a system, and one that says where it stands: exit code 0 on green, 1 on blue.

use std::path::Path;

use anyhow::bail;
use async_trait::async_trait;
use serde::Deserialize;

use super::{Participant, Read, Scene, Standing};
use crate::hook::Program;
use crate::terms::Side;

/// As a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    to_blue: Vec<String>,
    to_green: Vec<String>,
    probe: Vec<String>,
}

/// The programs.
pub(super) struct Command {
    name: String,
    to: [Program; 2],
    probe: Program,
}

impl Command {
    pub(super) fn read(written: Written, base: &Path) -> Read {
        let (mut wrong, mut files) = (Vec::new(), Vec::new());
        let mut find = |key: &str, words: Vec<String>| match Program::find(key, words, base) {
            Ok((program, content)) => {
                files.extend(content);
                Some(program)
            }
            Err(what) => {
                wrong.push(what);
                None
            }
        };
        let found = [find("to_blue", written.to_blue), find("to_green", written.to_green), find("probe", written.probe)];
        match found {
            [Some(blue), Some(green), Some(probe)] => {
                Ok((Box::new(Self { name: written.name, to: [blue, green], probe }), files))
            }
            _ => Err(wrong),
        }
    }
}

#[async_trait]
impl Participant for Command {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        format!("run {}", self.to[Side::Green as usize].shown())
    }

    fn runs_programs(&self) -> bool {
        true
    }

    async fn standing(&self, scene: &Scene) -> anyhow::Result<Standing> {
        match self.probe.run(scene.hook()?, scene.patience).await? {
            Some(0) => Ok(Standing::on(Side::Green)),
            Some(1) => Ok(Standing::on(Side::Blue)),
            Some(code) => bail!("the probe {} ended with exit code {code}; 0 means green, 1 blue", self.probe.shown()),
            None => bail!("the probe {} was ended by a signal", self.probe.shown()),
        }
    }

    async fn prepare(&self, scene: &Scene, _: Side) -> anyhow::Result<()> {
        scene.hook().map(drop)
    }

    async fn commit(&self, scene: &Scene, to: Side) -> anyhow::Result<()> {
        self.to[to as usize].must(scene.hook()?, scene.patience).await
    }
}
