//! `--tui`: the picture on a whole terminal.

use std::io::{IsTerminal, Stderr, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Wrap};
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::lines::{database, lag, no_return, work};
use super::picture::{Picture, StepPicture};
use super::time;
use crate::journal::StepStatus;

/// What a person asked for on the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Ctrl-C: as the signal.
    Interrupt,
    /// `q`: to look no more.
    Quit,
}

/// A terminal that shows pictures. It is as it was when this is dropped.
pub struct Tui {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    over: Arc<AtomicBool>,
    keys: UnboundedReceiver<Key>,
}

impl Tui {
    /// Takes the terminal of stderr. `None` where there is none.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn open() -> std::io::Result<Option<Self>> {
        if !stderr().is_terminal() {
            return Ok(None);
        }
        enable_raw_mode()?;
        let over = Arc::new(AtomicBool::new(false));
        let (pressed, keys) = unbounded_channel();
        let tui = Self { terminal: Terminal::new(CrosstermBackend::new(stderr()))?, over: Arc::clone(&over), keys };
        execute!(stderr(), EnterAlternateScreen)?;
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok(true) = poll(Duration::from_millis(100)) else { continue };
                let key = match read() {
                    Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => key,
                    Ok(_) => continue,
                    Err(_) => return,
                };
                let pressed = match key.code {
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => pressed.send(Key::Interrupt),
                    KeyCode::Char('q') => pressed.send(Key::Quit),
                    _ => Ok(()),
                };
                if pressed.is_err() {
                    return;
                }
            }
        });
        Ok(Some(tui))
    }

    /// Shows a picture.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, picture: &Picture) -> std::io::Result<()> {
        self.terminal.draw(|frame| draw(frame, picture)).map(drop)
    }

    /// The next key; never, when the keyboard is gone.
    pub async fn key(&mut self) -> Key {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = execute!(stderr(), LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = self.terminal.show_cursor();
    }
}

const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws a picture.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture) {
    let facts = facts(picture);
    let wide = frame.area().width.saturating_sub(2).max(1);
    let lines: u16 = facts.iter().map(|line| u16::try_from(line.width()).unwrap_or(u16::MAX).div_ceil(wide).max(1)).sum();
    let [head, gauge, middle, below] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Length(lines.saturating_add(2)),
    ])
    .areas(frame.area());
    let run = picture.run.as_ref().map_or_else(String::new, |run| format!("  run {run}"));
    let standing = if picture.standing == "running" || picture.standing == "done" { GOOD } else { BAD };
    let title = vec![
        Span::styled(picture.plan.clone(), STRONG),
        Span::raw("  "),
        Span::styled(picture.standing, standing),
        Span::styled(run, DIM),
    ];
    frame.render_widget(Paragraph::new(Line::from(title)), head);
    frame.render_widget(progress(picture), gauge);
    let [steps, said] = Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(middle);
    frame.render_widget(steps_of(picture, steps), steps);
    let room = usize::from(said.height.saturating_sub(2));
    let first = picture.remarks.len().saturating_sub(room);
    let remarks: Vec<Line<'_>> = picture.remarks[first..].iter().map(|text| Line::raw(text.as_str())).collect();
    frame.render_widget(Paragraph::new(remarks).wrap(Wrap { trim: true }).block(Block::bordered().title("said")), said);
    frame.render_widget(Paragraph::new(facts).wrap(Wrap { trim: true }).block(Block::bordered().title("now")), below);
}

fn progress(picture: &Picture) -> Gauge<'_> {
    let (ratio, label) = match &picture.now {
        None => (1.0, picture.standing.to_owned()),
        Some(now) => {
            let ratio = match &now.progress {
                #[expect(clippy::cast_precision_loss, reason = "a bar")]
                Some(progress) if progress.total > 0 => progress.done.min(progress.total) as f64 / progress.total as f64,
                _ => 0.0,
            };
            (ratio, work(now))
        }
    };
    let title = picture.now.as_ref().map_or_else(String::new, |now| {
        format!("step {} of {}: {} ({}, {})", now.number.0, now.number.1, now.step, now.phase, now.kind)
    });
    Gauge::default().block(Block::bordered().title(title)).gauge_style(Style::new().fg(Color::Blue)).ratio(ratio).label(label)
}

/// The steps, so that the one at work is in sight.
fn steps_of(picture: &Picture, area: Rect) -> Paragraph<'_> {
    let lines: Vec<Line<'_>> = picture.steps.iter().map(step).collect();
    let at = picture.now.as_ref().map_or(lines.len(), |now| now.number.0);
    let room = usize::from(area.height.saturating_sub(2));
    let first = at.saturating_sub(room.saturating_sub(2)).min(lines.len().saturating_sub(room));
    Paragraph::new(lines[first..].to_vec()).block(Block::bordered().title("steps"))
}

fn step(step: &StepPicture) -> Line<'_> {
    let (mark, style) = match step.status {
        StepStatus::Done | StepStatus::Adopted => ("✓", GOOD),
        StepStatus::Started | StepStatus::Undoing => ("▶", STRONG),
        StepStatus::Undone => ("↶", DIM),
        StepStatus::Pending => ("·", DIM),
    };
    let took = step.seconds.map_or_else(String::new, |seconds| format!("  {}", time(seconds)));
    let mut spans =
        vec![Span::styled(format!("{mark} {}", step.id), style), Span::styled(format!("  {}{took}", step.phase), DIM)];
    spans.extend(step.failure.iter().map(|why| Span::styled(format!("  {why}"), BAD)));
    Line::from(spans)
}

fn facts(picture: &Picture) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = picture.sides.iter().map(|(side, one)| Line::raw(database(*side, one))).collect();
    lines.extend(picture.lag.iter().map(|one| Line::raw(lag(one))));
    lines.extend(picture.hold.iter().map(|hold| Line::styled(format!("traffic: {hold}"), BAD)));
    let blockers = picture.blockers.iter().map(|(side, blocker)| format!("in the way on {side}: {blocker}"));
    lines.extend(blockers.map(|text| Line::styled(text, BAD)));
    lines.push(Line::raw(format!("cannot be undone from here on: {}", no_return(picture))));
    lines.push(Line::raw(format!("way back: {}", picture.way_back)));
    lines.push(Line::raw(format!("Ctrl-C: {}", picture.interrupt)));
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::super::example;
    use super::*;

    fn drawn(picture: &Picture, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, picture)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_copy_somebody_is_in_the_way_of() {
        insta::assert_snapshot!(drawn(&example::scene_at(3606).picture(example::at(3606)), 118, 24));
    }

    #[test]
    fn a_run_that_stopped() {
        insta::assert_snapshot!(drawn(&example::scene_at(10).picture(example::at(10)), 80, 20));
    }

    #[test]
    fn a_switch_that_holds_traffic() {
        insta::assert_snapshot!(drawn(&example::switching("drain").picture(example::at(20)), 100, 18));
    }

    #[test]
    fn no_terminal_is_too_small() {
        for (width, height) in [(1, 1), (3, 40), (200, 2), (20, 8)] {
            drawn(&example::scene_at(3606).picture(example::at(3606)), width, height);
        }
    }
}
