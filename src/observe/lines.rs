//! Log lines on their way to standard output.
//!
//! Whoever has a line adds it to a buffer and goes on. One thread writes the buffer out, a few times in a second
//! and not once for each line: waking another thread costs more than making the line. Must never make a request
//! wait for whoever reads the lines, nor lose one without saying so.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered before they are written.
const GATHERING: Duration = Duration::from_millis(20);
/// Bytes that may wait while nobody reads; further lines are dropped, and counted.
const WAITING: usize = 16 * 1024 * 1024;
/// How long the end of the process waits for whoever reads the last lines.
const PATIENCE: Duration = Duration::from_secs(1);
/// A buffer that grew beyond this many bytes is given back.
const KEEP: usize = 1024 * 1024;

/// Where lines are put. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// For the writer: a first line is there, or the end has come.
    changed: Condvar,
    /// For the guard: the writer has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines for which there was no room.
    dropped: u64,
    closed: bool,
    ended: bool,
}

/// When it is dropped, what is still waiting is written, if somebody reads it in time, and the thread ends.
#[derive(Debug)]
pub struct LinesGuard(Lines);

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LinesGuard)> {
        let lines = Self::default();
        let shared = Arc::clone(&lines.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&shared, out))?;
        Ok((lines.clone(), LinesGuard(lines)))
    }

    /// Adds one line, its end included.
    pub fn add(&self, line: &[u8]) {
        let mut state = self.0.state();
        if state.waiting.len() + line.len() > WAITING {
            state.dropped += 1;
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if first {
            self.0.changed.notify_one();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and lets more of them come; `None` once there will be no more.
    fn gather(&self, spare: Vec<u8>) -> Option<(Vec<u8>, u64)> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.state(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let open = |state: &mut State| !state.closed;
        let gathered = self.changed.wait_timeout_while(state, GATHERING, open);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return None;
        }
        Some((mem::replace(&mut state.waiting, spare), mem::take(&mut state.dropped)))
    }
}

fn write(shared: &Shared, mut out: impl Write) {
    let mut spare = Vec::new();
    while let Some((mut lines, dropped)) = shared.gather(mem::take(&mut spare)) {
        // There is nobody to tell that standard output is gone.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        if dropped > 0 {
            // No line itself, so that it needs no room.
            tracing::warn!(dropped, "log lines were dropped: standard output was not read in time");
        }
        lines.clear();
        if lines.capacity() <= KEEP {
            spare = lines;
        }
    }
    shared.state().ended = true;
    shared.ended.notify_one();
}

impl Drop for LinesGuard {
    fn drop(&mut self) {
        let shared = &*self.0.0;
        shared.state().closed = true;
        shared.changed.notify_one();
        // A pipe that nobody reads must not keep the process from ending.
        let writing = |state: &mut State| !state.ended;
        drop(shared.ended.wait_timeout_while(shared.state(), PATIENCE, writing));
    }
}

/// One line at a time, as `tracing_subscriber` hands them over.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Tells what was written at once, and does not take more before it is told to.
    struct Reader {
        written: mpsc::Sender<Vec<u8>>,
        go_on: mpsc::Receiver<()>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.written.send(bytes.to_vec());
            let _ = self.go_on.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader() -> (Reader, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
        let ((written, seen), (tell, go_on)) = (mpsc::channel(), mpsc::channel());
        (Reader { written, go_on }, seen, tell)
    }

    #[test]
    fn lines_come_in_order_and_the_last_ones_before_the_end() {
        let (reader, seen, go_on) = reader();
        drop(go_on);
        let (lines, guard) = Lines::start(reader).unwrap();
        let mut expected = Vec::new();
        for n in 0..1000 {
            let line = format!("{n}\n");
            lines.add(line.as_bytes());
            expected.extend_from_slice(line.as_bytes());
        }
        drop(guard);
        assert_eq!(seen.iter().flatten().collect::<Vec<u8>>(), expected);
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_was_dropped_is_counted() {
        let (reader, seen, go_on) = reader();
        let (lines, guard) = Lines::start(reader).unwrap();
        lines.add(b"first\n");
        assert_eq!(seen.recv().unwrap(), b"first\n");
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            lines.add(&line);
        }
        assert_eq!(lines.0.state().dropped, 4);
        assert_eq!(lines.0.state().waiting.len(), WAITING);
        drop(go_on);
        drop(guard);
        assert_eq!(seen.iter().flatten().count(), WAITING);
    }

    #[test]
    fn a_reader_that_has_stopped_does_not_hold_up_the_end() {
        let (reader, seen, _go_on) = reader();
        let (lines, guard) = Lines::start(reader).unwrap();
        lines.add(b"first\n");
        seen.recv().unwrap();
        let began = Instant::now();
        drop(guard);
        assert!((PATIENCE..10 * PATIENCE).contains(&began.elapsed()));
    }
}
