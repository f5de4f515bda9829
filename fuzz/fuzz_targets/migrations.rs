//! Any text as a migration: `lint` and `rewrite` never panic, and every byte is in the result or told of.
//! The first byte says whether the file runs as one transaction.
#![no_main]

#[path = "../../tests/it/carried.rs"]
mod carried;

use crossfade::lint::{Config, Input, Known, lint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let (text, wrapped) = (String::from_utf8_lossy(rest).into_owned(), first & 1 == 1);
    let input = Input { name: "x.sql".to_owned(), text: text.clone(), wrapped, ..Input::default() };
    let report = lint(vec![input], &Config::default(), Known::new()).unwrap();
    if let Err(why) = carried::read(&report).and_then(|()| carried::carried(&text, wrapped).map(drop)) {
        panic!("{why}");
    }
});
