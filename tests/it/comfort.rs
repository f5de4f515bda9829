//! What makes the command line pleasant: completions, manual pages, no colours where nobody wants them, a way on after every error.

use std::process::{Command, Stdio};

use crate::support::{Ran, TestDb, Workspace, crossfade};

#[test]
fn completions_are_scripts_that_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Ran::of(crossfade().args(["completions", shell]).output().unwrap()).exits(0).stdout;
        assert!(["preflight", "explain", "completions"].iter().all(|name| script.contains(name)), "{shell}");
        if shell == "bash" {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("crossfade.bash");
            std::fs::write(&path, &script).unwrap();
            // As bash asks it: the words so far, and where the cursor is.
            let ask = "source \"$0\"; COMP_WORDS=(crossfade pre); COMP_CWORD=1; _crossfade crossfade pre crossfade; echo \"${COMPREPLY[*]}\"";
            let ran = Ran::of(Command::new("bash").args(["-c", ask]).arg(&path).output().unwrap()).exits(0);
            assert_eq!(ran.stdout.trim(), "preflight", "{}", ran.stderr);
        }
    }
}

#[test]
fn there_is_a_manual_page_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    Ran::of(crossfade().arg("man").arg(&pages).output().unwrap()).exits(0);
    for (name, said) in [("crossfade", "preflight"), ("crossfade-run", "--execute"), ("crossfade-route-get", "CONFIG")] {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH") && page.replace("\\-", "-").contains(said), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_coloured_where_nobody_asked() {
    let db = TestDb::empty().await;
    let plan = "format = 1\nname = \"plain\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\n[[step]]\nid = \"ask\"\nphase = \"expand\"\nkind = \"confirm\"\nquestion = \"?\"\n";
    let workspace = Workspace::new(plan, &db, None);
    for words in [&["run", "--execute"][..], &["status"], &["report"], &["rollback"]] {
        let ran = Ran::of(workspace.command(words).env("CROSSFADE_LOG", "debug").output().unwrap());
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{words:?}: {ran:?}");
    }
    // On a terminal, NO_COLOR keeps the diagnostics plain.
    for (no_color, coloured) in [("1", false), ("", true)] {
        let line = format!(
            "CROSSFADE_LOG=debug NO_COLOR={no_color} {} status {}",
            env!("CARGO_BIN_EXE_crossfade"),
            workspace.plan().display()
        );
        let mut command = Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::null())
            .env("CROSSFADE_STATE", workspace.folder.path().join("state"));
        let Ok(output) = command.envs(workspace.env.iter().cloned()).env("TERM", "xterm-256color").output() else {
            eprintln!("not tested: NO_COLOR on a terminal needs `script` (util-linux)");
            return;
        };
        let ran = Ran::of(output).exits(0);
        assert!(ran.stdout.contains("next:"), "{ran:?}");
        assert!(coloured || !ran.stdout.contains("\u{1b}[3"), "{ran:?}");
    }
}

#[test]
fn every_error_leads_on() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, "format = 1\nname = \"x\"\nblu = { url_env = \"NOT_SET\" }\n").unwrap();
    let ran = Ran::of(crossfade().arg("check").arg(&plan).output().unwrap()).exits(2);
    assert!(ran.stderr.contains("did you mean `blue`?") && ran.stderr.contains("next: "), "{}", ran.stderr);
    std::fs::write(
        &plan,
        "format = 1\nname = \"x\"\nblue = { url_env = \"NOT_SET_ANYWHERE\" }\n[[step]]\nid = \"a\"\nphase = \"expand\"\nkind = \"set_not_null\"\nside = \"blue\"\ntabel = \"t\"\ncolumn = \"c\"\n",
    )
    .unwrap();
    let ran = Ran::of(crossfade().arg("check").arg(&plan).output().unwrap()).exits(2);
    assert!(ran.stderr.contains("plan.toml:9") && ran.stderr.contains("did you mean `table`?"), "{}", ran.stderr);
    std::fs::write(&plan, std::fs::read_to_string(&plan).unwrap().replace("tabel", "table")).unwrap();
    for words in [
        &["run"][..],
        &["preflight"],
        &["report"],
        &["rollback"],
        &["finish"],
        &["follow"],
        &["quarantine", "list"],
        &["revocations"],
    ] {
        let ran = Ran::of(crossfade().args(words).arg(&plan).env("CROSSFADE_STATE", folder.path()).output().unwrap());
        assert!(ran.code != Some(0), "{words:?}");
        assert!(ran.stderr.contains("next: ") || ran.stderr.contains("`crossfade "), "{words:?} leads nowhere: {}", ran.stderr);
    }
}
